"""What Ray costs on one machine: the same photos through the engine, alone and as a Ray worker.

Each run is a process of its own; they take turns, and ratios are printed. The cluster is one of
this machine alone: its one worker has all cores, as the engine alone has.

    ray start --head --disable-usage-stats
    python benchmarks/on_ray.py --photos 500 --side 384 --rounds 3
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from PIL import Image

from stylecli.config import DEFAULT_MODEL, RunConfig
from stylecli.files.content import bundled_photos
from stylecli.files.jobs import plan

PARTS = ("import", "open or connect", "until the first photo", "all other photos", "end")


class Marks:
    """Moments of a run: the first and the last photo are told by its reports."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]
        self.photos: list[float] = []

    def add(self) -> None:
        """A part ends."""
        self.times.append(time.perf_counter())

    def report(self, _: object) -> None:
        """A photo is done."""
        self.photos.append(time.perf_counter())

    def parts(self) -> dict[str, float]:
        """Seconds of each part, at the end."""
        self.times += [self.photos[0], self.photos[-1], time.perf_counter()]
        return dict(zip(PARTS, [b - a for a, b in pairwise(self.times)], strict=True))


def alone(marks: Marks) -> Any:
    """The engine itself."""
    from stylecli.engine import Stylizer

    marks.add()
    stylizer = Stylizer(DEFAULT_MODEL)
    marks.add()
    return stylizer


def on_ray(marks: Marks) -> Any:
    """The cluster of this machine."""
    from stylecli.engine import on_ray as module

    workers = module.Workers(RunConfig(ray="auto"))
    marks.add()
    plain = module._connection

    @contextmanager
    def marked(*arguments: Any) -> Iterator[bool]:
        with plain(*arguments) as is_connected:
            marks.add()
            yield is_connected

    module._connection = marked
    return workers


def run_one(how: str, folder: Path) -> None:
    """One run in this process; print seconds by part."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        jobs = plan([folder / "in"], Path(out)).jobs
        marks = Marks()
        results = HOW[how](marks).run_jobs(jobs, marks.report)
        assert len(results) == len(jobs)
        assert not any(result.error for result in results)
        print(json.dumps(marks.parts()))


HOW = {"alone": alone, "on Ray": on_ray}


def timed(how: str, folder: Path) -> dict[str, float]:
    """The same in a process of its own."""
    code = f"import on_ray, pathlib; on_ray.run_one({how!r}, pathlib.Path({str(folder)!r}))"
    command = [sys.executable, "-c", code]
    where = Path(__file__).parent
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=where)
    parts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(how, {part: round(seconds, 2) for part, seconds in parts.items()}, flush=True)
    return parts


def make_photos(folder: Path, count: int, side: int) -> None:
    """JPEGs from the bundled photos."""
    folder.mkdir()
    for i in range(count):
        image = Image.open(bundled_photos()[i % 24]).convert("RGB")
        image.resize((side, side * 2 // 3)).save(folder / f"{i:04}.jpg", quality=92)


def ratio(runs: dict[str, list[dict[str, float]]], parts: Sequence[str]) -> str:
    """On Ray, as a multiple of alone."""
    sums = [[sum(run[part] for part in parts) for run in runs[how]] for how in HOW]
    each = [ray / alone for alone, ray in zip(*sums, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def main(photos: int = 500, side: int = 384, rounds: int = 3) -> None:
    """Measure by turns, and print the ratio and where the time goes."""
    runs: dict[str, list[dict[str, float]]] = {how: [] for how in HOW}
    with tempfile.TemporaryDirectory() as name:
        make_photos(Path(name) / "in", photos, side)
        for _ in range(rounds):
            for how in HOW:
                runs[how].append(timed(how, Path(name)))
    print(f"{'seconds, the median of ' + str(rounds):28} {'alone':>8} {'on Ray':>8}")
    for part in PARTS:
        medians = [statistics.median(run[part] for run in runs[how]) for how in HOW]
        print(f"{part:28} {medians[0]:8.2f} {medians[1]:8.2f}")
    print(f"whole run: on Ray / alone {ratio(runs, PARTS)}")
    print(f"{PARTS[3]}: on Ray / alone {ratio(runs, PARTS[3:4])}")


if __name__ == "__main__":
    typer.run(main)
