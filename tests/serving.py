"""A real ``stylecli serve`` in a process of its own, and requests to it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from websockets.sync.client import connect


@dataclass
class Answer:
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server.

    Attributes:
        process: it.
        address: where the page is, such as ``http://127.0.0.1:40123/``.
        folder: it and its temporary files live there.
    """

    process: "subprocess.Popen[str]"
    address: str
    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.address)[1])

    @property
    def temporary(self) -> list[Path]:
        """The folders of runs that are there."""
        return list((self.folder / "tmp").glob("stylecli-*"))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request; an object becomes JSON, and ``x_name`` the header ``X-Name``."""
        sent = json.dumps(body) if isinstance(body, dict) else body
        connection = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, sent, named)
        answer = connection.getresponse()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return found

    def upload(self, path: Path, name: str | None = None) -> dict[str, Any]:
        """Upload a photo or film, and return what the page shows of it."""
        answer = self.ask("POST", "/api/photos", path.read_bytes(), x_name=quote(name or path.name))
        assert answer.status == 201, answer.body
        return answer.json

    def painted(self, number: str, **look: object) -> Answer:
        return self.ask("GET", f"/api/photos/{number}/painted?{urlencode(look)}")

    def download(self, *numbers: str, **look: object) -> Answer:
        """Paint photos at full size, and return what is downloaded then."""
        body = {"photos": numbers, "look": look}
        job = self.ask("POST", "/api/paintings", body).json["job"]
        status = self.follow(job)
        assert status["state"] == "done", status
        return self.ask("GET", f"/api/jobs/{job}/result")

    def follow(
        self, job: str, until: Callable[[dict[str, Any]], bool] = lambda status: False
    ) -> dict[str, Any]:
        """The status of a job at its end, or as soon as it fulfills a condition."""
        while True:
            status = self.ask("GET", f"/api/jobs/{job}").json
            if status["state"] in ("done", "stopped", "failed") or until(status):
                return status
            time.sleep(0.05)

    def open_tab(self, tab: str) -> AbstractContextManager[object]:
        """The connection that a tab of a browser keeps while it is open."""
        return connect(f"ws://127.0.0.1:{self.port}/api/tab?tab={tab}")

    def stop(self, number: int = signal.SIGTERM, within: float = 60.0) -> int:
        """Send a signal, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def start(folder: Path, *options: str, **environment: str) -> Server:
    """Start a server that has its temporary files and the user's models in a folder."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    own = {"TMPDIR": str(folder / "tmp"), "XDG_DATA_HOME": str(folder / "data")}
    process = subprocess.Popen(
        [sys.executable, "-m", "stylecli", "serve", "--port", "0", "--no-browser", *options],
        cwd=folder,
        env={**os.environ, **own, **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://\S+", line):
            server = Server(process, found[0], folder, lines)
            threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True).start()
            return server
    raise AssertionError("".join(lines))


# Python imports it when it starts: trainings and comparisons are as small as they can be.
SMALL = """
import sys
SMALL = {
    "train": "--init scratch --size 64 --style-size 64 --width 4 --batch-size 1",
    "compare": "--size 64",
}
if len(sys.argv) > 1:
    sys.argv += SMALL.get(sys.argv[1], "").split()
"""


def start_small(folder: Path) -> Server:
    """Start a server whose trainings and comparisons are short."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(SMALL)
    found = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return start(folder, PYTHONPATH=os.pathsep.join(found))
