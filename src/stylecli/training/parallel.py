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

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from stylecli.core.devices import STORE, Rank, resolve_device
from stylecli.errors import StyleCliError

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=10)  # how long ranks wait for one that does not answer
_FAILURE = "stylecli/failure"  # the key of the error that ended a rank


class Ranks:
    """The processes that train together, as one of them sees them; or one that trains alone.

    Attributes:
        number: of this rank, from 0.
        count: of all ranks.
        lost: whether another rank has ended, or does not answer.
    """

    def __init__(self, rank: Rank = Rank(), store: Any = None) -> None:  # noqa: B008 - it is frozen
        self.number, self.count, self._local = rank.number, rank.count, rank.local
        self._store, self._parent, self._now = store, os.getppid(), 0.0
        self.lost = False
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
                hint=f"pass --devices {there}, or --device cpu",
            )
        torch.cuda.set_device(self._local)
        return torch.device("cuda", self._local)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks; each exchange also brings the clock of the first."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with self._notice_failures():
            dist.all_gather_object(values, (value, time.monotonic()))
        self._now = values[0][1]
        return [one for one, _ in values]

    def of_first(self, make: Callable[[], T]) -> T:
        """What the first rank makes; the others do not make it."""
        return self.gather(make() if self.first else None)[0]  # type: ignore[return-value]

    def compare(self, values: Mapping[str, Any]) -> None:
        """Raise StyleCliError if one of these values, name to value, is not the same on all."""
        for number, others in enumerate(self.gather(values)):
            if differing := [name for name in values if others[name] != values[name]]:
                raise StyleCliError(
                    f"process {number} of this training differs in its {differing[0]}",
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
        with self._notice_failures():
            dist.all_reduce(flat)
        parts = torch.split(flat.div_(self.count), [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    @contextmanager
    def _notice_failures(self) -> Iterator[None]:
        """Turn the error of an exchange into that of the rank which ended, if it left one."""
        try:
            yield
        except RuntimeError as error:
            self.lost = True
            raise self._read_failure() from error

    def leave_error(self, error: StyleCliError) -> None:
        """Leave an error for the first rank to show, unless another rank has left one."""
        text = json.dumps([f"process {self.number}: {error.message}", error.hint, error.exit_code])
        with suppress(RuntimeError):  # the process that kept the store has ended
            self._store.compare_set(_FAILURE, "", text)

    def _read_failure(self) -> StyleCliError:
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


@contextmanager
def join_ranks(should_stop: Callable[[], bool] = lambda: False) -> Iterator[Ranks]:
    """Bring together the processes of this training, as the environment names them, until the end.

    A stop ends the wait for other ranks. An error of another rank than the first is left to the
    first to show, and ends the process.

    Raises:
        StyleCliError: the environment makes no sense, or another process has ended.
        SystemExit: this is not the first rank, and it failed.
    """
    rank = Rank.of_training(os.environ)
    if rank.count == 1:
        yield Ranks()
        return
    ranks = Ranks(rank, _meet(rank, should_stop))
    try:
        yield ranks
    except StyleCliError as error:
        if ranks.first:
            raise
        if not ranks.lost:
            ranks.leave_error(error)
        raise SystemExit(error.exit_code) from error
    dist.destroy_process_group()


def _meet(rank: Rank, should_stop: Callable[[], bool]) -> Any:
    """Wait for the other ranks; return the store through which all found each other.

    A thread of its own waits: torch heeds no signal while it does.
    """
    meeting: Future[Any] = Future()

    def meet() -> None:
        try:
            meeting.set_result(_connect(rank))
        except Exception as error:
            meeting.set_exception(error)

    threading.Thread(target=meet, daemon=True).start()
    while wait([meeting], timeout=0.05).not_done:
        if should_stop():
            raise StyleCliError("stopped while waiting for the other processes", exit_code=130)
    try:
        return meeting.result()
    except RuntimeError as error:
        raise StyleCliError(
            f"the {rank.count} processes that train together did not all come: "
            f"{str(error).partition(chr(10))[0]}",
            hint="start all of them within ten minutes; MASTER_ADDR and MASTER_PORT name the first",
            exit_code=1,
        ) from error


def _connect(rank: Rank) -> Any:
    """Join the group of all ranks; they talk by gloo, and GPUs exchange gradients by NCCL."""
    url = f"file://{os.environ[STORE]}" if STORE in os.environ else "env://"
    store, number, count = next(rendezvous(url, rank.number, rank.count, timeout=_TIMEOUT))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=_TIMEOUT)
    return store


_EVERY = 5.0  # seconds between two measurements of other programs
_BUSY = ("user", "system", "irq", "softirq", "steal")  # steal is what other virtual machines use


@contextmanager
def adapt_threads(*, enabled: bool) -> Iterator[Callable[[], None]]:
    """A function that adapts torch's threads to other programs, to be called after each step.

    It measures every few seconds; in between, it only looks at the clock. At the end, torch has as
    many threads as before.

    Each part of a step waits for the slowest thread, and one that shares its core with another
    program takes twice as long: beside a program that keeps one of two cores busy, a training makes
    1.4 steps a second with two threads and 2.5 with one. With another number of threads, results
    differ in their last bits, so this is for trainings by time, which are not repeatable anyway.
    """
    most = torch.get_num_threads()
    if not enabled or most == 1:
        yield lambda: None
        return
    cores = len(_list_cores())
    room = max(most, min(cores, psutil.cpu_count(logical=False) or cores))
    process = psutil.Process()
    measure_others(process)  # the next measurement begins here
    measured_at = time.monotonic()

    def adapt() -> None:
        nonlocal measured_at
        if time.monotonic() - measured_at < _EVERY:
            return
        measured_at = time.monotonic()
        count = choose_threads(measure_others(process), most, room)
        if count != torch.get_num_threads():
            torch.set_num_threads(count)

    try:
        yield adapt
    finally:
        torch.set_num_threads(most)


def choose_threads(others: float, most: int, room: int) -> int:
    """The number of threads that suits what other programs use, at least 1.

    Args:
        others: the share of the cores that they keep busy, 0 to 1.
        most: threads on an idle machine.
        room: physical cores, or ``most`` if that is more.
    """
    return max(1, min(most, round((1 - others) * room)))


def measure_others(process: psutil.Process) -> float:
    """The share of its cores, 0 to 1, that others than a process used since the last call."""
    # A program of lower priority takes next to nothing from this one, however busy it looks.
    has_low_priority = hasattr(os, "nice") and os.nice(0) > 0
    names = (*_BUSY, "nice") if has_low_priority else _BUSY
    cores, usable = psutil.cpu_times_percent(percpu=True), _list_cores()
    busy = [getattr(cores[i], name, 0.0) for i in usable if i < len(cores) for name in names]
    others = float(sum(busy) - process.cpu_percent()) / 100  # cores
    return min(1.0, max(0.0, others / len(usable)))


def _list_cores() -> list[int]:
    """The numbers of the logical cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
