"""Files through a generator: decode ahead, stylize in batches of one size, encode behind.

The network is the only part that waits for nothing; memory does not grow with the number of
files, nor beyond a limit; one bad file never stops the others.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from stylecli.config import StylizeConfig
from stylecli.engine.clips import paint_frames
from stylecli.engine.painter import Painter
from stylecli.engine.stages import (
    Item,
    already,
    finished,
    is_disk_full,
    painted,
    read,
    scratch,
    why,
    written,
)
from stylecli.engine.transfers import Transfers
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.clips import Clip
from stylecli.files.colors import Rgb
from stylecli.files.jobs import Job
from stylecli.files.pictures import Picture

_AHEAD = 4  # images decoded before the network asks for them, and encoded behind it


@dataclass(frozen=True)
class Result:
    """What became of one image.

    Attributes:
        job: which one.
        seconds: of the network's time, its share of a batch's.
        error: why it failed; empty if it did not.
    """

    job: Job
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Course:
    """How files go through a pipeline.

    Attributes:
        config: how to read, paint and write.
        report: told of each file when it is written, in the order of the jobs, of frames, and
            of what a result will lack.
        should_stop: asked before each batch.
        made_with: the model and the settings of the look, to be noted in the pictures.
    """

    config: StylizeConfig
    report: Callable[[Result | Frames | Notice], None]
    should_stop: Callable[[], bool]
    made_with: str


class Pipeline:
    """One run over files; all but decoding, painting and encoding happens in one thread.

    Args:
        paint: called from as many threads as it may be called at once.
        course: all the rest.
        jobs: the files, in their order.
    """

    def __init__(self, paint: Painter, course: Course, jobs: Sequence[Job]) -> None:
        self._paint, self._course, self._config = paint, course, course.config
        self._transfers = Transfers(jobs)
        self._next: Item | None = None  # waits for room
        self._batch: list[Item] = []  # grows while neighbors are of one size
        self._ahead: deque[Future[Item]] = deque()
        self._painting: deque[Future[list[Item]]] = deque()
        self._writing: deque[Future[Item]] = deque()
        self._in_flight, self._max_bytes = 0, paint.image_bytes()
        self._blocked = False
        self._results: list[Result] = []

    def run(self) -> list[Result]:
        """Stylize the files.

        After the first that finds the disk full, or a store that takes nothing, none is begun.

        Raises:
            BrokenPipeError: standard output has no reader any more.
        """
        threads = max(2, (os.cpu_count() or 2) // 2)
        networks = self._paint.at_once
        with (
            self._transfers,
            ThreadPoolExecutor(threads) as self._pool,
            ThreadPoolExecutor(networks) as self._network,
        ):
            for batch in self._batches():
                if batch[0].clip is None:
                    given = batch, self._paint, self._config
                    self._painting.append(self._network.submit(painted, *given))
                    at_once = 0 if batch[0].error else networks - 1
                    del batch, given  # or its photos would outlive their writing
                    self._settle(at_once, max(networks, _AHEAD))
                    continue
                self._settle(0, 0)
                item = self._paint_clip(batch[0], batch[0].clip)
                if item is None:
                    break
                self._writing.append(self._transfers.send(item.job, already(item)))
                self._settle(0, 0)
            self._settle(0, 0)
        return self._results

    def _stopped(self) -> bool:
        return self._blocked or self._course.should_stop()

    def _batches(self) -> Iterator[list[Item]]:
        """Images as they are decoded, neighbors of one size together.

        Never padded to one size: a norm would see the padding.
        """
        try:
            while not self._stopped():
                self._read_ahead(wait=not self._batch)
                item = self._ahead.popleft().result() if self._ahead else None
                full = len(self._batch) == self._paint.batch_size
                if self._batch and (item is None or full or item.kind != self._batch[0].kind):
                    yield self._take_batch()
                elif item is None and self._next is not None:
                    self._settle_one()
                elif item is None:
                    return
                if item is not None:
                    self._batch.append(item)
                    item = None
        finally:
            for future in self._ahead:
                future.cancel()

    def _take_batch(self) -> list[Item]:
        """The batch, of which nothing is kept here."""
        batch, self._batch = self._batch, []
        return batch

    def _read_ahead(self, *, wait: bool) -> None:
        """Begin to decode what there is room for; ``wait`` for a file, if there is none else."""
        while len(self._ahead) < _AHEAD + self._paint.batch_size * self._paint.at_once:
            self._next = self._next or self._transfers.next(wait=wait and not self._ahead)
            if self._next is None:
                return
            if self._in_flight and self._in_flight + self._next.bytes > self._max_bytes:
                return
            self._in_flight += self._next.bytes
            self._ahead.append(self._pool.submit(read, self._next, self._config))
            self._next = None

    def _settle(self, batches: int, files: int) -> None:
        """Wait until no more than so many are on their way."""
        while len(self._painting) > batches or len(self._writing) > files:
            self._settle_one(first=len(self._painting) > batches)
        while self._writing and self._writing[0].done():  # a failure is told before more is begun
            self._settle_one(first=False)

    def _settle_one(self, first: bool = True) -> None:
        """Wait for the oldest batch to be painted; or, if there is none, for a file's end."""
        if first and self._painting:
            items = self._painting.popleft().result()
            self._writing.extend(map(self._begin_to_write, items))
            if any(item.error for item in items):  # told before more is begun
                self._settle(len(self._painting), 0)
        else:
            self._settle_file(self._writing.popleft().result())

    def _settle_file(self, item: Item) -> None:
        self._in_flight -= item.bytes
        self._transfers.forget(item)
        if item.lacks and not item.error:
            self._course.report(Notice(item.named(item.lacks)))
        if item.blocked and self._blocked:  # said already: this one is left for another run
            return
        self._blocked = self._blocked or item.blocked
        self._results.append(Result(item.job, item.seconds, item.error))
        self._course.report(self._results[-1])

    def _begin_to_write(self, item: Item) -> Future[Item]:
        if item.photo is None or item.painted is None:
            return already(item)
        given = self._config, self._course.made_with
        picture = self._pool.submit(finished, item.photo, item.painted, *given)
        bare = replace(item, photo=None, painted=None)
        # In the pool's order, the picture's turn comes first: none waits for what nobody begins.
        end = self._pool.submit(written, bare, picture, self._config.quality)
        return self._transfers.send(item.job, end)

    def _paint_clip(self, item: Item, clip: Clip) -> Item | None:
        """Stylize a video or an animation, a few frames on their way at a time.

        Returns:
            The item at its end, good or bad; None if it was stopped before.
        """
        began = time.monotonic()
        try:
            for said in filter(None, (item.job.note, clip.notice(item.target))):
                self._course.report(Notice(item.named(said)))
            keep = not self._config.strip_metadata
            frames = self._painted_frames(item, clip)
            clip.write(item.target, frames, self._config.quality, metadata=keep)
        except _StoppedError:
            return None
        except StyleCliError as failure:
            item = item.failed(failure.message, blocked=is_disk_full(failure))
        except (RuntimeError, MemoryError, OSError) as failure:
            item = item.failed(why(item, failure))
        return replace(item, seconds=time.monotonic() - began)

    def _painted_frames(self, item: Item, clip: Clip) -> Iterator[Picture]:
        folder = scratch(item)

        def begin(images: Sequence[Rgb]) -> Future[list[Rgb]]:
            return self._network.submit(self._paint, images, self._config, folder)

        given = self._paint.batch_size, self._paint.at_once, self._config
        for done, (frame, rgb) in enumerate(paint_frames(clip, begin, *given), start=1):
            if self._stopped():
                raise _StoppedError
            yield finished(frame, rgb, self._config, self._course.made_with)
            self._course.report(Frames(item.job.source, done, clip.count))


class _StoppedError(Exception):
    """A video was stopped before its end."""
