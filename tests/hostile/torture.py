"""Kills, full disks, missing folders, closed streams, all with the real command: ``make torture``.

Each trial says what it does, and ends with ``ok`` or with what went wrong. Those that need rights
or devices that are not there say so and are left out.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from children import Ended, check, command, environment, run
from PIL import Image
from seeds import model

from stylecli.files.content import bundled_photos

_PHOTOS = 10
_KILLS = 6
_PAINTING = Path(__file__).parents[2] / "models" / "paintings" / "cezanne.jpg"
_TRAIN = ("--init", "scratch", "--width", 4, "--batch-size", 1, "--size", 64, "--style-size", 64)


class LeftOutError(Exception):
    """A trial cannot be made here."""


def photos(folder: Path) -> None:
    """Some photos of two sizes."""
    folder.mkdir()
    for i, path in enumerate(bundled_photos()[:_PHOTOS]):
        Image.open(path).resize((240, 160) if i % 2 else (200, 300)).save(folder / f"{i}.jpg")


def stylize(*arguments: object) -> list[str]:
    """The command with the tiny model."""
    chosen = ("--model", "tiny.safetensors", "--style", "a", "--device", "cpu")
    return command("stylize", *arguments, *chosen)


def digests(folder: Path) -> dict[str, str]:
    """What lies in a folder, hidden files too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def started(place: Path, arguments: list[str], **streams: object) -> subprocess.Popen[bytes]:
    """A command that runs."""
    usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(arguments, cwd=place, env=environment(place), **(usual | streams))


def ended(process: subprocess.Popen[bytes], seconds: float = 60) -> Ended:
    """How it ends; a hang is an error."""
    out, err = process.communicate(timeout=seconds)
    return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


def kills(place: Path, number: int, *codes: int) -> None:
    """A run over a folder, ended again and again at random moments, is finished by the last."""
    photos(place / "in")
    began = time.monotonic()
    check(ended(started(place, stylize("in", "whole"))), "a whole run")
    usual = time.monotonic() - began
    moments = random.Random(number)
    for _ in range(_KILLS):
        process = started(place, stylize("in", "out"))
        time.sleep(moments.uniform(0.3, 1.0) * usual)
        process.send_signal(number)
        result = ended(process)
        assert result.code in (*codes, 0), result
        for path in (place / "out").glob("*.jpg"):
            Image.open(path).load()
    check(ended(started(place, stylize("in", "out"))), "the last run")
    whole, out = digests(place / "whole"), digests(place / "out")
    other = sorted(name for name in whole.keys() | out.keys() if whole.get(name) != out.get(name))
    assert not other, f"not as a run that was never ended: {other}"


def killed(place: Path) -> None:
    """SIGKILL while a folder is stylized."""
    kills(place, signal.SIGKILL, -signal.SIGKILL)


def interrupted(place: Path) -> None:
    """SIGINT while a folder is stylized."""
    kills(place, signal.SIGINT, 130)


def hung_up(place: Path) -> None:
    """SIGHUP while a folder is stylized: the terminal was closed, perhaps before Python began."""
    kills(place, signal.SIGHUP, 130, -signal.SIGHUP)


def training_killed(place: Path) -> None:
    """SIGKILL, then SIGINT, while a network is trained; --resume ends it."""
    arguments = ("train", _PAINTING, "--output", "m.safetensors", *_TRAIN, "--steps", 60)
    process = started(place, command(*arguments))
    checkpoint = place / "m.checkpoint.safetensors"
    for _ in range(300):
        if checkpoint.exists():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.kill()
    ended(process)
    again = ("train", "--output", "m.safetensors", "--resume")
    process = started(place, command(*again))
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    assert ended(process).code in (0, 130)
    if not (place / "m.safetensors").exists():
        assert run(place, *again).code == 0
    assert (place / "m.safetensors").exists()
    assert not checkpoint.exists()


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of a few bytes."""
    disk = place / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise LeftOutError("a tmpfs cannot be mounted")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def full_disk(place: Path) -> None:
    """A folder is stylized onto a disk that has room for some of it."""
    photos(place / "in")
    with small_disk(place, "100k") as disk:
        result = ended(started(place, stylize("in", disk)))
        check(result, "a full disk")
        assert result.code == 1, result
        assert "space" in result.err, result
        for path in disk.iterdir():
            assert not path.name.startswith("."), path
            Image.open(path).load()


def full_disk_in_training(place: Path) -> None:
    """A checkpoint does not fit: the training goes on, and its model is written elsewhere."""
    with small_disk(place, "60k") as disk:
        arguments = ("train", _PAINTING, "--output", disk / "m.safetensors", *_TRAIN, "--steps", 3)
        result = run(place, *arguments)
        assert "space" in result.err, result
        assert not [path for path in disk.iterdir() if path.name.startswith(".stylecli")]


def no_home(place: Path) -> None:
    """No HOME, no cache folder that can be written."""
    Image.open(bundled_photos()[0]).resize((60, 40)).save(place / "a.jpg")
    for changes in ({"HOME": "/nowhere"}, {"HOME": "", "XDG_CACHE_HOME": "/dev/null/x"}):
        process = subprocess.Popen(
            stylize("a.jpg", "b.jpg", "--overwrite"),
            cwd=place,
            env=environment(place) | changes,
            stderr=subprocess.PIPE,
        )
        result = ended(process)
        check(result, changes)
        assert result.code == 0, result


def closed_streams(place: Path) -> None:
    """stdin, stdout or stderr closed, full, or a pipe that nobody reads."""
    Image.open(bundled_photos()[0]).resize((60, 40)).save(place / "a.jpg")
    line = " ".join(stylize("a.jpg", "b.jpg", "--overwrite"))
    for streams in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true"):
        (place / "b.jpg").unlink(missing_ok=True)
        process = started(place, ["bash", "-c", f"set -o pipefail; {line} {streams}"])
        result = ended(process)
        assert result.code == 0, (streams, result)
        assert "Traceback" not in result.err, (streams, result)
        assert (place / "b.jpg").exists(), streams
    process = started(place, ["bash", "-c", f"{line.replace('a.jpg', '-')} <&-"])
    result = ended(process)
    check(result, "- of a closed stdin")
    assert result.code == 2, result


def pipes_and_devices(place: Path) -> None:
    """A named pipe and a device among the photos and as the only one."""
    photos(place / "in")
    os.mkfifo(place / "in" / "pipe.jpg")
    check(ended(started(place, stylize("in", "out"))), "a folder with a pipe")
    assert len(list((place / "out").iterdir())) == _PHOTOS
    for path in ("in/pipe.jpg", "/dev/zero"):
        result = ended(started(place, stylize(path, "one.jpg")), 30)
        check(result, path)
        assert result.code != 0, result


TRIALS: list[Callable[[Path], None]] = [
    *(killed, interrupted, hung_up, training_killed, full_disk, full_disk_in_training),
    *(no_home, closed_streams, pipes_and_devices),
]


def main(names: list[str]) -> int:
    """All trials, or those that are named; how many went wrong."""
    wrong = 0
    for trial in TRIALS:
        if names and trial.__name__ not in names:
            continue
        place = Path(tempfile.mkdtemp())
        model(place)
        try:
            trial(place)
            told = "ok"
        except LeftOutError as reason:
            told = f"left out: {reason}"
        except (AssertionError, OSError, subprocess.TimeoutExpired) as failure:
            wrong += 1
            told = f"WRONG: {str(failure)[:1500]}"
        finally:
            shutil.rmtree(place, ignore_errors=True)
        print(f"{trial.__name__}: {trial.__doc__} {told}", flush=True)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
