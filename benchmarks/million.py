"""What a million photos cost on many machines: a simulation from service times measured here.

    python benchmarks/million.py                             # measures, then simulates
    python benchmarks/million.py --photos 100000 --machines 8,64 --slow 0.5 --lost

Measured first, on this machine, in seconds of a processor's core, which others change little:
each of some photos in the engine, from file to file; the start of a process with its model; and the
planning of a run, for each file. Then simulated, with photos drawn from the measured ones:

- shards: each machine has every n-th photo, and the run ends with the last machine;
- Ray: groups of 16 are handed out as machines become free, after Ray's own start.

Assumptions: --cores of a machine share the work of a photo without loss; a machine is as fast as
this one, but for a factor of its own (log-normal, --spread) and for one slow machine (--slow); the
shared disk is never what is waited for; each shard plans the whole run, as it does, and with Ray
one process does, before Ray starts; a machine that is lost (--lost; one, at a moment drawn at
random) is not replaced. Of shards, all others do what it had left in a second run; with Ray, they
do what it had in hand.
"""

import heapq
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image

from stylecli.config import DEFAULT_MODEL
from stylecli.engine import Stylizer
from stylecli.files.content import bundled_photos
from stylecli.files.jobs import plan

GROUP = 16  # photos that a Ray worker is handed at once
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What the simulation is made of, in seconds of a core.

    Attributes:
        photos: of each photo, file to file.
        start: of a process, until its first photo is begun.
        plan_one: to plan a run, for each file.
    """

    photos: Seconds
    start: float
    plan_one: float


def measure(sides: Sequence[int], files: int) -> Measured:
    """Measure on this machine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for side, path in zip(sides, cycle(bundled_photos()), strict=False):
            image = Image.open(path).convert("RGB")
            image.resize((side, side * 2 // 3)).save(folder / f"in/{side}.jpg", quality=92)
        return Measured(service_times(folder), start(), planning(folder / "many", files))


def service_times(folder: Path) -> Seconds:
    """Of each photo, the less of two runs."""
    stylizer = Stylizer(DEFAULT_MODEL)
    stylizer.run(folder / "in", folder / "warm")
    times = []
    for turn in ("one", "two"):
        times.append([])
        for job in plan([folder / "in"], folder / turn).jobs:
            began = time.process_time()
            stylizer.run_jobs([job])
            times[-1].append(time.process_time() - began)
    return np.min(times, axis=0)


def start() -> float:
    """Of a process and its model."""
    code = "from stylecli import Stylizer; import sys; Stylizer(sys.argv[1])"
    before = os.times()
    subprocess.run([sys.executable, "-c", code, DEFAULT_MODEL], check=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])  # of children


def planning(folder: Path, files: int) -> float:
    """For each file of a folder that is planned, none of which is done."""
    folder.mkdir()
    for i in range(files):
        (folder / f"{i}.jpg").touch()
    began = time.process_time()
    plan([folder], folder.parent / "none")
    return (time.process_time() - began) / files


def shards(photos: Seconds, factors: Seconds, overhead: float, lost: float | None) -> float:
    """Seconds until the last of all parts is done; ``lost`` is when the first machine goes."""
    count = len(factors)
    parts = [photos[i::count] * factors[i] for i in range(count)]
    ends = [overhead + part.sum() for part in parts]
    if lost is None or ends[0] <= lost:
        return max(ends)
    done = np.searchsorted(np.cumsum(parts[0]), max(0.0, lost - overhead))
    rest = photos[0::count][done:]
    again = [overhead + (rest[i :: count - 1] * factors[i + 1]).sum() for i in range(count - 1)]
    return max(ends[1:]) + max(again)


def pulled(photos: Seconds, factors: Seconds, overhead: float, lost: float | None) -> float:
    """Seconds until the last group is done, where each machine takes the next when it is free."""
    waiting = [photos[i : i + GROUP].sum() for i in range(0, len(photos), GROUP)][::-1]
    free = [(overhead, i) for i in range(len(factors))]
    end = overhead
    while waiting and free:
        began, machine = heapq.heappop(free)
        work = waiting.pop()
        ended = began + work * factors[machine]
        if lost is not None and machine == 0 and ended > lost:
            waiting.insert(0, work)  # it is given out again after the others
            continue
        end = max(end, ended)
        heapq.heappush(free, (ended, machine))
    return end


def main(
    photos: int = 1_000_000,
    machines: str = "1,4,16,64,256",
    sides: Annotated[str, typer.Option(help="Long sides of the photos, px.")] = "384,512,768,1024",
    cores: Annotated[int, typer.Option(help="Of a machine.")] = 2,
    spread: Annotated[float, typer.Option(help="Of the machines' speeds, log-normal.")] = 0.05,
    slow: Annotated[float, typer.Option(help="How fast the slowest machine is.")] = 1.0,
    lost: Annotated[bool, typer.Option(help="Lose one machine.")] = False,
    ray_start: Annotated[float, typer.Option(help="Seconds; see on_ray.py.")] = 30.0,
    files: Annotated[int, typer.Option(help="To measure planning with.")] = 2000,
    seed: int = 0,
) -> None:
    """Measure, simulate and print."""
    measured = measure([int(side) for side in sides.split(",")], files)
    random = np.random.default_rng(seed)
    drawn = random.choice(measured.photos / cores, photos)
    plan_all = measured.plan_one * photos
    one = drawn.sum()
    print(f"seconds of a core: photos {', '.join(f'{s:.3f}' for s in measured.photos)}")
    print(f"  start {measured.start:.1f}, planning {measured.plan_one * 1e6:.0f} millionths a file")
    print(f"{photos:,} photos on one machine of {cores} cores: {one / 3600:.1f} hours")
    print(f"  and {plan_all:.0f} s to plan them")
    print("machines  shards: hours, of ideal   Ray: hours, of ideal")
    for count in map(int, machines.split(",")):
        factors = random.lognormal(0.0, spread, count)
        factors[-1] /= slow
        ideal = one / (1 / factors).sum()
        when = random.uniform(0, ideal) if lost and count > 1 else None
        overhead = measured.start + plan_all
        apart = shards(drawn, factors, overhead, when)
        together = pulled(drawn, factors, overhead + ray_start, when)
        print(
            f"{count:8}  {apart / 3600:14.2f} {ideal / apart:10.0%}"
            f"  {together / 3600:11.2f} {ideal / together:10.0%}"
        )


if __name__ == "__main__":
    typer.run(main)
