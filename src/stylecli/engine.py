"""Images through a generator: decode ahead, stylize in batches of one size, encode behind.

The network is the only part that waits for nothing; memory does not grow with the number of
files; one bad file never stops the others.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from queue import SimpleQueue
from typing import overload

import numpy as np
from PIL import Image

from stylecli.config import StylizeConfig
from stylecli.core.backends import Backend, OutOfMemoryError, open_backends
from stylecli.core.checkpoints import find_style
from stylecli.core.geometry import plain_bytes
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.atomic import remove_leftovers
from stylecli.files.clips import Clip, open_clip
from stylecli.files.images import (
    Picture,
    Rgb,
    as_image,
    as_picture,
    mixed,
    read_picture,
    set_max_pixels,
    shrunk,
    write_picture,
)
from stylecli.files.jobs import Job, plan

_BATCH = {"cpu": 1, "mps": 1, "cuda": 8}  # more photos at once are no faster on a CPU
_AHEAD = 4  # images decoded before the network asks for them, and encoded behind it
_SHARE_OF_FREE_MEMORY = 0.5
_NOISE = 12.0  # of 255: by as much a pixel changes in a video where nothing moves


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
    clip: Clip | None = None
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
        backend: ``auto``, ``openvino`` or ``torch``; see :func:`~.core.backends.open_backends`.
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
        chosen = style or (model if len(mix) > 1 else None)
        self._name = f"{self.info.name}, {chosen}" if chosen else self.info.name
        backends = open_backends(path, mix, backend=backend, device=device, precision=precision)
        self._where = backends[0].description
        self._networks = len(backends)
        self._free: SimpleQueue[Backend] = SimpleQueue()
        for one in backends:
            self._free.put(one)
        self._batch_size = batch_size or _BATCH[backends[0].device_type]
        self._max_memory = max_memory

    @property
    def description(self) -> str:
        """What, where and how it computes: ``gallery, udnie on cpu, torch, float32``."""
        copies = f"{self._networks} x " if self._networks > 1 else ""
        return f"{self._name} on {copies}{self._where}"

    @overload
    def __call__(self, image: Rgb) -> Rgb: ...
    @overload
    def __call__(self, image: Image.Image) -> Image.Image: ...

    def __call__(self, image: Rgb | Image.Image) -> Rgb | Image.Image:
        """Stylize one image to the same size.

        Args:
            image: (H, W, 3) in 0..255; or any of Pillow's, which is turned upright first, and
                becomes one in sRGB with the same transparency.

        Raises:
            StyleCliError: an array of another shape or type.
        """
        if isinstance(image, Image.Image):
            picture = as_picture(image)
            return as_image(replace(picture, rgb=self._paint([picture.rgb])[0]), "PNG")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise StyleCliError(
                f"an array of {image.dtype}, {image.shape}, is no image",
                hint="pass uint8 of (height, width, 3), RGB",
            )
        return self._paint([image])[0]

    def run(
        self,
        inputs: Path | str | Sequence[Path | str],
        out: Path | str,
        config: StylizeConfig | None = None,
        *,
        overwrite: bool = False,
    ) -> list[Result]:
        """Stylize files and folders, as the command does; what is there already is skipped.

        Args:
            inputs: images, videos and folders.
            out: a folder; or a file, for one.
            config: how to read, paint and write.
            overwrite: do again what is there.

        Raises:
            StyleCliError: as for :func:`stylecli.files.jobs.plan`, or a bad setting.
        """
        config = config or StylizeConfig()
        given = [inputs] if isinstance(inputs, (str, Path)) else inputs
        planned = plan(
            [Path(path) for path in given],
            Path(out),
            overwrite=overwrite,
            suffix=config.suffix,
            format=config.format,
        )
        return self.run_jobs(planned.jobs, config=config)

    def run_jobs(
        self,
        jobs: Sequence[Job],
        report: Callable[[Result | Frames | Notice], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
        config: StylizeConfig | None = None,
    ) -> list[Result]:
        """Stylize files; what fails is in the results, and the rest goes on.

        Args:
            jobs: from :func:`stylecli.files.jobs.plan`.
            report: told of each file when it is written, in the order of the jobs, of frames, and
                of what a result will lack.
            should_stop: asked before each batch; what is in work is then still written, but for
                a video, which is left out.
            config: how to read, paint and write.

        Raises:
            StyleCliError: a bad setting.
        """
        config = config or StylizeConfig()
        config.check()
        set_max_pixels(config.max_pixels)
        for folder in {job.target.parent for job in jobs}:
            remove_leftovers(folder)
        results: list[Result] = []
        painting: deque[Future[list[_Item]]] = deque()
        writing: deque[Future[_Item]] = deque()

        def settle(batches: int, files: int) -> None:
            """Wait until no more than so many are on their way."""
            while len(painting) > batches:
                batch = painting.popleft().result()
                writing.extend(pool.submit(_write, item, config) for item in batch)
            while len(writing) > files:
                item = writing.popleft().result()
                results.append(Result(item.job, item.seconds, item.error))
                report(results[-1])

        threads = max(2, (os.cpu_count() or 2) // 2)
        with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(self._networks) as network:
            for batch in self._batches(pool, jobs, config, should_stop):
                if batch[0].clip is None:
                    painting.append(network.submit(self._paint_items, batch))
                    settle(self._networks - 1, _AHEAD)
                    continue
                settle(0, 0)
                if not self._paint_clip(batch[0], batch[0].clip, config, report, should_stop):
                    break
                writing.append(pool.submit(_write, batch[0], config))
            settle(0, 0)
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
        try:
            while ahead and not should_stop():
                item = ahead.popleft().result()
                ahead.extend(pool.submit(_read, job, config) for job in islice(rest, 1))
                full = len(batch) == self._batch_size
                if batch and (full or _kind(item) != _kind(batch[0])):
                    yield batch
                    batch = []
                batch.append(item)
            if batch and not should_stop():
                yield batch
        finally:
            for future in ahead:
                future.cancel()

    def _paint_items(self, items: list[_Item]) -> list[_Item]:
        pictures = [item.photo for item in items if item.photo is not None]
        if not pictures:
            return items
        began = time.monotonic()
        try:
            painted = self._paint([picture.rgb for picture in pictures])
        except (RuntimeError, MemoryError, OSError) as failure:  # memory, or scratch space
            if len(items) > 1:  # one of them may be to blame
                for item in items:
                    self._paint_items([item])
                return items
            items[0].error = f"{items[0].job.source}: {str(failure).partition(chr(10))[0]}"
            return items
        for item, rgb in zip(items, painted, strict=True):
            item.painted = rgb
            item.seconds = (time.monotonic() - began) / len(items)
        return items

    def _paint_clip(
        self,
        item: _Item,
        clip: Clip,
        config: StylizeConfig,
        report: Callable[[Result | Frames | Notice], None],
        should_stop: Callable[[], bool],
    ) -> bool:
        """Stylize a video or an animation, a few frames on their way at a time.

        Returns:
            Whether it came to an end, good or bad; False if it was stopped before.
        """
        began = time.monotonic()
        if lacks := clip.notice(item.job.target):
            report(Notice(lacks))

        def painted() -> Iterator[Picture]:
            for done, picture in enumerate(self._painted_frames(clip, config), start=1):
                if should_stop():
                    raise _StoppedError
                yield picture
                report(Frames(item.job.source, done, clip.count))

        try:
            keep = not config.strip_metadata
            clip.write(item.job.target, painted(), config.quality, metadata=keep)
        except _StoppedError:
            return False
        except StyleCliError as failure:
            item.error = failure.message
        except (RuntimeError, MemoryError, OSError) as failure:
            item.error = f"{item.job.source}: {str(failure).partition(chr(10))[0]}"
        item.seconds = time.monotonic() - began
        return True

    def _painted_frames(self, clip: Clip, config: StylizeConfig) -> Iterator[Picture]:
        before: tuple[Rgb, Rgb] | None = None
        with closing(_decoded_ahead(clip.frames(), config)) as frames:
            for _, alike in groupby(frames, key=lambda frame: frame.rgb.shape):
                while batch := list(islice(alike, self._batch_size)):
                    all_painted = self._paint([frame.rgb for frame in batch])
                    for frame, painted in zip(batch, all_painted, strict=True):
                        if config.steady and before and before[0].shape == frame.rgb.shape:
                            painted = _steadied(frame.rgb, painted, *before, config.steady)
                        before = frame.rgb, painted
                        yield _finished(frame, painted, config)

    def _paint(self, images: Sequence[Rgb]) -> list[Rgb]:
        """Stylize images of one size, in as few passes as memory allows."""
        backend = self._free.get()  # one that no other thread uses
        try:
            budget = self._max_memory or int(_SHARE_OF_FREE_MEMORY * backend.free_memory())
            pixels = images[0].shape[0] * images[0].shape[1]
            need = plain_bytes(self.info.arch, self.info.width, pixels, backend.itemsize)
            fits = budget // need
            if not fits:
                return [backend.in_strips(rgb) for rgb in images]
            batches = [images[first : first + fits] for first in range(0, len(images), fits)]
            return [rgb for batch in batches for rgb in _in_one_pass(backend, batch)]
        finally:
            self._free.put(backend)


def _in_one_pass(backend: Backend, images: Sequence[Rgb]) -> list[Rgb]:
    try:
        return list(backend(np.stack(images)))
    except OutOfMemoryError:  # the estimate was too low, or another program came
        if len(images) == 1:
            return [backend.in_strips(images[0])]
    half = len(images) // 2
    return _in_one_pass(backend, images[:half]) + _in_one_pass(backend, images[half:])


class _StoppedError(Exception):
    """A video was stopped before its end."""


def _kind(item: _Item) -> object:
    """Items of one kind can share a batch: images of one size; a clip with nothing else."""
    return item.photo.rgb.shape if item.photo is not None else item.clip or item.error


def _read(job: Job, config: StylizeConfig) -> _Item:
    try:
        if clip := open_clip(job.source, job.target):
            return _Item(job, clip=clip)
        photo = read_picture(job.source)
        return _Item(job, shrunk(photo, config.max_size) if config.max_size else photo)
    except StyleCliError as failure:
        return _Item(job, error=failure.message)
    except MemoryError:
        return _Item(job, error=f"{job.source}: not enough memory to decode it")


def _write(item: _Item, config: StylizeConfig) -> _Item:
    try:
        if item.photo is not None and item.painted is not None:
            picture = _finished(item.photo, item.painted, config)
            item.photo = item.painted = None  # the encoder needs room too
            write_picture(item.job.target, picture, config.quality, item.job.ending)
    except StyleCliError as failure:
        item.error = failure.message
    except MemoryError:
        item.error = f"{item.job.target}: not enough memory to encode it"
    item.photo = item.painted = None
    return item


def _finished(photo: Picture, painted: Rgb, config: StylizeConfig) -> Picture:
    """A stylized photo as it is wanted."""
    rgb = mixed(photo.rgb, painted, config.strength, preserve_color=config.preserve_color)
    return replace(photo, rgb=rgb, exif=b"" if config.strip_metadata else photo.exif)


def _decoded_ahead(frames: Iterator[Picture], config: StylizeConfig) -> Generator[Picture]:
    """Frames at their wanted size, decoded in a thread of its own."""

    def decode() -> Picture | None:
        frame = next(frames, None)
        return shrunk(frame, config.max_size) if frame and config.max_size else frame

    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(decode) for _ in range(_AHEAD))
        try:
            while (frame := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(decode))
                yield frame
        finally:
            for future in waiting:
                future.cancel()


def _steadied(photo: Rgb, painted: Rgb, photo_before: Rgb, painted_before: Rgb, most: float) -> Rgb:
    """A frame that keeps something of the last one, the more the less a pixel has changed.

    A network sees each frame alone: noise that nobody notices in the photo moves its strokes.
    """
    moved = np.abs(photo.astype(np.int16) - photo_before).max(axis=2, keepdims=True)
    kept = most * np.exp(-((moved / _NOISE) ** 2), dtype=np.float32)  # (H, W, 1)
    mixture = painted + kept * (painted_before.astype(np.float32) - painted)
    return mixture.round().astype(np.uint8)  # type: ignore[no-any-return]
