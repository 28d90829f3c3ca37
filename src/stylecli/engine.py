"""Images through a generator: decode ahead, stylize in batches of one size, encode behind.

The network is the only part that waits for nothing; memory does not grow with the number of
files; one bad file never stops the others.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from stylecli.config import StylizeConfig
from stylecli.core.backends import OutOfMemoryError, open_backend
from stylecli.core.checkpoints import find_style
from stylecli.core.geometry import plain_bytes
from stylecli.errors import StyleCliError
from stylecli.files.images import (
    Picture,
    Rgb,
    mixed,
    read_picture,
    set_max_pixels,
    shrunk,
    write_picture,
)
from stylecli.files.jobs import Job

_BATCH = {"cpu": 1, "mps": 1, "cuda": 8}  # more photos at once are no faster on a CPU
_AHEAD = 4  # images decoded before the network asks for them, and encoded behind it
_SHARE_OF_FREE_MEMORY = 0.5


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


@dataclass
class _Item:
    """An image on its way."""

    job: Job
    photo: Picture | None = None
    painted: Rgb | None = None
    error: str = ""
    seconds: float = 0.0


class Stylizer:
    """A trained model, ready to use.

    Args:
        model: name or file, or the name of a style in one.
        style: which style of the model, or a blend; see :func:`~.core.checkpoints.load_model`.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.
        backend: ``auto``, ``openvino`` or ``torch``; see :func:`~.core.backends.open_backend`.
        batch_size: images of one size at once; None is what suits the device.
        max_memory: bytes that one pass over an image may take before it goes in strips; None is
            half of what is free.

    Attributes:
        info: what the model file says of itself.

    Raises:
        StyleCliError: no such model, device, precision or backend.
    """

    def __init__(
        self,
        model: str,
        style: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        batch_size: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        path, self.info, mix = find_style(model, style)
        self._name = self.info.name if style is None else f"{self.info.name}, {style}"
        self._backend = open_backend(path, mix, backend=backend, device=device, precision=precision)
        self._batch_size = batch_size or _BATCH[self._backend.device_type]
        self._max_memory = max_memory

    @property
    def description(self) -> str:
        """What it is, where and how it computes: ``starry-night on cpu, torch, float32``."""
        return f"{self._name} on {self._backend.description}"

    def __call__(self, rgb: Rgb) -> Rgb:
        """Stylize one image, (H, W, 3) in 0..255, to the same size."""
        return self._paint([rgb])[0]

    def run(
        self,
        jobs: Sequence[Job],
        report: Callable[[Result], None] = lambda result: None,
        should_stop: Callable[[], bool] = lambda: False,
        config: StylizeConfig | None = None,
    ) -> list[Result]:
        """Stylize files; what fails is in the results, and the rest goes on.

        Args:
            jobs: from :func:`stylecli.files.jobs.plan`.
            report: told of each image when it is written, in the order of the jobs.
            should_stop: asked before each batch; what is in work is then still written.
            config: how to read, paint and write.

        Raises:
            StyleCliError: a bad setting.
        """
        config = config or StylizeConfig()
        config.check()
        set_max_pixels(config.max_pixels)
        results: list[Result] = []
        writing: deque[Future[_Item]] = deque()

        def settle(most: int) -> None:
            while len(writing) > most:
                item = writing.popleft().result()
                results.append(Result(item.job, item.seconds, item.error))
                report(results[-1])

        with ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2)) as pool:
            for batch in self._batches(pool, jobs, config, should_stop):
                self._paint_items(batch)
                writing.extend(pool.submit(_write, item, config) for item in batch)
                settle(_AHEAD)
            settle(0)
        return results

    def _batches(
        self,
        pool: ThreadPoolExecutor,
        jobs: Sequence[Job],
        config: StylizeConfig,
        should_stop: Callable[[], bool],
    ) -> Iterator[list[_Item]]:
        """Images as they are decoded, neighbours of one size together.

        Never padded to one size: a norm would see the padding.
        """
        rest = iter(jobs)
        first = islice(rest, _AHEAD + self._batch_size)
        ahead = deque(pool.submit(_read, job, config) for job in first)
        batch: list[_Item] = []
        while ahead and not should_stop():
            item = ahead.popleft().result()
            ahead.extend(pool.submit(_read, job, config) for job in islice(rest, 1))
            if batch and (len(batch) == self._batch_size or _size(item) != _size(batch[0])):
                yield batch
                batch = []
            batch.append(item)
        for future in ahead:
            future.cancel()
        if batch and not should_stop():
            yield batch

    def _paint_items(self, items: list[_Item]) -> None:
        pictures = [item.photo for item in items if item.photo is not None]
        if not pictures:
            return
        began = time.monotonic()
        try:
            painted = self._paint([picture.rgb for picture in pictures])
        except (RuntimeError, MemoryError, OSError) as failure:  # memory, or scratch space
            if len(items) > 1:  # one of them may be to blame
                for item in items:
                    self._paint_items([item])
                return
            items[0].error = f"{items[0].job.source}: {str(failure).partition(chr(10))[0]}"
            return
        for item, rgb in zip(items, painted, strict=True):
            item.painted = rgb
            item.seconds = (time.monotonic() - began) / len(items)

    def _paint(self, images: Sequence[Rgb]) -> list[Rgb]:
        """Stylize images of one size, in as few passes as memory allows."""
        budget = self._max_memory or int(_SHARE_OF_FREE_MEMORY * self._backend.free_memory())
        height, width = images[0].shape[:2]
        itemsize = self._backend.itemsize
        fits = budget // plain_bytes(self.info.arch, self.info.width, height * width, itemsize)
        if not fits:
            return [self._backend.in_strips(rgb) for rgb in images]
        painted: list[Rgb] = []
        for first in range(0, len(images), fits):
            painted += self._in_one_pass(images[first : first + fits])
        return painted

    def _in_one_pass(self, images: Sequence[Rgb]) -> list[Rgb]:
        try:
            return list(self._backend(np.stack(images)))
        except OutOfMemoryError:  # the estimate was too low, or another program came
            if len(images) == 1:
                return [self._backend.in_strips(images[0])]
        half = len(images) // 2
        return self._in_one_pass(images[:half]) + self._in_one_pass(images[half:])


def _size(item: _Item) -> tuple[int, ...]:
    return () if item.photo is None else item.photo.rgb.shape


def _read(job: Job, config: StylizeConfig) -> _Item:
    try:
        photo = read_picture(job.source)
        return _Item(job, shrunk(photo, config.max_size) if config.max_size else photo)
    except StyleCliError as failure:
        return _Item(job, error=failure.message)
    except MemoryError:
        return _Item(job, error=f"{job.source}: not enough memory to decode it")


def _write(item: _Item, config: StylizeConfig) -> _Item:
    try:
        if item.photo is not None and item.painted is not None:
            rgb = mixed(
                item.photo.rgb,
                item.painted,
                config.strength,
                preserve_color=config.preserve_color,
            )
            exif = b"" if config.strip_metadata else item.photo.exif
            picture = replace(item.photo, rgb=rgb, exif=exif)
            write_picture(item.job.target, picture, config.quality)
    except StyleCliError as failure:
        item.error = failure.message
    except MemoryError:
        item.error = f"{item.job.target}: not enough memory to encode it"
    item.photo = item.painted = None
    return item
