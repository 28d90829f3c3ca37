"""Several processes that train one network together, and the threads of one that trains alone.

Each process, called a rank, computes the gradient on its share of the photos. The mean of these
gradients is the gradient on the whole batch, and every rank takes the same step along it. So the
ranks always have the same weights, and those that one process would have, but for rounding.

torch's DistributedDataParallel takes as long for a network of this size, and its errors do not
tell a lost rank from a bug of the network. Here an exchange is a step of its own.

What follows from the clock, from a signal or from a loss is the same on all ranks, or they would
wait for each other for ever: they go by the clock of the first, stop when any is asked to, and
judge the mean of their losses.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn

from stylecli.core.devices import Rank, resolve_device
from stylecli.errors import StyleCliError, first_line

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=10)  # how long ranks wait for one that does not answer


class Ranks:
    """The processes that train together, as one of them sees them; or one that trains alone.

    Attributes:
        number: of this rank, from 0.
        count: of all ranks.
    """

    def __init__(self, rank: Rank) -> None:
        self.number, self.count, self._local = rank.number, rank.count, rank.local
        self._parent, self._now = os.getppid(), 0.0
        if self.count > 1:  # with other numbers of threads, torch rounds differently
            torch.set_num_threads(self.of_first(torch.get_num_threads))

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.number == 0

    def device(self, name: str) -> torch.device:
        """The device of this rank.

        Raises:
            StyleCliError: there is no such device, or not one for each rank.
        """
        device = resolve_device(name)
        if self.count == 1 or device.type == "cpu":
            return device
        if device.type != "cuda" or ":" in name:
            raise StyleCliError(
                f"--device {name} is one device, and {self.count} processes train together",
                hint="pass --device cuda, for a GPU each, or --device cpu",
            )
        if self._local >= (there := torch.cuda.device_count()):
            raise StyleCliError(
                f"a GPU is needed for each process, and there are {there} on this machine",
                hint=f"pass --nproc-per-node {there} to torchrun, or --device cpu to train",
            )
        torch.cuda.set_device(self._local)
        return torch.device("cuda", self._local)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks; each exchange also brings the clock of the first."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _notice_lost_ranks():
            dist.all_gather_object(values, (value, time.monotonic()))
        self._now = values[0][1]
        return [one for one, _ in values]

    def of_first(self, make: Callable[[], T]) -> T:
        """What the first rank makes; the others do not make it."""
        return self.gather(make() if self.first else None)[0]  # type: ignore[return-value]

    def compare(self, values: Mapping[str, Any]) -> None:
        """Raise StyleCliError if one of these values, name to value, is not that of the first."""
        first = self.of_first(lambda: values)
        if differing := [name for name in values if first[name] != values[name]]:
            raise StyleCliError(
                f"this process differs from the first in its {differing[0]}",
                hint="start all with the same command and the same files, on like machines",
            )

    def now(self) -> float:
        """Seconds of a monotonic clock, the same on all ranks between two steps."""
        return time.monotonic() if self.count == 1 else self._now

    def mean(self, losses: dict[str, float]) -> dict[str, float]:
        """The means over all ranks."""
        gathered = self.gather(losses)
        return {name: sum(one[name] for one in gathered) / self.count for name in losses}

    def any(self, asked: bool) -> bool:
        """Whether any rank was asked; of several, one whose parent has ended counts as asked."""
        orphaned = self.count > 1 and os.getppid() != self._parent  # nobody is left to ask it
        return any(self.gather(asked or orphaned))

    def share_norms(self, generator: nn.Module) -> None:
        """Let batch norm take its statistics from the batch of all ranks, in place."""
        if self.count > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(generator)  # type: ignore[no-untyped-call]

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replace gradients by their means over all ranks."""
        if self.count == 1:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _notice_lost_ranks():
            dist.all_reduce(flat)
        parts = torch.split(flat.div_(self.count), [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Bring together the processes of this training, as the environment names them, until the end.

    Each process shows its own error; that of another than the first names the process.

    Raises:
        StyleCliError: the environment makes no sense, or another process has ended.
    """
    rank = Rank.of_training(os.environ)
    try:
        if rank.count > 1:
            _connect(rank)
        yield Ranks(rank)
    except StyleCliError as error:
        if rank.number == 0:
            raise
        message = f"process {rank.number}: {error.message}"
        raise StyleCliError(message, hint=error.hint, exit_code=error.exit_code) from error
    if rank.count > 1:
        dist.destroy_process_group()


def _connect(rank: Rank) -> None:
    """Join the group of all ranks; they talk by gloo, and GPUs exchange gradients by NCCL.

    Raises:
        StyleCliError: they do not meet.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise StyleCliError(
            f"the {rank.count} processes that train together do not meet: {first_line(error)}",
            hint="let torchrun start them; it sets MASTER_ADDR and MASTER_PORT",
            exit_code=1,
        ) from error


@contextmanager
def _notice_lost_ranks() -> Iterator[None]:
    """Say what the error of an exchange means.

    Raises:
        StyleCliError: the exchange failed.
    """
    try:
        yield
    except RuntimeError as error:
        raise StyleCliError(
            "another process of this training has ended, or is lost",
            hint="--resume goes on from the last checkpoint, if there is one yet",
            exit_code=1,
        ) from error


_EVERY = 5.0  # seconds between two measurements of other programs


@contextmanager
def adapt_threads(*, enabled: bool) -> Iterator[Callable[[], None]]:
    """A function that adapts torch's threads to other programs, to be called after each step.

    It measures every few seconds; in between, it only looks at the clock. At the end, torch has as
    many threads as before, which is also the most that it gets.

    Each part of a step waits for the slowest thread, and one that shares its core with another
    program takes twice as long: beside a program that keeps one of two cores busy, a training makes
    1.4 steps a second with two threads and 2.5 with one. With another number of threads, results
    differ in their last bits, so this is for trainings by time, which are not repeatable anyway.
    """
    most, process, measured_at = torch.get_num_threads(), psutil.Process(), time.monotonic()
    measure_free_cores(process)  # the next measurement begins here

    def adapt() -> None:
        nonlocal measured_at
        if enabled and time.monotonic() - measured_at >= _EVERY:
            measured_at = time.monotonic()
            torch.set_num_threads(max(1, min(most, round(measure_free_cores(process)))))

    try:
        yield adapt
    finally:
        torch.set_num_threads(most)


def measure_free_cores(process: psutil.Process) -> float:
    """How many of its cores a process had to itself since the last call: used by it, or idle."""
    # A program of lower priority takes next to nothing from this one, however busy it looks.
    names = ("idle", "iowait") if process.nice() > 0 else ("idle", "iowait", "nice")
    cores = psutil.cpu_times_percent(percpu=True)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(cores))
    free = [getattr(cores[i], name, 0.0) for i in usable if i < len(cores) for name in names]
    return float(sum(free) + process.cpu_percent()) / 100
