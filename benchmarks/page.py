r"""How soon the page of `stylecli serve` shows a picture, and how many frames a camera has.

    python benchmarks/page.py PHOTO.jpg           # it is enlarged to 12 megapixels
    python benchmarks/page.py PHOTO.jpg --rounds 9

The server is a process of its own, and is asked as a browser asks it: for the eight pictures of the
strip at once, and for two frames of the camera at a time. Medians; the time of the processor
is the server's own, of all threads. Close other programs first.
"""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated
from urllib.request import Request, urlopen

import psutil
import typer
from engine import show
from PIL import Image
from websockets.sync.client import connect

from stylecli.page.camera import AT_ONCE

TWELVE = (4000, 3000)
WIDTHS = (320, 400, 480, 640)
FRAMES = 20


@contextmanager
def served() -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server whose networks are open, and its process."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "stylecli", "serve", "--port", "0", "--no-browser"],
            env={**os.environ, "XDG_DATA_HOME": folder, "TMPDIR": folder},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            address = re.search(r"http://\S+", process.stderr.readline())[0]
            watched = psutil.Process(process.pid)
            while used(watched, lambda: time.sleep(1))[1] > 0.05:
                pass
            yield address, watched
        finally:
            process.terminate()
            process.wait()


def used(process: psutil.Process, act: Callable[[], object]) -> tuple[float, float]:
    """Seconds that pass, and seconds of the processor that the server takes."""
    before, began = process.cpu_times(), time.monotonic()
    act()
    after = process.cpu_times()
    return time.monotonic() - began, after.user + after.system - before.user - before.system


def row(name: str, process: psutil.Process, rounds: int, act: Callable[[], object], by: int = 1):
    """The medians of an act, of which one is ``by`` things."""
    act()
    took = [used(process, act) for _ in range(rounds)]
    wall, cpu = (median(one) * 1000 / by for one in zip(*took, strict=True))
    print(f"{name}: {wall:.0f} ms", file=sys.stderr)
    return name, f"{wall:.0f} ms", f"{cpu:.0f} ms", f"{1000 / wall:.1f}"


def photos(address: str, process: psutil.Process, photo: bytes, rounds: int) -> list:
    """Drop to strip, and slider to picture."""
    styles = [one["id"] for one in json.load(urlopen(f"{address}api/styles"))["styles"]]
    ids: list[str] = []

    def drop() -> None:
        request = Request(f"{address}api/photos", data=photo, headers={"X-Name": "large.jpg"})
        ids.append(json.load(urlopen(request))["id"])

    def ask(**look: object) -> None:
        query = "&".join(f"{name}={value}" for name, value in look.items())
        urlopen(f"{address}api/photos/{ids[-1]}/painted?{query}").read()

    def strip() -> None:
        drop()
        with ThreadPoolExecutor(6) as browser:  # it opens six connections
            list(browser.map(lambda style: ask(style=style, size="strip"), styles))

    def download() -> None:
        body = {"photos": [ids[-1]], "look": {"style": "udnie"}}
        begun = urlopen(f"{address}api/paintings", json.dumps(body).encode())
        job = f"{address}api/jobs/{json.load(begun)['job']}"
        while json.load(urlopen(job))["state"] != "done":
            time.sleep(0.2)  # as the page
        urlopen(f"{job}/result").read()

    turns = iter(range(10**6))

    def move(stroke: float) -> Callable[[], None]:
        return lambda: ask(style="udnie", size="screen", stroke_size=stroke + next(turns) / 1e6)

    rows = [row("drop to the photo's size", process, rounds, drop)]
    rows.append(row("drop to the whole strip", process, rounds, strip))
    acts = {f"strokes at {stroke} to picture": move(stroke) for stroke in (1, 2, 0.5)}
    acts["strength to picture"] = lambda: ask(
        style="udnie", size="screen", strength=next(turns) / 1e6
    )
    acts["download"] = download
    return [*rows, *(row(name, process, rounds, act) for name, act in acts.items())]


def camera(address: str, process: psutil.Process, photo: Image.Image, rounds: int) -> list:
    """Frames as the page sends them: the next when one has come back."""
    rows = []
    with connect(f"{address.replace('http', 'ws')}api/camera") as socket:
        for stroke in (1, 2):
            for width in WIDTHS:
                frame = io.BytesIO()
                photo.resize((width, width * 3 // 4)).save(frame, "JPEG", quality=80)
                socket.send(json.dumps({"style": "udnie", "stroke_size": stroke}))

                def paint(frame: bytes = frame.getvalue()) -> None:
                    for _ in range(AT_ONCE):
                        socket.send(frame)
                    for _ in range(FRAMES - AT_ONCE):
                        socket.recv()
                        socket.send(frame)
                    for _ in range(AT_ONCE):
                        socket.recv()

                name = f"camera, {width} px wide, strokes at {stroke}"
                rows.append(row(name, process, rounds, paint, FRAMES))
    return rows


def main(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO")],
    rounds: Annotated[int, typer.Option(help="Of each, the median.")] = 5,
) -> None:
    """Measure the page."""
    with Image.open(photo) as image:
        large = image.convert("RGB").resize(TWELVE, Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    large.save(encoded, "JPEG", quality=92)
    with served() as (address, process):
        rows = photos(address, process, encoded.getvalue(), rounds)
        rows += camera(address, process, large, rounds)
    show("stylecli serve", ("what", "median", "of the processor", "a second"), rows)


if __name__ == "__main__":
    typer.run(main)
