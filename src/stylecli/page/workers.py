"""Threads that do what would block the event loop, the most urgent first."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from queue import PriorityQueue
from typing import Any, TypeVar

AT_ONCE = 2  # pictures that are painted at the same time, each on its own core; as in camera.js

T = TypeVar("T")


class Urgency(IntEnum):
    """What is done first: a frame of a camera, then pictures from small to large."""

    FRAME = 0
    SMALL = 1
    SCREEN = 2
    FULL = 3
    SPARE = 4


class Workers:
    """A few threads that run functions in the order of their urgency.

    The threads are daemons, and nothing waits for them: the server can end while one still paints.

    Args:
        threads: how many functions run at once.
    """

    def __init__(self, threads: int = 1) -> None:
        # The numbers differ, so that functions are never compared.
        self._waiting: PriorityQueue[tuple[Urgency, int, Callable[[], Any], Future[Any]]]
        self._waiting, self._numbers = PriorityQueue(), itertools.count()
        for _ in range(threads):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, function: Callable[[], T], urgency: Urgency = Urgency.SCREEN) -> "Future[T]":
        """Run a function in a thread; one that is cancelled before it has begun never runs."""
        future: Future[T] = Future()
        self._waiting.put((urgency, next(self._numbers), function, future))
        return future

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until nothing waits or runs, but no longer than so many seconds."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(
                lambda: not self._waiting.unfinished_tasks, seconds
            )

    def _work(self) -> None:
        while True:
            _, _, function, future = self._waiting.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)
            del function, future  # the result may be a large picture
            self._waiting.task_done()
