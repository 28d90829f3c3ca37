"""Files through a generator: decode ahead, stylize in batches of one size, encode behind.

The network is the only part that waits for nothing; memory does not grow with the number of
files, nor beyond a limit; one bad file never stops the others.
"""

import errno
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stylecli.config import StylizeConfig
from stylecli.core.backend import OutOfMemoryError
from stylecli.engine.clips import painted_frames
from stylecli.engine.marks import marked
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.clips import Clip, open_clip
from stylecli.files.colors import Rgb
from stylecli.files.images import STANDARD_STREAM, opened, read_picture, write_picture
from stylecli.files.jobs import Job
from stylecli.files.pictures import Picture, mixed, shrunk

_AHEAD = 4  # images decoded before the network asks for them, and encoded behind it
# An image and its stylization are 6; with what a decoder or an encoder takes, 17 at most.
_BYTES_PER_PIXEL = 16
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


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


class Paint(Protocol):
    """Stylizes images of one size; temporary files, if any, go into the folder ``scratch``."""

    def __call__(self, images: Sequence[Rgb], scratch: Path | None) -> list[Rgb]:
        """(H, W, 3) each, to the same."""


@dataclass(frozen=True)
class Course:
    """How files go through a pipeline.

    Attributes:
        config: how to read, paint and write.
        report: told of each file when it is written, in the order of the jobs, of frames, and
            of what a result will lack.
        should_stop: asked before each batch.
        mark: the model's name, to be noted in the pictures.
        networks: batches that are painted at once.
        batch_size: images in a batch.
        max_bytes: of all images on their way; one is let in however large it is.
    """

    config: StylizeConfig
    report: Callable[[Result | Frames | Notice], None]
    should_stop: Callable[[], bool]
    mark: str
    networks: int
    batch_size: int
    max_bytes: int


@dataclass
class _Item:
    """An image on its way."""

    job: Job
    bytes: int
    photo: Picture | None = None
    clip: Clip | None = None
    painted: Rgb | None = None
    error: str = ""
    disk_full: bool = False
    seconds: float = 0.0


class Pipeline:
    """One run over files; all but decoding, painting and encoding happens in one thread.

    Args:
        paint: called from as many threads as there are networks.
        course: all the rest.
        jobs: the files, in their order.
    """

    def __init__(self, paint: Paint, course: Course, jobs: Sequence[Job]) -> None:
        self._paint, self._course, self._config = paint, course, course.config
        self._rest = (_Item(job, _bytes_of(job)) for job in jobs)
        self._next: _Item | None = None  # waits for room
        self._ahead: deque[Future[_Item]] = deque()
        self._painting: deque[Future[list[_Item]]] = deque()
        self._writing: deque[Future[_Item]] = deque()
        self._in_flight = 0  # bytes
        self._disk_full = False
        self._results: list[Result] = []

    def run(self) -> list[Result]:
        """Stylize the files; after the first that finds the disk full, no further one is begun.

        Raises:
            BrokenPipeError: standard output has no reader any more.
        """
        threads = max(2, (os.cpu_count() or 2) // 2)
        networks = self._course.networks
        with ThreadPoolExecutor(threads) as self._pool, ThreadPoolExecutor(networks) as network:
            for batch in self._batches():
                if batch[0].clip is None:
                    self._painting.append(network.submit(self._paint_items, batch))
                    self._settle(networks - 1, _AHEAD)
                    continue
                self._settle(0, 0)
                if not self._paint_clip(batch[0], batch[0].clip):
                    break
                self._writing.append(self._pool.submit(self._write, batch[0]))
            self._settle(0, 0)
        return self._results

    def _stopped(self) -> bool:
        return self._disk_full or self._course.should_stop()

    def _batches(self) -> Iterator[list[_Item]]:
        """Images as they are decoded, neighbors of one size together.

        Never padded to one size: a norm would see the padding.
        """
        batch: list[_Item] = []
        try:
            while not self._stopped():
                self._read_ahead()
                item = self._ahead.popleft().result() if self._ahead else None
                full = len(batch) == self._course.batch_size
                if batch and (item is None or full or _kind(item) != _kind(batch[0])):
                    yield batch
                    batch = []
                if item is not None:
                    batch.append(item)
                elif self._next is not None:
                    self._settle_one()
                else:
                    return
        finally:
            for future in self._ahead:
                future.cancel()

    def _read_ahead(self) -> None:
        """Begin to decode what there is room for."""
        while len(self._ahead) < _AHEAD + self._course.batch_size:
            self._next = self._next or next(self._rest, None)
            if self._next is None:
                return
            if self._in_flight and self._in_flight + self._next.bytes > self._course.max_bytes:
                return
            self._in_flight += self._next.bytes
            self._ahead.append(self._pool.submit(_read, self._next, self._config))
            self._next = None

    def _settle(self, batches: int, files: int) -> None:
        """Wait until no more than so many are on their way."""
        while len(self._painting) > batches or len(self._writing) > files:
            self._settle_one(first=len(self._painting) > batches)

    def _settle_one(self, first: bool = True) -> None:
        """Wait for the oldest batch to be painted; or, if there is none, for a file's end."""
        if first and self._painting:
            batch = self._painting.popleft().result()
            self._writing.extend(self._pool.submit(self._write, item) for item in batch)
            return
        item = self._writing.popleft().result()
        self._in_flight -= item.bytes
        if item.disk_full and self._disk_full:  # said already: this one is left for another run
            return
        self._disk_full = self._disk_full or item.disk_full
        self._results.append(Result(item.job, item.seconds, item.error))
        self._course.report(self._results[-1])

    def _paint_items(self, items: list[_Item]) -> list[_Item]:
        pictures = [item.photo for item in items if item.photo is not None]
        if not pictures:
            return items
        began = time.monotonic()
        try:
            painted = self._paint([picture.rgb for picture in pictures], _scratch(items[0].job))
        except (RuntimeError, MemoryError, OSError) as failure:  # memory, or scratch space
            items[0].error = _why(items[0].job, failure)
        else:
            for item, rgb in zip(items, painted, strict=True):
                item.painted = rgb
                item.seconds = (time.monotonic() - began) / len(items)
            return items
        if len(items) > 1:  # one of them may be to blame
            items[0].error = ""
            for item in items:
                self._paint_items([item])
        return items

    def _paint_clip(self, item: _Item, clip: Clip) -> bool:
        """Stylize a video or an animation, a few frames on their way at a time.

        Returns:
            Whether it came to an end, good or bad; False if it was stopped before.
        """
        began = time.monotonic()
        config, scratch = self._config, _scratch(item.job)
        if lacks := clip.notice(item.job.target):
            self._course.report(Notice(lacks))

        def paint(images: Sequence[Rgb]) -> list[Rgb]:
            return self._paint(images, scratch)

        def painted() -> Iterator[Picture]:
            frames = painted_frames(clip, paint, self._finished, self._course.batch_size, config)
            for done, picture in enumerate(frames, start=1):
                if self._stopped():
                    raise _StoppedError
                yield picture
                self._course.report(Frames(item.job.source, done, clip.count))

        try:
            keep = not config.strip_metadata
            clip.write(item.job.target, painted(), config.quality, metadata=keep)
        except _StoppedError:
            return False
        except StyleCliError as failure:
            item.error, item.disk_full = failure.message, _is_disk_full(failure)
        except (RuntimeError, MemoryError, OSError) as failure:
            item.error = _why(item.job, failure)
        item.seconds = time.monotonic() - began
        return True

    def _write(self, item: _Item) -> _Item:
        try:
            if item.photo is not None and item.painted is not None:
                picture = self._finished(item.photo, item.painted)
                item.photo = item.painted = None  # the encoder needs room too
                write_picture(item.job.target, picture, self._config.quality, item.job.ending)
        except StyleCliError as failure:
            if isinstance(failure.__cause__, BrokenPipeError):
                raise failure.__cause__ from None
            item.error, item.disk_full = failure.message, _is_disk_full(failure)
        except MemoryError:
            item.error = f"{item.job.target}: not enough memory to encode it"
        item.photo = item.painted = None
        return item

    def _finished(self, photo: Picture, painted: Rgb) -> Picture:
        """A stylized photo as it is wanted."""
        config = self._config
        rgb = mixed(photo.rgb, painted, config.strength, preserve_color=config.preserve_color)
        exif = b"" if config.strip_metadata else marked(photo.exif, self._course.mark)
        return replace(photo, rgb=rgb, exif=exif)


class _StoppedError(Exception):
    """A video was stopped before its end."""


def _kind(item: _Item) -> object:
    """Items of one kind can share a batch: images of one size; a clip with nothing else."""
    return item.photo.rgb.shape if item.photo is not None else item.clip or item.error


def _bytes_of(job: Job) -> int:
    """About how much memory an image takes while it is on its way, by its head."""
    if job.is_video or job.source == STANDARD_STREAM:
        return 0
    try:
        with opened(job.source) as image:
            return image.width * image.height * _BYTES_PER_PIXEL
    except StyleCliError:  # which is said when it is read
        return 0


def _scratch(job: Job) -> Path | None:
    """Where temporary files go: beside the output, as the system's folder may lie in memory."""
    named_by_user = "TMPDIR" in os.environ
    return None if named_by_user or job.target == STANDARD_STREAM else job.target.parent


def _why(job: Job, failure: Exception) -> str:
    if isinstance(failure, OutOfMemoryError):
        return f"{job.source}: not enough memory to paint it; --max-size scales it down"
    if isinstance(failure, OSError) and failure.errno in _FULL:
        folder = _scratch(job) or tempfile.gettempdir()
        return f"{job.source}: no room for temporary files in {folder}; TMPDIR names another folder"
    return f"{job.source}: {str(failure).partition(chr(10))[0] or 'not enough memory'}"


def _is_disk_full(failure: StyleCliError) -> bool:
    """Whether every further file would fail too; of ffmpeg, only the words are known."""
    cause = failure.__cause__
    full = isinstance(cause, OSError) and cause.errno in _FULL
    return full or os.strerror(errno.ENOSPC) in failure.message


def _read(item: _Item, config: StylizeConfig) -> _Item:
    try:
        item.clip = open_clip(item.job.source, item.job.target)
        if item.clip is None:
            photo = read_picture(item.job.source)
            item.photo = shrunk(photo, config.max_size) if config.max_size else photo
    except StyleCliError as failure:
        item.error = failure.message
    except MemoryError:
        item.error = f"{item.job.source}: not enough memory to decode it"
    return item
