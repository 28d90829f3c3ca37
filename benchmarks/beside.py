"""Training beside another program: steps a second, alone and while one core is busy.

A training by steps keeps its number of threads; one by minutes adapts it to what other programs
use. Each runs alone and beside a process that only computes, in turn, several times. Close other
programs first.

    python benchmarks/beside.py models/paintings/udnie.jpg --seconds 40 --rounds 3
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

WARM_UP = 12.0  # seconds of each training that are not counted: two measurements of its threads

TRAIN = """
import json, sys, time
from pathlib import Path
from stylecli.config import TrainConfig
from stylecli.training.loop import train

painting, output, by, seconds, warm_up = sys.argv[1:]
length = {"steps": 10**6} if by == "steps" else {"minutes": 600.0}
ends = []

def should_stop():
    ends.append(time.monotonic())
    return ends[-1] - ends[0] > float(seconds)

config = TrainConfig(
    styles=(Path(painting),), output=Path(output), init="scratch", **length
)
train(config, should_stop=should_stop)
counted = [end for end in ends if end - ends[0] > float(warm_up)]
print(json.dumps((len(counted) - 1) / (counted[-1] - counted[0])))
"""


def spin() -> None:
    """Keep one core busy."""
    while True:
        pass


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many processes that only compute."""
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def steps_per_second(painting: Path, by: str, seconds: float) -> float:
    """Of a training in a process of its own, after its first seconds."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model.safetensors"
        arguments = [painting, output, by, seconds + WARM_UP, WARM_UP]
        command = [sys.executable, "-c", TRAIN, *map(str, arguments)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(json.loads(done.stdout.splitlines()[-1]))


def main(
    painting: Path,
    seconds: Annotated[float, typer.Option(help="That are counted of each training.")] = 40,
    rounds: int = 3,
    busy: Annotated[int, typer.Option(help="Processes that compute beside it.")] = 1,
) -> None:
    """Print steps a second and ratios, as medians over the rounds."""
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for others in (0, busy):
            for by in ("steps", "minutes"):
                with busy_cores(others):
                    time.sleep(1)
                    rate = steps_per_second(painting, by, seconds)
                rates.setdefault((by, others), []).append(rate)
                print(f"by {by:7}  beside {others} busy: {rate:.2f} steps/s", flush=True)
    median = {key: statistics.median(values) for key, values in rates.items()}
    for others, where in ((0, "alone"), (busy, f"beside {busy} busy")):
        fixed, adapted = median["steps", others], median["minutes", others]
        both = f"{fixed:.2f} with fixed threads, {adapted:.2f} with adapted ones"
        print(f"{where}: {both}, {adapted / fixed:.2f} times as fast")


if __name__ == "__main__":
    typer.run(main)
