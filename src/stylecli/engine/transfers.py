"""Files that lie in a store, or come through a pipe: local copies of them, made ahead of the work.

Their results are sent behind it.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from itertools import count
from pathlib import Path

from stylecli.engine.stages import Item, already, fetched, given, planned, sent, taken
from stylecli.files.atomic import private_folder
from stylecli.files.door import STANDARD_STREAM
from stylecli.files.jobs import Job
from stylecli.files.urls import Place, Url

_AHEAD = 16  # files that are fetched before they are decoded; a store answers slowly
_VIDEOS = 2  # local copies at a time: of the one that is painted, and of the next


class Transfers:
    """The files of a run, each with its local names: temporary ones in a store or through a pipe.

    A file of this machine keeps its own name, and nothing is done ahead for it.

    Args:
        jobs: the files, in their order.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._rest = deque(jobs)
        self._coming: deque[Future[Item]] = deque()
        self._numbers = count()
        self._videos = 0
        self._end = ExitStack()

    def __enter__(self) -> "Transfers":
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._coming:
            future.cancel()
        self._end.close()

    def next(self, *, wait: bool) -> Item | None:
        """The next file, once it is here; None after the last.

        Args:
            wait: if it is false, None may also mean that the next file is not here yet.
        """
        while self._rest and (self._has_room(self._rest[0]) or (wait and not self._coming)):
            self._coming.append(self._begin(self._rest.popleft()))
        if not self._coming or not (wait or self._coming[0].done()):
            return None
        return self._coming.popleft().result()

    def _has_room(self, job: Job) -> bool:
        if job.is_video and self._videos >= _VIDEOS:
            return False
        return len(self._coming) < (_AHEAD if isinstance(job.source, Url) else 1)

    def _begin(self, job: Job) -> Future[Item]:
        source, target = self._local(job.source), self._local(job.target, job.ending)
        item = Item(job, 0, source=source, target=target)
        if job.source == STANDARD_STREAM:
            return already(taken(item))
        if isinstance(job.source, Url):
            self._videos += job.is_video
            return self._pool.submit(fetched, item, job.source)
        return already(planned(item))

    def _local(self, place: Place, ending: str = "") -> Path:
        """A name for the local copy: the object's own may be too long, or have odd characters."""
        if isinstance(place, Path) and place != STANDARD_STREAM:
            return place
        return self._folder / f"{next(self._numbers)}{ending or place.suffix}"

    def send(self, job: Job, written: Future[Item]) -> Future[Item]:
        """Send a result to its store after it has been written; or leave it where it is."""
        if isinstance(job.target, Url):
            return self._pool.submit(sent, written, job.target)
        return self._pool.submit(given, written) if job.target == STANDARD_STREAM else written

    def forget(self, item: Item) -> None:
        """Remove the local copies of a file."""
        self._videos -= isinstance(item.job.source, Url) and item.job.is_video
        for place, copy in ((item.job.source, item.source), (item.job.target, item.target)):
            if place != copy:
                copy.unlink(missing_ok=True)

    @cached_property
    def _folder(self) -> Path:
        return self._end.enter_context(private_folder())

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return self._end.enter_context(ThreadPoolExecutor(_AHEAD))
