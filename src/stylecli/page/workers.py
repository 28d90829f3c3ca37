"""Threads that do what would block the event loop, the most urgent first."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from queue import PriorityQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Urgency(IntEnum):
    """What is done first: a frame of a camera, then pictures from small to large."""

    FRAME = 0
    SMALL = 1
    SCREEN = 2
    FULL = 3
    SPARE = 4


@dataclass(order=True)
class _Call:
    urgency: Urgency
    number: int
    function: Callable[[], Any] = field(compare=False)
    future: "Future[Any]" = field(compare=False)


class Workers:
    """A few threads that run functions in the order of their urgency.

    The threads are daemons, and nothing waits for them: the server can end while one still paints.

    Args:
        threads: how many functions run at once.
    """

    def __init__(self, threads: int = 1) -> None:
        self._waiting: PriorityQueue[_Call] = PriorityQueue()
        self._numbers = itertools.count()
        self._calls: set[Future[Any]] = set()
        self._changed = threading.Condition()
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    @property
    def count(self) -> int:
        """How many functions wait or run."""
        return len(self._calls)

    def submit(self, function: Callable[[], T], urgency: Urgency = Urgency.SCREEN) -> "Future[T]":
        """Run a function in a thread; one that is cancelled before it has begun never runs."""
        future: Future[T] = Future()
        with self._changed:
            self._calls.add(future)
        future.add_done_callback(self._forget)
        self._waiting.put(_Call(urgency, next(self._numbers), function, future))
        return future

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until nothing waits or runs, but no longer than so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._calls, seconds)

    def cancel(self) -> None:
        """Cancel all that has not begun."""
        with self._changed:
            waiting = list(self._calls)
        for future in waiting:
            future.cancel()

    def _forget(self, future: "Future[Any]") -> None:
        with self._changed:
            self._calls.discard(future)
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            call = self._waiting.get()
            if call.future.set_running_or_notify_cancel():
                _run(call)
            del call  # its result may be a large picture


def _run(call: _Call) -> None:
    try:
        result = call.function()
    except BaseException as error:
        call.future.set_exception(error)
    else:
        call.future.set_result(result)
