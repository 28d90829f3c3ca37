"""The API: a trained model that stylizes images, files and folders."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, overload

import numpy as np
from PIL import Image

from stylecli.config import StylizeConfig
from stylecli.core.backend import Backend, OutOfMemoryError, free_cpu_memory
from stylecli.core.backends import open_backends
from stylecli.core.geometry import plain_bytes
from stylecli.core.model_files import ModelInfo, find_style
from stylecli.engine.pipeline import Course, Pipeline, Result
from stylecli.engine.strokes import with_strokes
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.atomic import remove_leftovers
from stylecli.files.colors import Rgb
from stylecli.files.jobs import Job, plan
from stylecli.files.pictures import as_image, as_picture
from stylecli.files.shards import WHOLE, Shard
from stylecli.files.urls import place

_BATCH = {"cpu": 1, "mps": 1, "cuda": 8}  # more photos at once are no faster on a CPU
_SHARE_OF_FREE_MEMORY = 0.75
_SHARE_OF_IMAGES = 1 / 3  # of the memory that may be taken; the rest is for the network's pass
_MOST_FOR_STRIPS = 2**30  # bytes: larger strips are no faster
_LARGE = 3_000_000  # pixels: fast enough alone, and each at once would keep memory of its own


def full_name(model: Path | str, style: str | None = None) -> str:
    """A model and, if it holds several, the style or blend that is chosen of it.

    Raises:
        StyleCliError: as for :func:`stylecli.core.model_files.find_style`.
    """
    _, info, mix = find_style(str(model), style)
    return _full_name(model, style, info, mix)


def _full_name(model: Path | str, style: str | None, info: ModelInfo, mix: list[float]) -> str:
    chosen = style or (str(model) if len(mix) > 1 else None)
    return f"{info.name}, {chosen}" if chosen else info.name


class Stylizer:
    """A trained model, ready to use.

    Args:
        model: name, file or URL, or the name of a style in one.
        style: which style of the model, or a blend; see :func:`~.core.model_files.load_model`.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.
        backend: ``auto``, ``openvino`` or ``torch``; see :func:`~.core.backends.open_backends`.
        batch_size: images of one size at once; None is what suits the device.
        max_memory: bytes, of which a third is for images that are decoded or wait to be written
            (one is let in however large it is), and the rest for a pass of the network: an
            image that needs more goes in strips. None is three quarters of what is free.
        seed: of the noise inside the network, 0 to 2^31 - 1: another one, other strokes.

    Attributes:
        info: what the model file says of itself.

    Raises:
        StyleCliError: no such model, device, precision or backend, or a seed out of range.
    """

    def __init__(
        self,
        model: Path | str,
        style: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        batch_size: int | None = None,
        max_memory: int | None = None,
        seed: int = 0,
    ) -> None:
        self._arguments = (model, style, device, precision, backend, batch_size, max_memory, seed)
        path, self.info, mix = find_style(str(model), style)
        self._name = _full_name(model, style, self.info, mix)
        backends = open_backends(
            path, mix, backend=backend, device=device, precision=precision, seed=seed
        )
        self._backends, self._free, self._alone = backends, _queue(backends), Lock()
        self._batch_size = batch_size or _BATCH[backends[0].device_type]
        self._max_memory = max_memory
        self._swept: set[Path] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its arguments: another process opens the model itself."""
        return type(self), self._arguments

    @property
    def description(self) -> str:
        """What, where and how it computes, such as ``gallery, udnie on cpu, torch, float32``."""
        copies = f"{len(self._backends)} x " if len(self._backends) > 1 else ""
        return f"{self._name} on {copies}{self._backends[0].description}"

    @overload
    def __call__(self, image: Rgb, stroke_size: float | None = None) -> Rgb: ...
    @overload
    def __call__(self, image: Image.Image, stroke_size: float | None = None) -> Image.Image: ...

    def __call__(
        self, image: Rgb | Image.Image, stroke_size: float | None = None
    ) -> Rgb | Image.Image:
        """Stylize one image to the same size.

        Args:
            image: (H, W, 3) in 0..255; or any of Pillow's, which is turned upright first, and
                becomes one in sRGB with the same transparency.
            stroke_size: see :class:`StylizeConfig`; None is auto.

        Raises:
            StyleCliError: a path, an array of another shape or type, or a bad stroke size.
        """
        StylizeConfig(stroke_size=stroke_size).check()
        paint = partial(self._paint_strokes, stroke_size)
        if isinstance(image, Image.Image):
            picture = as_picture(image)
            return as_image(replace(picture, rgb=paint([picture.rgb])[0]), "PNG")
        if not isinstance(image, np.ndarray):
            raise _no_image(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise StyleCliError(
                f"an array of {image.dtype}, {image.shape}, is no image",
                hint="pass uint8 of (height, width, 3), RGB",
            )
        return paint([image])[0]

    def run(
        self,
        inputs: Path | str | Sequence[Path | str],
        out: Path | str,
        config: StylizeConfig | None = None,
        *,
        overwrite: bool = False,
        shard: Shard = WHOLE,
    ) -> list[Result]:
        """Stylize files and folders, as the command does; what is there already is skipped.

        Args:
            inputs: images, videos and folders, here or as the URL of a store.
            out: a folder; or a file, for one.
            config: how to read, paint and write.
            overwrite: do again what is there.
            shard: which part of the files, if several processes share them.

        Raises:
            StyleCliError: as for :func:`stylecli.files.jobs.plan`, or a bad setting.
        """
        config = config or StylizeConfig()
        given = [inputs] if isinstance(inputs, (str, Path)) else inputs
        planned = plan(
            [place(path) for path in given],
            place(out),
            overwrite=overwrite,
            suffix=config.suffix,
            format=config.format,
            shard=shard,
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
            report: told of each file when it is written, in the order of the jobs, and of frames.
            should_stop: asked before each batch; what is in work is then still written, but for
                a video, which is left out. A file that fails is reported before another is
                painted, unless that one is painted or written at the same time.
            config: how to read, paint and write.

        Returns:
            One for each job that was begun: those after a stop are missing, and so are those after
            the first that found the disk full, or a store that takes nothing.

        Raises:
            StyleCliError: a bad setting.
            BrokenPipeError: standard output has no reader any more.
        """
        config = config or StylizeConfig()
        config.check()
        folders = {job.target.parent for job in jobs if isinstance(job.target, Path)} - self._swept
        for folder in folders:  # once each: it may be large, and the calls many
            remove_leftovers(folder)
        self._swept |= folders
        limit = self._max_memory or _SHARE_OF_FREE_MEMORY * free_cpu_memory()
        course = Course(
            config,
            report,
            should_stop,
            mark=self._name,
            networks=sum(one.at_once for one in self._backends),
            batch_size=self._batch_size,
            max_bytes=int(limit * _SHARE_OF_IMAGES),
        )
        paint = partial(self._paint_strokes, config.stroke_size)
        return Pipeline(paint, course, jobs).run()

    def _paint_strokes(
        self, stroke_size: float | None, images: Sequence[Rgb], scratch: Path | None = None
    ) -> list[Rgb]:
        """Stylize images of one size with strokes of a size; see :func:`with_strokes`."""
        return with_strokes(images, stroke_size, lambda some: self._paint(some, scratch))

    def _paint(self, images: Sequence[Rgb], scratch: Path | None = None) -> list[Rgb]:
        """Stylize images of one size, in as few passes as memory allows."""
        backend = self._free.get()  # one that has no other call, or may have one more
        try:
            pixels = images[0].shape[0] * images[0].shape[1]
            need = plain_bytes(self.info.arch, self.info.width, pixels, backend.itemsize)
            small = pixels < _LARGE and self._budget(backend) >= need * backend.at_once
            # Large images have all memory, and so one call at a time.
            with nullcontext() if small or backend.at_once == 1 else self._alone:
                budget = self._budget(backend)
                return _painted(backend, images, budget // need, scratch, budget)
        finally:
            self._free.put(backend)

    def _budget(self, backend: Backend) -> int:
        """Bytes that a call may take now."""
        limit = self._max_memory or _SHARE_OF_FREE_MEMORY * backend.free_memory()
        return int(limit * (1 - _SHARE_OF_IMAGES))


def _queue(backends: Sequence[Backend]) -> SimpleQueue[Backend]:
    """Each as often as it may be called at once."""
    free: SimpleQueue[Backend] = SimpleQueue()
    for one in backends:
        for _ in range(one.at_once):
            free.put(one)
    return free


def _painted(
    backend: Backend, images: Sequence[Rgb], fits: int, scratch: Path | None, budget: int
) -> list[Rgb]:
    if not fits:
        return [_in_strips(backend, rgb, scratch, budget) for rgb in images]
    batches = [images[first : first + fits] for first in range(0, len(images), fits)]
    return [rgb for batch in batches for rgb in _in_one_pass(backend, batch, scratch, budget)]


def _in_one_pass(
    backend: Backend, images: Sequence[Rgb], scratch: Path | None, budget: int
) -> list[Rgb]:
    with suppress(OutOfMemoryError):  # the estimate was too low, or another program came
        return list(backend(np.stack(images)))
    # Not while the error is handled: it holds what the pass had in memory.
    if len(images) == 1:
        return [_in_strips(backend, images[0], scratch, budget)]
    half = len(images) // 2
    parts = images[:half], images[half:]
    return [rgb for part in parts for rgb in _in_one_pass(backend, part, scratch, budget)]


def _in_strips(backend: Backend, rgb: Rgb, scratch: Path | None, budget: int) -> Rgb:
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    return backend.in_strips(rgb, scratch, min(budget, _MOST_FOR_STRIPS))


def _no_image(given: object) -> StyleCliError:
    if isinstance(given, str | os.PathLike):
        hint = f"pass an image, or files to run: stylizer.run({os.fspath(given)!r}, OUT)"
        return StyleCliError(f"{os.fspath(given)!r} is a path, not an image", hint=hint)
    return StyleCliError(
        f"a {type(given).__name__} is no image", hint="pass one of Pillow's, or an array of uint8"
    )
