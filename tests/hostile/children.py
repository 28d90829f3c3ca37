"""The real command in a child process with limits, and what must hold of every run."""

import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ADDRESS_SPACE = 12 * 2**30  # bytes: OpenVINO and torch reserve several gigabytes they never use
_RAW_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments: object) -> list[str]:
    """``stylecli`` with arguments, as a child process runs it."""
    return [sys.executable, "-m", "stylecli", *map(str, arguments)]


def environment(folder: Path) -> dict[str, str]:
    """That of a user: nothing says that it is a test, and caches are new."""
    kept = {key: value for key, value in os.environ.items() if key != "CI"}
    return {
        **kept,
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
        "OMP_NUM_THREADS": "1",
    }


def limit_memory() -> None:
    """To be called in the child: a bomb is to fail there, and not take this machine along."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))


def run(folder: Path, *arguments: object, seconds: float = 120) -> Ended:
    """Run the command in a folder.

    Raises:
        AssertionError: it hangs, dies of a signal, shows a traceback or raw control characters,
            or its exit code is none of those that are documented.
    """
    try:
        done = subprocess.run(
            command(*arguments),
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            preexec_fn=limit_memory,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"hangs: {arguments}, after {seconds} s") from error
    ended = Ended(
        done.returncode,
        done.stdout.decode(errors="backslashreplace"),
        done.stderr.decode(errors="backslashreplace"),
    )
    check(ended, arguments)
    return ended


def check(ended: Ended, what: object) -> None:
    """What must hold of every run."""
    told = f"{what}: exit {ended.code}\n{ended.out[-1000:]}\n{ended.err[-3000:]}"
    assert ended.code in (0, 1, 2, 130), told
    assert "Traceback" not in ended.err + ended.out, told
    assert not _RAW_CONTROL.search(ended.err + ended.out), told
    if ended.code in (1, 2):
        assert "error:" in ended.err or "failed" in ended.err, told
