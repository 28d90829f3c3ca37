"""What happens to one file on its way, stage by stage, in whatever thread.

Each stage makes a new item of the one before. A failure goes on as the item's error.
"""

import errno
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from stylecli.config import StylizeConfig
from stylecli.core.backend import OutOfMemoryError
from stylecli.engine.marks import marked
from stylecli.errors import StyleCliError
from stylecli.files.clips import Clip, open_clip
from stylecli.files.colors import Rgb
from stylecli.files.images import STANDARD_STREAM, opened, read_picture, write_picture
from stylecli.files.jobs import Job
from stylecli.files.pictures import Picture, mixed, shrunk

# An image and its stylization are 6; with what a decoder or an encoder takes, 17 at most.
_BYTES_PER_PIXEL = 16
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Paint(Protocol):
    """Stylizes images of one size; temporary files, if any, go into the folder ``scratch``."""

    def __call__(self, images: Sequence[Rgb], scratch: Path | None) -> list[Rgb]:
        """(H, W, 3) each, to the same."""


@dataclass(frozen=True)
class Item:
    """A file on its way.

    Attributes:
        job: which one.
        bytes: about how much memory it takes until it is written.
        photo: once it is decoded, and until it is written.
        clip: the same for a video or an animation.
        painted: the stylized photo.
        seconds: of the network's time, its share of a batch's.
        error: why it failed; empty if it did not.
        disk_full: whether every further file would fail in the same way.
    """

    job: Job
    bytes: int
    photo: Picture | None = None
    clip: Clip | None = None
    painted: Rgb | None = None
    seconds: float = 0.0
    error: str = ""
    disk_full: bool = False

    @property
    def kind(self) -> object:
        """Items of one kind can share a batch: images of one size; a clip with nothing else."""
        return self.photo.rgb.shape if self.photo is not None else self.clip or self.error

    def failed(self, error: str, *, disk_full: bool = False) -> "Item":
        """The item without its pixels."""
        return replace(self, photo=None, painted=None, error=error, disk_full=disk_full)


def planned(job: Job) -> Item:
    """An item at its start; the memory that it will take is told by the head of its file."""
    if job.is_video or job.source == STANDARD_STREAM:
        return Item(job, 0)
    try:
        with opened(job.source) as image:
            return Item(job, image.width * image.height * _BYTES_PER_PIXEL)
    except StyleCliError:  # which is said when it is read
        return Item(job, 0)


def read(item: Item, config: StylizeConfig) -> Item:
    """A photo is decoded, a clip is opened."""
    try:
        clip = open_clip(item.job.source, item.job.target)
        if clip is not None:
            return replace(item, clip=clip)
        photo = read_picture(item.job.source)
        return replace(item, photo=shrunk(photo, config.max_size) if config.max_size else photo)
    except StyleCliError as failure:
        return item.failed(failure.message)
    except MemoryError:
        return item.failed(f"{item.job.source}: not enough memory to decode it")


def painted(items: list[Item], paint: Paint) -> list[Item]:
    """Photos of one size are stylized; what failed before stays as it is."""
    pictures = [item.photo for item in items if item.photo is not None]
    if not pictures:
        return items
    began = time.monotonic()
    try:
        stylized = paint([picture.rgb for picture in pictures], scratch(items[0].job))
    except (RuntimeError, MemoryError, OSError) as failure:  # memory, or scratch space
        if len(items) == 1:
            return [items[0].failed(why(items[0].job, failure))]
    else:
        seconds = (time.monotonic() - began) / len(items)
        return [
            replace(item, painted=rgb, seconds=seconds)
            for item, rgb in zip(items, stylized, strict=True)
        ]
    return [one for item in items for one in painted([item], paint)]  # one may be to blame


def finished(photo: Picture, painted: Rgb, config: StylizeConfig, model: str) -> Picture:
    """A stylized photo as it is wanted; the model is noted in it."""
    rgb = mixed(photo.rgb, painted, config.strength, preserve_color=config.preserve_color)
    return replace(photo, rgb=rgb, exif=b"" if config.strip_metadata else marked(photo.exif, model))


def written(item: Item, picture: Future[Picture], quality: int) -> Item:
    """A stylized photo is encoded; the item has no pixels any more, as the encoder needs room.

    Raises:
        BrokenPipeError: standard output has no reader any more.
    """
    try:
        write_picture(item.job.target, picture.result(), quality, item.job.ending)
    except StyleCliError as failure:
        if isinstance(failure.__cause__, BrokenPipeError):
            raise failure.__cause__ from None
        return item.failed(failure.message, disk_full=is_disk_full(failure))
    except MemoryError:
        return item.failed(f"{item.job.target}: not enough memory to encode it")
    return item


def scratch(job: Job) -> Path | None:
    """Where temporary files go: beside the output, as the system's folder may lie in memory."""
    named_by_user = "TMPDIR" in os.environ
    return None if named_by_user or job.target == STANDARD_STREAM else job.target.parent


def why(job: Job, failure: Exception) -> str:
    """Why the network failed on a file."""
    if isinstance(failure, OutOfMemoryError):
        return f"{job.source}: not enough memory to paint it; --max-size scales it down"
    if isinstance(failure, OSError) and failure.errno in _FULL:
        folder = scratch(job) or tempfile.gettempdir()
        return f"{job.source}: no room for temporary files in {folder}; TMPDIR names another folder"
    return f"{job.source}: {str(failure).partition(chr(10))[0] or 'not enough memory'}"


def is_disk_full(failure: StyleCliError) -> bool:
    """Whether every further file would fail too."""
    cause = failure.__cause__
    return isinstance(cause, OSError) and cause.errno in _FULL
