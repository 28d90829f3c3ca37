"""Several processes that train one network together, each on its share of every batch.

Each process, called a rank, computes the gradient on its share of the photos. The mean of these
gradients is the gradient on the whole batch, and every rank takes the same step along it. So the
ranks always have the same weights, and those that one process would have, but for rounding.

DistributedDataParallel would do the same, and send some gradients while others are still computed.
A generator of the usual size has half a million weights: there is nothing to win by that, and one
sum of one vector leaves the network, its names and its hooks as they are.

What follows from the clock, from a signal or from a loss has to be the same on all ranks, or they
would wait for each other for ever. So they go by the clock of the first, stop when any was asked
to, and judge the mean of their losses.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from stylecli.core.devices import resolve_device
from stylecli.core.rank import STORE, Rank
from stylecli.errors import StyleCliError

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=10)  # how long ranks wait for one that does not answer
_FAILURE = "stylecli/failure"  # the key of the error that ended a rank


class Ranks:
    """One process, which trains alone: the form of all this that does nothing.

    Attributes:
        number: of this rank, from 0.
        count: of all ranks.
    """

    number, count = 0, 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.number == 0

    def device(self, name: str) -> torch.device:
        """The device of this rank.

        Raises:
            StyleCliError: there is no such device, or not one for each rank.
        """
        return resolve_device(name)

    def meet(self, device: torch.device, values: Mapping[str, Any]) -> None:
        """Begin to compute together on a device each.

        Args:
            device: of this rank.
            values: name to what has to be the same on all ranks.

        Raises:
            StyleCliError: something differs.
        """

    def share_norms(self, generator: nn.Module) -> None:
        """Let batch norm take its statistics from the batch of all ranks, in place."""

    def now(self) -> float:
        """Seconds of a monotonic clock, the same on all ranks between two steps."""
        return time.monotonic()

    def of_first(self, make: Callable[[], T]) -> T:
        """What the first rank makes; the others do not make it."""
        return make()

    def gather(self, value: T) -> list[T]:
        """The values of all ranks."""
        return [value]

    def mean(self, losses: dict[str, float]) -> dict[str, float]:
        """The means over all ranks."""
        return losses

    def any(self, asked: bool) -> bool:
        """Whether any rank was asked."""
        return asked

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replace gradients by their means over all ranks."""


class _Several(Ranks):
    """One of several ranks; they talk by gloo, and GPUs exchange their gradients by NCCL."""

    def __init__(self, rank: Rank, should_stop: Callable[[], bool]) -> None:
        self.number, self.count, self._local = rank.number, rank.count, rank.local
        self._parent = os.getppid()
        self.lost = False  # another rank
        self._now = 0.0
        self._store = _join(rank, should_stop)
        self._between_devices: Any = None  # as between processes; on GPUs, a group of their own
        # With another number of threads, torch rounds differently, and weights would drift apart.
        torch.set_num_threads(self.of_first(torch.get_num_threads))

    def device(self, name: str) -> torch.device:
        device = resolve_device(name)
        if device.type == "cpu":
            return device
        if device.type != "cuda" or ":" in name:
            raise StyleCliError(
                f"--device {name} is one device, and {self.count} processes train together",
                hint="pass --device cuda, for a GPU each, or --device cpu",
            )
        if self._local >= (there := torch.cuda.device_count()):
            raise StyleCliError(
                f"a GPU is needed for each process, and there are {there} on this machine",
                hint=f"pass --devices {there}, or --device cpu",
            )
        torch.cuda.set_device(self._local)
        return torch.device("cuda", self._local)

    def meet(self, device: torch.device, values: Mapping[str, Any]) -> None:
        for number, others in enumerate(self.gather(values)):
            if differing := [name for name in values if others[name] != values[name]]:
                raise StyleCliError(
                    f"process {number} of this training differs in its {differing[0]}",
                    hint="start all with the same command and the same files, on like machines",
                )
        if device.type == "cuda":
            self._between_devices = dist.new_group(backend="nccl", timeout=_TIMEOUT)

    def share_norms(self, generator: nn.Module) -> None:
        group = self._between_devices
        nn.SyncBatchNorm.convert_sync_batchnorm(generator, group)  # type: ignore[no-untyped-call]

    def now(self) -> float:
        return self._now

    def of_first(self, make: Callable[[], T]) -> T:
        values = [make() if self.first else None]
        with self._noticing_others():
            dist.broadcast_object_list(values, 0)
        self._sum([])
        (made,) = values
        return made  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.count
        with self._noticing_others():
            dist.all_gather_object(values, value)
        self._sum([])
        return values

    def mean(self, losses: dict[str, float]) -> dict[str, float]:
        sums = self._sum([*losses.values()])
        return {name: total / self.count for name, total in zip(losses, sums, strict=True)}

    def any(self, asked: bool) -> bool:
        orphaned = os.getppid() != self._parent  # nobody would be left to ask
        return self._sum([float(asked or orphaned)]) != [0.0]

    def average(self, gradients: Sequence[Tensor]) -> None:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with self._noticing_others():
            dist.all_reduce(flat, group=self._between_devices)
        sizes = [gradient.numel() for gradient in gradients]
        parts = torch.split(flat.div_(self.count), sizes)
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def tell(self, error: StyleCliError) -> None:
        """Leave an error for the first rank to show, unless another rank has left one."""
        text = json.dumps([f"process {self.number}: {error.message}", error.hint, error.exit_code])
        with suppress(RuntimeError):  # the process that kept the store has ended
            self._store.compare_set(_FAILURE, "", text)

    def _sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks; each exchange also brings the clock of the first."""
        now = time.monotonic() if self.first else 0.0
        sums = torch.tensor([*values, now], dtype=torch.float64)
        with self._noticing_others():
            dist.all_reduce(sums)
        *totals, self._now = sums.tolist()
        return totals

    @contextmanager
    def _noticing_others(self) -> Iterator[None]:
        """Turn the error of an exchange into that of the rank which ended, if it left one."""
        try:
            yield
        except RuntimeError as error:
            self.lost = True
            raise self._failure() from error

    def _failure(self) -> StyleCliError:
        text = "[]"
        with suppress(RuntimeError):
            self._store.wait([_FAILURE], timedelta(seconds=1))
            text = self._store.get(_FAILURE)
        message, hint, exit_code = json.loads(text) or (
            f"another of the {self.count} processes that train together has ended, or is lost",
            "the same command with --resume goes on from the last checkpoint, if there is one yet",
            1,
        )
        return StyleCliError(message, hint=hint, exit_code=exit_code)


def _join(rank: Rank, should_stop: Callable[[], bool]) -> Any:
    """Wait for the other ranks, in a thread of its own: torch heeds no signal while it waits.

    Returns:
        The store through which the ranks found each other.
    """
    url = f"file://{os.environ[STORE]}" if STORE in os.environ else "env://"
    joining: Future[Any] = Future()

    def join() -> None:
        try:
            number, count = rank.number, rank.count
            store, _, _ = next(rendezvous(url, number, count, timeout=_TIMEOUT))
            dist.init_process_group(
                "gloo", store=store, rank=number, world_size=count, timeout=_TIMEOUT
            )
            joining.set_result(store)
        except Exception as error:
            joining.set_exception(error)

    threading.Thread(target=join, daemon=True).start()
    while wait([joining], timeout=0.05).not_done:
        if should_stop():
            raise StyleCliError("stopped while waiting for the other processes", exit_code=130)
    try:
        return joining.result()
    except RuntimeError as error:
        raise StyleCliError(
            f"the {rank.count} processes that train together did not all come: "
            f"{str(error).partition(chr(10))[0]}",
            hint="start all of them within ten minutes; MASTER_ADDR and MASTER_PORT name the first",
            exit_code=1,
        ) from error


@contextmanager
def joined_ranks(should_stop: Callable[[], bool] = lambda: False) -> Iterator[Ranks]:
    """The ranks of this training, as the environment tells; they part at the end.

    A stop ends the wait for other ranks.

    An error of another rank than the first is left to the first to show, and ends the process.

    Raises:
        StyleCliError: the environment makes no sense, or another process has ended.
        SystemExit: this is not the first rank, and it failed.
    """
    rank = Rank.of_environment(os.environ)
    if rank.count == 1:
        yield Ranks()
        return
    ranks = _Several(rank, should_stop)
    try:
        yield ranks
    except StyleCliError as error:
        if ranks.first:
            raise
        if not ranks.lost:
            ranks.tell(error)
        raise SystemExit(error.exit_code) from error
    dist.destroy_process_group()


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

    Each part of a step waits for the slowest of its threads, and a thread that shares its core with
    another program takes twice as long. On two cores, a training makes 4.5 steps a second with two
    threads and 2.6 with one; beside a program that keeps one core busy, 1.4 with two and 2.5 with
    one. With another number of threads, torch adds numbers in another order, and results differ in
    their last bits. So this is for trainings by time, whose results are not repeatable anyway.

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
