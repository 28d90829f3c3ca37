"""The backend that runs generators with torch, on CUDA, Apple's MPS or the CPU."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from stylecli.core.backend import Batch, OutOfMemoryError, free_cpu_memory, memory_errors
from stylecli.core.devices import resolve_precision, to_tensor, to_uint8
from stylecli.core.enlarging import (
    BLOCK,
    BLOCKS,
    CELL,
    HALO,
    TILE,
    Bytes,
    Enlarger,
    Floats,
    compose,
    finish,
    make_patches,
    prepare,
)
from stylecli.core.generators import Generator
from stylecli.core.model_files import load_generator
from stylecli.core.strips import rows_in, run_in_strips
from stylecli.files.colors import Rgb


class TorchBackend:
    """Runs a generator with torch; a :class:`stylecli.core.backend.Backend`.

    Args:
        generator: the network; it is moved to the device and put in eval mode.
        device: where to compute.
        dtype: the number format of the convolutions.
    """

    at_once = 1

    def __init__(self, generator: Generator, device: torch.device, dtype: torch.dtype) -> None:
        # CUDA's convolutions are fastest with channels last.
        layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        self.generator = generator.eval().to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self.device = device
        self.dtype = dtype
        self.device_type = device.type
        self.itemsize = dtype.itemsize
        self._enlarger = TorchEnlarger(device)
        self.description = f"{device}, torch, {str(dtype).removeprefix('torch.')}"

    @memory_errors()
    @torch.inference_mode()
    def __call__(self, photos: Batch) -> Batch:
        """Stylize photos of one size: (N, H, W, 3) to (N, H, W, 3), 0..255.

        Raises:
            OutOfMemoryError: they do not fit.
        """
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=mixed):
            return to_uint8(self.generator(to_tensor(photos, self.device)))

    @memory_errors()
    def in_strips(self, rgb: Rgb, scratch: Path | None, memory: int) -> Rgb:
        """Stylize one image (H, W, 3) of any size; on the CPU, if a strip does not fit on a GPU.

        Args:
            rgb: the image.
            scratch: folder for temporary files; None is the system's.
            memory: bytes that strips may take.

        Raises:
            OutOfMemoryError: a strip does not fit on the CPU either.
            OSError: the temporary files have no room.
        """
        rows = rows_in(memory, self.generator, rgb.shape[1])
        run = partial(run_in_strips, self.generator, rgb, rows=rows, scratch=scratch)
        on_cpu = self.device.type == "cpu"
        if not on_cpu:
            with suppress(OutOfMemoryError), memory_errors():
                return run(self.device, self.dtype)
        try:
            return run(torch.device("cpu"), self.dtype if on_cpu else torch.float32)
        finally:
            self.generator.to(self.device)

    def expect(self, *, enlarging: bool = False) -> None:
        """Nothing has to be made ready."""

    @memory_errors()
    def enlarge(self, photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
        """Enlarge a painting, (h, w, 3), to the size of its photo, (H, W, 3); in float32."""
        return self._enlarger(photo, small, painted)

    def free_memory(self) -> int:
        """Bytes that a pass may still take."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            # The next pass may also use memory that torch has reserved and does not use.
            reserved = torch.cuda.memory_reserved(self.device)
            return int(free + reserved - torch.cuda.memory_allocated(self.device))
        return free_cpu_memory()


def load_torch_backend(
    path: Path, mix: list[float], where: torch.device, precision: str, seed: int = 0
) -> TorchBackend:
    """A backend for the generator in a model file.

    Args:
        path: the model file.
        mix: shares of its styles.
        where: the device.
        precision: see :func:`stylecli.core.devices.resolve_precision`.
        seed: of the noise inside the network.

    Raises:
        StyleCliError: the file is damaged.
    """
    generator = load_generator(path, mix).use_seed(seed)
    return TorchBackend(generator, where, resolve_precision(precision, where))


class TorchEnlarger:
    """Enlarges paintings.

    Args:
        device: where to compute.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ops = _Operators(device)
        self._patches = self._ops.constant(make_patches())
        self._enlarger = Enlarger(self._prepare, self._compose)

    @torch.inference_mode()
    def __call__(self, photo: Rgb, small: Rgb, painted: Rgb) -> Rgb:
        """Enlarge a painting; see :class:`~.core.enlarging.Enlarger`."""
        with torch.autocast(self._device.type, enabled=False):
            return self._enlarger(photo, small, painted)

    def _prepare(self, pair: Bytes, strength: Floats) -> Sequence[Floats]:
        planes = self._ops.constant(pair).permute(0, 3, 1, 2)
        maps = prepare(self._ops, planes, float(strength[0]))
        return [part.cpu().numpy() for part in maps]

    def _compose(self, *inputs: npt.NDArray[Any]) -> Bytes:
        photo, maps, down, across, spots = map(self._ops.constant, inputs)
        tile = compose(self._ops, photo, maps, down, across, spots, self._patches)
        done: Bytes = tile.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return done


def finish_images(stylized: Tensor, photos: Tensor, strength: float) -> Tensor:
    """Pictures as their enlargement shows them, at their own size.

    Args:
        stylized: (N, 3, H, W) RGB around [0, 1]; H and W are even, unless strength is 0.
        photos: (N, 3, H, W) RGB in [0, 1].
        strength: 0 to 1; with 0, they are as they were.
    """
    if not strength:
        return stylized
    ops = _Operators(stylized.device)
    pairs = 255 * torch.cat([photos, stylized.float()], 1)  # (N, 6, H, W)
    # Beyond its edges, a picture goes on evenly.
    pairs = F.pad(pairs, (HALO,) * 4, mode="replicate")
    finished = torch.cat([finish(ops, pair[None], strength) for pair in pairs])
    return finished[:, :, HALO:-HALO, HALO:-HALO] / 255


class _Operators:
    """See :class:`stylecli.core.enlarging.Operators`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def constant(self, values: npt.NDArray[Any]) -> Tensor:
        """An array as float32, on the device."""
        return torch.from_numpy(np.array(values)).to(self._device).float()

    def mix(self, x: Tensor, weights: npt.NDArray[Any]) -> Tensor:
        return torch.einsum("kc,nchw->nkhw", self.constant(weights), x)

    def filter(self, x: Tensor, kernels: Floats) -> Tensor:
        return self._filter_with_strides(x, kernels, (1, 1))

    def _filter_with_strides(self, x: Tensor, kernels: Floats, strides: tuple[int, int]) -> Tensor:
        rows, columns = kernels.shape[1:]
        weights = self.constant(kernels)[:, None].expand(x.shape[1], 1, rows, columns)
        margins = (rows - 1) // 2, (columns - 1) // 2
        return F.conv2d(x, weights, stride=strides, padding=margins, groups=x.shape[1])

    def halve(self, x: Tensor, down: Floats, across: Floats) -> Tensor:
        half = self._filter_with_strides(x, down[None, :, None], (2, 1))
        return self._filter_with_strides(half, across[None, None], (1, 2))

    def double(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2)

    def blend(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    def largest(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 1, 1)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    smaller = staticmethod(torch.minimum)
    root = staticmethod(torch.sqrt)
    matmul = staticmethod(torch.matmul)
    stack = staticmethod(torch.cat)

    def split(self, x: Tensor, sizes: list[int]) -> list[Tensor]:
        return list(torch.split(x, sizes))

    def join(self, blocks: Tensor) -> Tensor:
        apart = blocks.view(*BLOCKS, 7, -1, BLOCK)
        return apart.permute(2, 0, 3, 1, 4).reshape(7, BLOCKS[0], -1, TILE[1])

    def spread(self, cells: Tensor) -> Tensor:
        rows, columns = (side // CELL for side in TILE)
        square = cells.view(rows, columns, CELL, CELL)
        return square.transpose(1, 2).reshape(1, BLOCKS[0], BLOCK, TILE[1])
