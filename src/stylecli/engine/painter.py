"""A photo becomes a painting: in layers, from coarse to fine, each painted over the one before.

A network paints strokes of so many pixels. On a large photo they would be a fine grain, so the
network paints the photo scaled down: first small, then larger over its own painting. Coarse layers
decide the shapes, as a painter's underpainting does, and finer ones draw them. The last layer is
enlarged to the photo's size, guided by the photo (:meth:`~stylecli.core.backend.Backend.enlarge`).
"""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import numpy as np
from PIL import Image

from stylecli.config import StylizeConfig
from stylecli.core.architectures import plain_bytes
from stylecli.core.backend import Backend, OutOfMemoryError, free_cpu_memory
from stylecli.files.colors import Rgb
from stylecli.files.pictures import mix

Size = tuple[int, int]  # height and width, px

FINEST = 384  # px: the short side of the finest layer, at a stroke size of 1
_COARSEST = 24  # px: the least short side of a layer: a smaller one holds no shapes
_MULTIPLE = 4  # px: sides of layers, so that the network pads nothing, and photos share sizes
_LAYERS = 2
_SHARE = 0.6  # of the painting so far in the input of the next layer; the rest is the photo

_LEFT = 1.4  # averaging in squares leaves a photo at least so many times as large as its layer
_STRIP = 64  # rows of squares of a photo that are averaged at once

_BATCH = {"cpu": 1, "mps": 1, "cuda": 8}  # more photos at once are no faster on a CPU
_SHARE_OF_FREE_MEMORY = 0.75
_SHARE_OF_IMAGES = 1 / 3  # of the memory that may be taken; the rest is for the network's pass
_MOST_FOR_STRIPS = 2**30  # bytes: larger strips are no faster
_LARGE = 3_000_000  # pixels: fast enough alone, and each at once would keep memory of its own


def layer_sizes(
    height: int, width: int, layers: int | None = None, stroke_size: float | str = 1.0
) -> list[Size]:
    """The sizes at which a photo is painted, from coarse to fine; each has half the next one's.

    At a stroke size of 1 the finest layer has a short side of 384 px, or the photo's own size if
    that is smaller. Coarse layers with a short side below 24 px are left out.

    Args:
        height: of the photo, px.
        width: of the photo, px.
        layers: how many; None is 2, or 1 where ``stroke_size`` is ``network``.
        stroke_size: strokes are so many times as wide as at 1, down to those of the photo's own
            size; or ``network``, which has just those.
    """
    short = min(height, width)
    if isinstance(stroke_size, str):
        finest, layers = short, layers or 1
    else:
        finest = min(short, max(_COARSEST, round(min(short, FINEST) / stroke_size)))
    sizes = [(height, width) if finest == short else _scale(height, width, finest / short)]
    for coarser in range(1, layers or _LAYERS):
        side = finest / 2**coarser
        if side < _COARSEST:
            break
        sizes.insert(0, _scale(height, width, side / short))
    return sizes


def _scale(height: int, width: int, factor: float) -> Size:
    sides = [max(1, round(side * factor / _MULTIPLE)) * _MULTIPLE for side in (height, width)]
    return sides[0], sides[1]


class Painter:
    """A generator on its backends, which paints photos within a limit of memory.

    Args:
        backends: the generator, once for each device.
        arch: its architecture.
        width: channels of its first layer.
        batch_size: images of one size that it paints at once; None is what suits the device.
        max_memory: bytes, of which a third is for images on their way, and the rest for a pass of
            the network: a layer that needs more goes in strips. None is three quarters of what is
            free.

    Attributes:
        batch_size: images of one size that it paints at once.
        at_once: calls that may run at once, in threads of their own.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        arch: str,
        width: int,
        batch_size: int | None = None,
        max_memory: int | None = None,
    ) -> None:
        self._arch, self._width, self._max_memory = arch, width, max_memory
        self.batch_size = batch_size or _BATCH[backends[0].device_type]
        self.at_once = sum(backend.at_once for backend in backends)
        self._backends, self._free, self._alone = backends, SimpleQueue[Backend](), Lock()
        for backend in backends:
            for _ in range(backend.at_once):
                self._free.put(backend)

    def __call__(
        self, photos: Sequence[Rgb], config: StylizeConfig, scratch: Path | None = None
    ) -> list[Rgb]:
        """Paint photos of one size.

        Args:
            photos: (H, W, 3) each, in 0..255.
            config: layers, size of strokes, strength and colors.
            scratch: folder for temporary files, if there are any; None is the system's.

        Returns:
            (H, W, 3) each.

        Raises:
            OutOfMemoryError: one photo alone does not fit, not even in strips.
            OSError: the temporary files have no room.
        """
        backend = self._free.get()  # one that has no other call, or may have one more
        try:
            paintings = self._paint_layers(backend, photos, config, scratch)
        finally:
            self._free.put(backend)
        return [
            mix(photo, painting, config.strength, preserve_color=config.preserve_color)
            for photo, painting in zip(photos, paintings, strict=True)
        ]

    def expect(self) -> None:
        """Begin to make the networks ready, while the first photos are decoded."""
        for backend in self._backends:
            backend.expect()

    def image_bytes(self) -> int:
        """Bytes that all images on their way may take now."""
        return int(self._limit(free_cpu_memory()) * _SHARE_OF_IMAGES)

    def _paint_layers(
        self,
        backend: Backend,
        photos: Sequence[Rgb],
        config: StylizeConfig,
        scratch: Path | None,
    ) -> list[Rgb]:
        height, width = photos[0].shape[:2]
        sizes = layer_sizes(height, width, config.layers, config.stroke_size)
        backend.expect()
        if sizes[-1] != (height, width):
            backend.expect(enlarging=True)
        small = [_resize(photo, sizes[-1], Image.Resampling.LANCZOS) for photo in photos]
        paintings: list[Rgb] = []
        for size in sizes:
            inputs = [_resize(photo, size, Image.Resampling.LANCZOS) for photo in small]
            if paintings:
                inputs = [_lay_over(*pair) for pair in zip(inputs, paintings, strict=True)]
            paintings = self._run_network(backend, inputs, scratch)
        if sizes[-1] == (height, width):
            return paintings
        return [backend.enlarge(*one) for one in zip(photos, small, paintings, strict=True)]

    def _run_network(
        self, backend: Backend, images: Sequence[Rgb], scratch: Path | None
    ) -> list[Rgb]:
        """Stylize images of one size, in as few passes as memory allows."""
        pixels = images[0].shape[0] * images[0].shape[1]
        need = plain_bytes(self._arch, self._width, pixels, backend.itemsize)
        budget = self._budget(backend)
        small = pixels < _LARGE and budget >= need * backend.at_once
        # Large images have all memory, and so one call at a time.
        with nullcontext() if small or backend.at_once == 1 else self._alone:
            budget = budget if small else self._budget(backend)
            fits = budget // need
            if not fits:
                return [_run_in_strips(backend, rgb, scratch, budget) for rgb in images]
            batches = [images[first : first + fits] for first in range(0, len(images), fits)]
            return [rgb for batch in batches for rgb in _run_pass(backend, batch, scratch, budget)]

    def _budget(self, backend: Backend) -> int:
        """Bytes that a pass of the network may take now."""
        return int(self._limit(backend.free_memory()) * (1 - _SHARE_OF_IMAGES))

    def _limit(self, free: int) -> float:
        return self._max_memory or _SHARE_OF_FREE_MEMORY * free


def _resize(image: Rgb, size: Size, resampling: Image.Resampling) -> Rgb:
    """An image at a height and width; what is much larger is averaged in squares first.

    Pillow's ``reducing_gap`` does the same, but copies the whole image; here it is done in strips.
    """
    if image.shape[:2] == size:
        return image
    height, width = image.shape[:2]
    down, across = (
        max(1, int(side / new / _LEFT)) for side, new in zip((height, width), size, strict=True)
    )
    if down * across > 1:
        tops = range(0, height, _STRIP * down)
        strips = (Image.fromarray(image[top : top + _STRIP * down]) for top in tops)
        image = np.concatenate([np.asarray(strip.reduce((across, down))) for strip in strips])
    box = 0, 0, width / across, height / down
    return np.asarray(Image.fromarray(image).resize(size[::-1], resampling, box))


def _lay_over(photo: Rgb, painting: Rgb) -> Rgb:
    """The input of a layer: the photo at its size, under the painting of the layer before."""
    height, width = photo.shape[:2]
    larger = _resize(painting, (height, width), Image.Resampling.BICUBIC)
    return np.asarray(Image.blend(Image.fromarray(photo), Image.fromarray(larger), _SHARE))


def _run_pass(
    backend: Backend, images: Sequence[Rgb], scratch: Path | None, budget: int
) -> list[Rgb]:
    with suppress(OutOfMemoryError):  # the estimate was too low, or another program came
        return list(backend(np.stack(images)))
    # Not while the error is handled: it holds what the pass had in memory.
    if len(images) == 1:
        return [_run_in_strips(backend, images[0], scratch, budget)]
    half = len(images) // 2
    parts = images[:half], images[half:]
    return [rgb for part in parts for rgb in _run_pass(backend, part, scratch, budget)]


def _run_in_strips(backend: Backend, rgb: Rgb, scratch: Path | None, budget: int) -> Rgb:
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    return backend.in_strips(rgb, scratch, min(budget, _MOST_FOR_STRIPS))
