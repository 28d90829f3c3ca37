"""How many threads torch computes with: fewer while other programs use some of the cores.

Each part of a step waits for the slowest of its threads, and a thread that shares its core with
another program takes twice as long. On two cores, a training makes 4.5 steps a second with two
threads and 2.6 with one; beside a program that keeps one core busy, 1.4 with two and 2.5 with one.

With another number of threads, torch adds numbers in another order, and results differ in their
last bits. So this is for trainings by time, whose results are not repeatable anyway.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

_EVERY = 5.0  # seconds
_BUSY = ("user", "system", "irq", "softirq", "steal")  # steal is what other virtual machines use


@dataclass(frozen=True)
class CpuTimes:
    """Seconds that have passed, and seconds that cores were busy, since any fixed moment.

    Attributes:
        wall: passed.
        own: CPU time of this process, over all its threads.
        total: CPU time of all programs, on the cores that this process may use.
    """

    wall: float
    own: float
    total: float


class ThreadCount:
    """Chooses a number of threads by how busy other programs keep the cores.

    What they use is measured directly, so the number rises again when they end, and no step is
    spent on trying another number.

    Args:
        most: threads on an idle machine.
        cores: logical cores that this process may use.
        physical: physical cores among them.
        times: the first measurement.

    Attributes:
        count: the number of threads that is best now.
    """

    def __init__(self, most: int, cores: int, physical: int, times: CpuTimes) -> None:
        self._most, self._cores, self._room = most, cores, max(most, physical)
        self._before = times
        self.count = most

    def update(self, now: CpuTimes) -> int:
        """Choose by what has happened since the last measurement; return the number."""
        before, self._before = self._before, now
        available = self._cores * (now.wall - before.wall)
        if available > 0:
            used_by_others = (now.total - before.total) - (now.own - before.own)
            free = 1 - min(1.0, max(0.0, used_by_others / available))
            self.count = max(1, min(self._most, round(free * self._room)))
        return self.count


def cpu_times() -> CpuTimes:
    """Measure now: it takes less than a millisecond."""
    # A program of lower priority takes next to nothing from this one, however busy it looks.
    has_low_priority = hasattr(os, "nice") and os.nice(0) > 0
    names = (*_BUSY, "nice") if has_low_priority else _BUSY
    cores = psutil.cpu_times(percpu=True)
    usable = [cores[number] for number in _usable_cores() if number < len(cores)]
    total = sum(getattr(core, name, 0.0) for core in usable for name in names)
    return CpuTimes(time.monotonic(), time.process_time(), total)


def _usable_cores() -> list[int]:
    """The numbers of the logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def adapted_threads(*, enabled: bool) -> Iterator[Callable[[], None]]:
    """A function that adapts torch's threads to other programs, to be called after each step.

    It measures every few seconds; in between, it only looks at the clock. At the end, torch has as
    many threads as before.

    Args:
        enabled: whether the function does anything.
    """
    most = torch.get_num_threads()
    if not enabled or most == 1:
        yield lambda: None
        return
    cores = len(_usable_cores())
    physical = min(cores, psutil.cpu_count(logical=False) or cores)
    threads = ThreadCount(most, cores, physical, cpu_times())
    measured_at = time.monotonic()

    def adapt() -> None:
        nonlocal measured_at
        if time.monotonic() - measured_at < _EVERY:
            return
        measured_at = time.monotonic()
        before = threads.count
        if threads.update(cpu_times()) != before:
            torch.set_num_threads(threads.count)

    try:
        yield adapt
    finally:
        torch.set_num_threads(most)
