"""What happens to one file on its way, stage by stage, in whatever thread.

Each stage makes a new item of the one before. A failure goes on as the item's error.
"""

import errno
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from stylecli.config import StylizeConfig
from stylecli.core.backend import OutOfMemoryError
from stylecli.engine.marks import marked
from stylecli.engine.painter import Painter
from stylecli.errors import StyleCliError
from stylecli.files.clips import Clip, read_clip_or_picture
from stylecli.files.colors import Rgb
from stylecli.files.images import opened, write_picture
from stylecli.files.jobs import Job
from stylecli.files.metadata import Metadata
from stylecli.files.pictures import Picture, shrunk
from stylecli.files.urls import Url, fetch, send

# An image and its stylization are 6; with what a decoder or an encoder takes, 17 at most.
_BYTES_PER_PIXEL = 16
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class Item:
    """A file on its way.

    Attributes:
        job: which one.
        bytes: about how much memory it takes until it is written.
        source: the local file to read, which is a copy if the job's source lies in a store.
        target: the local file to write, likewise.
        photo: once it is decoded, and until it is written.
        clip: the same for a video or an animation.
        painted: the stylized photo.
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
    painted: Rgb | None = None
    seconds: float = 0.0
    lacks: str = ""
    error: str = ""
    blocked: bool = False

    @property
    def kind(self) -> object:
        """Items of one kind can share a batch: images of one size; a clip with nothing else."""
        if self.clip is not None:
            return id(self.clip)
        return self.photo.rgb.shape if self.photo is not None else self.error

    def failed(self, error: str, *, blocked: bool = False) -> "Item":
        """The item without its pixels."""
        return replace(self, photo=None, painted=None, error=self.named(error), blocked=blocked)

    def named(self, text: str) -> str:
        """A text in which the local files have the names that the user knows."""
        text = text.replace(str(self.source), str(self.job.source))
        return text.replace(str(self.target), str(self.job.target))


def already(item: Item) -> Future[Item]:
    """What is done already, for those who wait for it."""
    future: Future[Item] = Future()
    future.set_result(item)
    return future


def fetched(item: Item, url: Url) -> Item:
    """An item at its start, whose source is copied from a store first."""
    try:
        fetch(url, item.source)
    except StyleCliError as failure:
        return item.failed(failure.message, blocked=is_disk_full(failure))
    return planned(item)


def taken(item: Item) -> Item:
    """An item at its start, whose source is copied from standard input first."""
    try:
        with item.source.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as failure:
        return item.failed(f"-: {failure.strerror}", blocked=True)
    return planned(item)


def planned(item: Item) -> Item:
    """An item at its start; the memory that it will take is told by the head of its file."""
    if item.job.is_video:
        return item
    try:
        with opened(item.source, sys.maxsize) as image:  # too many pixels are said when it is read
            return replace(item, bytes=image.width * image.height * _BYTES_PER_PIXEL)
    except StyleCliError:  # likewise
        return item


def read(item: Item, config: StylizeConfig) -> Item:
    """A photo is decoded, a clip is opened; what failed before stays as it is."""
    if item.error:
        return item
    try:
        read, lacks = read_clip_or_picture(item.source, item.target, config.max_pixels)
        if not isinstance(read, Picture):
            return replace(item, clip=read)
        photo = shrunk(read, config.max_size) if config.max_size else read
        return replace(item, photo=photo, lacks=lacks)
    except StyleCliError as failure:
        return item.failed(failure.message)
    except MemoryError:
        return item.failed(f"{item.job.source}: not enough memory to decode it")


def painted(items: list[Item], paint: Painter, config: StylizeConfig) -> list[Item]:
    """Photos of one size are stylized; what failed before stays as it is."""
    pictures = [item.photo for item in items if item.photo is not None]
    if not pictures:
        return items
    began = time.monotonic()
    try:
        stylized = paint([picture.rgb for picture in pictures], config, scratch(items[0]))
    except (RuntimeError, MemoryError, OSError) as failure:  # memory, or scratch space
        if len(items) == 1:
            return [items[0].failed(why(items[0], failure))]
    else:
        seconds = (time.monotonic() - began) / len(items)
        return [
            replace(item, painted=rgb, seconds=seconds)
            for item, rgb in zip(items, stylized, strict=True)
        ]
    # One may be to blame.
    return [one for item in items for one in painted([item], paint, config)]


def finished(photo: Picture, painted: Rgb, config: StylizeConfig, made_with: str) -> Picture:
    """A stylized photo to be written; how it was made is noted in it."""
    if config.strip_metadata:
        return replace(photo, rgb=painted, metadata=Metadata())
    exif = marked(photo.metadata.exif, made_with)
    return replace(photo, rgb=painted, metadata=replace(photo.metadata, exif=exif))


def written(item: Item, picture: Future[Picture], quality: int) -> Item:
    """A stylized photo is encoded; the item has no pixels any more, as the encoder needs room."""
    try:
        write_picture(item.target, picture.result(), quality)
    except StyleCliError as failure:
        return item.failed(failure.message, blocked=is_disk_full(failure))
    except MemoryError:
        return item.failed(f"{item.job.target}: not enough memory to encode it")
    return item


def sent(written: Future[Item], url: Url) -> Item:
    """A result is copied to a store; one without the right to write is so for all results."""
    item = written.result()
    if item.error:
        return item
    try:
        send(item.target, url)
    except StyleCliError as failure:
        refused = isinstance(failure.__cause__, PermissionError | FileNotFoundError)
        return item.failed(failure.message, blocked=refused)
    return item


def given(written: Future[Item]) -> Item:
    """A result is copied to standard output.

    Raises:
        BrokenPipeError: it has no reader any more.
    """
    item = written.result()
    if item.error:
        return item
    if sys.stdout is None:
        return item.failed("cannot write -: standard output is closed")
    try:
        with item.target.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as failure:
        return item.failed(f"cannot write -: {failure.strerror or failure}")
    return item


def scratch(item: Item) -> Path | None:
    """Where temporary files go: beside the output, as the system's folder may lie in memory."""
    named_by_user = "TMPDIR" in os.environ
    return None if named_by_user else item.target.parent


def why(item: Item, failure: Exception) -> str:
    """Why the network failed on a file."""
    source = item.job.source
    if isinstance(failure, OutOfMemoryError):
        return f"{source}: not enough memory to paint it; --max-size scales it down"
    if isinstance(failure, OSError) and failure.errno in _FULL:
        folder = scratch(item) or tempfile.gettempdir()
        return f"{source}: no room for temporary files in {folder}; TMPDIR names another folder"
    return f"{source}: {str(failure).partition(chr(10))[0] or 'not enough memory'}"


def is_disk_full(failure: StyleCliError) -> bool:
    """Whether every further file would fail too."""
    cause = failure.__cause__
    return isinstance(cause, OSError) and cause.errno in _FULL
