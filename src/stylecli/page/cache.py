"""A cache of values that take time to make: those used last are kept."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Values by their keys, for any number of threads.

    Args:
        most: how many values are kept.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._kept: OrderedDict[K, Future[V]] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key. If it has none, one thread makes it, and the others wait for that.

        An error of ``make`` is raised in all of them, and is not kept.
        """
        with self._lock:
            is_new = key not in self._kept
            value = self._kept.setdefault(key, Future())
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if is_new:
            try:
                value.set_result(make())
            except BaseException as error:
                self.drop(key)
                value.set_exception(error)
        return value.result()

    def drop(self, key: K) -> None:
        """Forget the value of a key."""
        with self._lock:
            self._kept.pop(key, None)
