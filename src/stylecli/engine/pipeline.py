"""Files through a generator: decode ahead, paint in batches of one size, encode behind.

The network is the only part that waits for nothing; memory does not grow with the number of
files, nor beyond a limit; one bad file never stops the others.
"""

import errno
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, groupby, islice
from pathlib import Path

from PIL import Image

from stylecli.config import StylizeConfig
from stylecli.core.backend import OutOfMemoryError
from stylecli.engine.painter import Painter
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.atomic import private_folder
from stylecli.files.images import open_image, write_picture
from stylecli.files.jobs import Job
from stylecli.files.metadata import Metadata, set_tags
from stylecli.files.pictures import Picture, shrink
from stylecli.files.stores import STANDARD_STREAM, Place, Url, fetch, send
from stylecli.files.video.clips import read_clip_or_picture, write_clip
from stylecli.files.video.frames import Clip, Frame

_AHEAD = 4  # images or frames decoded before the network asks for them, and encoded behind it
_FETCHED_AHEAD = 16  # files that are fetched before they are decoded; a store answers slowly
_VIDEOS = 2  # local copies at a time: of the one that is painted, and of the next
# An image and its stylization are 6; with what a decoder or an encoder takes, 17 at most.
_BYTES_PER_PIXEL = 16
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_SOFTWARE = 0x0131  # the EXIF tag
_PREFIX = "stylecli "


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
class Item:
    """A file on its way.

    Attributes:
        job: which one.
        bytes: about how much memory it takes until it is written.
        source: the local file to read, which is a copy if the job's source lies in a store.
        target: the local file to write, likewise.
        photo: once it is decoded; then its painting, until that is written.
        clip: the video or the animation, once it is open.
        seconds: of the network's time, its share of a batch's.
        lacks: one line on what the result lacks; empty if nothing.
        error: why it failed; empty if it did not.
        blocked: whether every further file would fail in the same way: the disk is full, or a
            store takes nothing.
    """

    job: Job
    bytes: int
    source: Path
    target: Path
    photo: Picture | None = None
    clip: Clip | None = None
    seconds: float = 0.0
    lacks: str = ""
    error: str = ""
    blocked: bool = False

    @property
    def kind(self) -> object:
        """Items of one kind can share a batch: images of one size; all else with nothing."""
        return self.photo.rgb.shape if self.photo is not None else id(self)

    def fail(self, error: str, *, blocked: bool = False) -> "Item":
        """The item with an error, and without its pixels."""
        return replace(self, photo=None, error=self.name(error), blocked=blocked)

    def name(self, text: str) -> str:
        """Give the local files in a text the names that the user knows."""
        text = text.replace(str(self.source), str(self.job.source))
        return text.replace(str(self.target), str(self.job.target))


class Pipeline:
    """One run over files; all but decoding, painting and encoding happens in one thread.

    Args:
        paint: called from as many threads as it may be called at once.
        jobs: the files, in their order.
        config: how to read, paint and write.
        report: called for each file when it is written, in the order of the jobs; for frames;
            and for what a result will lack.
        should_stop: asked before each batch.
        made_with: the model and the settings of the look, to be noted in the pictures.
    """

    def __init__(
        self,
        paint: Painter,
        jobs: Sequence[Job],
        config: StylizeConfig,
        report: Callable[[Result | Frames | Notice], None],
        should_stop: Callable[[], bool],
        made_with: str,
    ) -> None:
        self._paint, self._config, self._made_with = paint, config, made_with
        self._report, self._should_stop = report, should_stop
        self._jobs = jobs
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
        self._paint.expect()
        with (
            ExitStack() as end,
            ThreadPoolExecutor(_FETCHED_AHEAD) as self._copying,
            ThreadPoolExecutor(threads) as self._pool,
            ThreadPoolExecutor(networks) as self._network,
        ):
            self._transfers = _Transfers(self._jobs, self._config.max_pixels, self._copying, end)
            with suppress(_StoppedError):
                for batch in self._batches():
                    if batch[0].photo is None:
                        self._settle(0, 0)
                        self._settle_file(_deliver(self._paint_clip(batch[0])))
                        continue
                    self._painting.append(self._network.submit(self._paint_photos, batch))
                    del batch  # or its photos would outlive their writing
                    self._settle(networks - 1, max(networks, _AHEAD))
            self._settle(0, 0)
        return self._results

    def _must_stop(self) -> bool:
        return self._blocked or self._should_stop()

    def _batches(self) -> Iterator[list[Item]]:
        """Images as they are decoded, neighbors of one size together.

        Never padded to one size: a norm would see the padding.
        """
        try:
            while not self._must_stop():
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
            self._ahead.append(self._pool.submit(_read, self._next, self._config))
            self._next = None

    def _settle(self, batches: int, files: int) -> None:
        """Wait until no more than so many are on their way."""
        while len(self._painting) > batches or len(self._writing) > files:
            self._settle_one(first=len(self._painting) > batches)
        # A failure is reported before more is begun.
        while self._writing and self._writing[0].done():
            self._settle_one(first=False)

    def _settle_one(self, first: bool = True) -> None:
        """Wait for the oldest batch to be painted; or, if there is none, for a file's end."""
        if first and self._painting:
            items = self._painting.popleft().result()
            self._writing.extend(map(self._begin_to_write, items))
            if any(item.error for item in items):  # reported before more is begun
                self._settle(len(self._painting), 0)
        else:
            self._settle_file(self._writing.popleft().result())

    def _settle_file(self, item: Item) -> None:
        self._in_flight -= item.bytes
        self._transfers.forget(item)
        if item.lacks and not item.error:
            self._report(Notice(item.name(item.lacks)))
        if item.blocked and self._blocked:  # this one is left for another run
            return
        self._blocked = self._blocked or item.blocked
        self._results.append(Result(item.job, item.seconds, item.error))
        self._report(self._results[-1])

    def _begin_to_write(self, item: Item) -> Future[Item]:
        pool = self._pool if item.target == item.job.target else self._copying
        return pool.submit(_write, replace(item, photo=None), item.photo, self._config.quality)

    def _paint_clip(self, item: Item) -> Item:
        """Stylize a video or an animation, a few frames on their way at a time.

        Args:
            item: the clip; a file that has failed before stays as it is.

        Raises:
            _StoppedError: it was stopped before its end.
        """
        began, clip = time.monotonic(), item.clip
        if clip is None:
            return item
        try:
            for note in filter(None, (item.job.note, item.lacks)):
                self._report(Notice(item.name(note)))
            item = replace(item, lacks="")  # it is said
            keep = not self._config.strip_metadata
            frames = self._watch(item, clip, self._paint_frames(clip, _scratch_folder(item)))
            write_clip(clip, item.target, frames, self._config.quality, metadata=keep)
        except StyleCliError as failure:
            item = item.fail(failure.message, blocked=is_disk_full(failure))
        except (RuntimeError, MemoryError, OSError) as failure:
            item = item.fail(_explain_failure(item, failure))
        return replace(item, seconds=time.monotonic() - began)

    def _watch(
        self, item: Item, clip: Clip, frames: Iterator[Frame[Picture]]
    ) -> Iterator[Frame[Picture]]:
        """The same frames: each is reported when it is encoded, and a stop is an error."""
        for done, frame in enumerate(frames, start=1):
            if self._must_stop():
                raise _StoppedError
            yield frame
            self._report(Frames(item.job.source, done, clip.count))

    def _paint_frames(self, clip: Clip, scratch: Path | None) -> Iterator[Frame[Picture]]:
        """The frames of a clip, painted; the next ones are painted meanwhile."""
        painting: deque[Future[list[Frame[Picture]]]] = deque()

        def paint(batch: list[Frame[Picture]]) -> list[Frame[Picture]]:
            pictures = self._paint_pictures([frame.picture for frame in batch], scratch)
            pairs = zip(batch, pictures, strict=True)
            return [replace(frame, picture=picture) for frame, picture in pairs]

        try:
            with closing(_decode_ahead(clip.frames(), self._config)) as frames:
                for _, alike in groupby(frames, key=lambda frame: frame.picture.rgb.shape):
                    while batch := list(islice(alike, self._paint.batch_size)):
                        painting.append(self._network.submit(paint, batch))
                        if len(painting) > self._paint.at_once:
                            yield from painting.popleft().result()
            while painting:
                yield from painting.popleft().result()
        finally:
            for future in painting:
                future.cancel()

    def _paint_photos(self, items: list[Item]) -> list[Item]:
        """Paint photos of one size."""
        photos = [item.photo for item in items if item.photo is not None]
        began = time.monotonic()
        try:
            pictures = self._paint_pictures(photos, _scratch_folder(items[0]))
        except (RuntimeError, MemoryError, OSError) as failure:  # memory, or scratch space
            if len(items) == 1:
                return [items[0].fail(_explain_failure(items[0], failure))]
        else:
            seconds = (time.monotonic() - began) / len(items)
            return [
                replace(item, photo=picture, seconds=seconds)
                for item, picture in zip(items, pictures, strict=True)
            ]
        # One may be to blame.
        return [one for item in items for one in self._paint_photos([item])]

    def _paint_pictures(self, pictures: Sequence[Picture], scratch: Path | None) -> list[Picture]:
        """Paint pictures of one size; how they were made is noted in them."""
        config = self._config
        paintings = self._paint([picture.rgb for picture in pictures], config, scratch)
        painted = []
        for picture, rgb in zip(pictures, paintings, strict=True):
            metadata = Metadata()
            if not config.strip_metadata:
                tags = {_SOFTWARE: _PREFIX + _ascii(self._made_with)}
                exif = set_tags(picture.metadata.exif, tags)
                metadata = replace(picture.metadata, exif=exif)
            painted.append(replace(picture, rgb=rgb, metadata=metadata))
        return painted


class _StoppedError(Exception):
    """A video was stopped before its end."""


def _bring(item: Item, max_pixels: int) -> Item:
    """Copy a source from a store or standard input; its head tells the memory that it will take."""
    source = item.job.source
    try:
        if isinstance(source, Url):
            fetch(source, item.source)
        elif source == STANDARD_STREAM:
            with item.source.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
    except StyleCliError as failure:
        return item.fail(failure.message, blocked=is_disk_full(failure))
    except OSError as failure:
        return item.fail(f"{source}: {failure.strerror}", blocked=True)
    if not item.job.is_video:
        # What is wrong with the file is reported when it is read.
        with suppress(StyleCliError), open_image(item.source, max_pixels) as image:
            return replace(item, bytes=image.width * image.height * _BYTES_PER_PIXEL)
    return item


def _read(item: Item, config: StylizeConfig) -> Item:
    """Decode a photo, or open a clip; what failed before stays as it is."""
    if item.error:
        return item
    try:
        read, lacks = read_clip_or_picture(item.source, item.target, config.max_pixels)
        if not isinstance(read, Picture):
            return replace(item, clip=read, lacks=lacks)
        return replace(item, photo=shrink(read, config.max_size), lacks=lacks)
    except StyleCliError as failure:
        return item.fail(failure.message)
    except MemoryError:
        return item.fail(f"{item.job.source}: not enough memory to decode it")


def _write(item: Item, picture: Picture | None, quality: int) -> Item:
    """Encode a painting, and deliver it; the item itself holds no pixels."""
    if picture is None:
        return item
    try:
        write_picture(item.target, picture, quality)
    except StyleCliError as failure:
        return item.fail(failure.message, blocked=is_disk_full(failure))
    except MemoryError:
        return item.fail(f"{item.job.target}: not enough memory to encode it")
    return _deliver(item)


def _deliver(item: Item) -> Item:
    """Copy a result to its store or to standard output; on this machine it is where it belongs.

    Raises:
        BrokenPipeError: standard output has no reader any more.
    """
    target = item.job.target
    if item.error or item.target == target:
        return item
    try:
        if isinstance(target, Url):
            send(item.target, target)
        elif sys.stdout is None:
            return item.fail("cannot write -: standard output is closed")
        else:
            with item.target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except StyleCliError as failure:  # without the right to write, no other is taken either
        refused = isinstance(failure.__cause__, PermissionError | FileNotFoundError)
        return item.fail(failure.message, blocked=refused)
    except OSError as failure:
        return item.fail(f"cannot write -: {failure.strerror or failure}")
    return item


def _decode_ahead(
    frames: Iterator[Frame[Picture]], config: StylizeConfig
) -> Generator[Frame[Picture]]:
    """Frames scaled down to the size that was asked for, decoded ahead in a thread."""

    def decode() -> Frame[Picture] | None:
        frame = next(frames, None)
        return frame and replace(frame, picture=shrink(frame.picture, config.max_size))

    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(decode) for _ in range(_AHEAD))
        try:
            while (frame := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(decode))
                yield frame
        finally:
            for future in waiting:
                future.cancel()


def _scratch_folder(item: Item) -> Path | None:
    """Where temporary files go: beside the output, as the system's folder may lie in memory."""
    return None if "TMPDIR" in os.environ else item.target.parent


def _explain_failure(item: Item, failure: Exception) -> str:
    """One line on why the network failed on a file."""
    source = item.job.source
    if isinstance(failure, OutOfMemoryError):
        return f"{source}: not enough memory to paint it; --max-size scales it down"
    if isinstance(failure, OSError) and failure.errno in _FULL:
        folder = _scratch_folder(item) or tempfile.gettempdir()
        return f"{source}: no room for temporary files in {folder}; TMPDIR names another folder"
    return f"{source}: {str(failure).partition(chr(10))[0] or 'not enough memory'}"


def is_disk_full(failure: StyleCliError) -> bool:
    """Whether every further file would fail too."""
    cause = failure.__cause__
    return isinstance(cause, OSError) and cause.errno in _FULL


class _Transfers:
    """The files of a run, each with its local names: temporary ones in a store or through a pipe.

    A file of this machine keeps its own name, and nothing is done ahead for it.

    Args:
        jobs: the files, in their order.
        max_pixels: of an image.
        pool: what copies from and to stores.
        end: of the run, with which temporary files go.
    """

    def __init__(
        self, jobs: Sequence[Job], max_pixels: int, pool: ThreadPoolExecutor, end: ExitStack
    ) -> None:
        self._rest, self._max_pixels, self._pool, self._end = deque(jobs), max_pixels, pool, end
        self._coming: deque[Future[Item]] = deque()
        self._numbers = count()
        self._videos = 0

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
        return len(self._coming) < (_FETCHED_AHEAD if isinstance(job.source, Url) else 1)

    def _begin(self, job: Job) -> Future[Item]:
        source, target = self._local(job.source), self._local(job.target, job.ending)
        item = Item(job, 0, source=source, target=target)
        if isinstance(job.source, Url):
            self._videos += job.is_video
            return self._pool.submit(_bring, item, self._max_pixels)
        here: Future[Item] = Future()
        here.set_result(_bring(item, self._max_pixels))
        return here

    def _local(self, place: Place, ending: str = "") -> Path:
        """A name for the local copy: the object's own may be too long, or have odd characters."""
        if isinstance(place, Path) and place != STANDARD_STREAM:
            return place
        return self._folder / f"{next(self._numbers)}{ending or place.suffix}"

    def forget(self, item: Item) -> None:
        """Remove the local copies of a file."""
        self._videos -= isinstance(item.job.source, Url) and item.job.is_video
        for place, copy in ((item.job.source, item.source), (item.job.target, item.target)):
            if place != copy:
                copy.unlink(missing_ok=True)

    @cached_property
    def _folder(self) -> Path:
        return self._end.enter_context(private_folder())


def find_other_settings(path: Path, made_with: str) -> str:
    """What a picture says of how it was made, if that is something else; otherwise nothing."""
    tags = Image.Exif()
    with suppress(Exception), open_image(path) as image:
        if image.format == "TIFF":
            tags = image.getexif()
        else:
            tags.load(image.info.get("exif", b""))  # this reads the header of the file alone
    text = str(tags.get(_SOFTWARE, ""))
    other = text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else ""
    return "" if other == _ascii(made_with) else other


def _ascii(text: str) -> str:
    """A text in ASCII, as EXIF requires."""
    return text.encode("ascii", "replace").decode()
