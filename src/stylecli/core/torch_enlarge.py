"""The enlargement of paintings with torch, on any device, in float32."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from stylecli.core.enlarging import (
    BLOCK,
    BLOCKS,
    CELL,
    TILE,
    Bytes,
    Enlarger,
    Floats,
    compose,
    make_patches,
    prepare,
)
from stylecli.files.colors import Rgb


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
        photo, maps, down, across, *spots = (self._ops.constant(x) for x in inputs)
        bristles = [*spots, self._patches] if spots else []
        tile = compose(self._ops, photo, maps, down, across, *bristles)
        done: Bytes = tile.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return done


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
        return self._filtered(x, kernels, (1, 1))

    def _filtered(self, x: Tensor, kernels: Floats, strides: tuple[int, int]) -> Tensor:
        rows, columns = kernels.shape[1:]
        weights = self.constant(kernels)[:, None].expand(x.shape[1], 1, rows, columns)
        margins = (rows - 1) // 2, (columns - 1) // 2
        return F.conv2d(x, weights, stride=strides, padding=margins, groups=x.shape[1])

    def halve(self, x: Tensor, down: Floats, across: Floats) -> Tensor:
        half = self._filtered(x, down[None, :, None], (2, 1))
        return self._filtered(half, across[None, None], (1, 2))

    def double(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2)

    def blend(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    def largest(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 1, 1)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    def smaller(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.minimum(x, y)

    def root(self, x: Tensor) -> Tensor:
        return x.sqrt()

    def split(self, x: Tensor, sizes: list[int]) -> list[Tensor]:
        return list(torch.split(x, sizes))

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    def join(self, blocks: Tensor) -> Tensor:
        apart = blocks.view(*BLOCKS, 7, -1, BLOCK)
        return apart.permute(2, 0, 3, 1, 4).reshape(7, BLOCKS[0], -1, TILE[1])

    def spread(self, cells: Tensor) -> Tensor:
        rows, columns = (side // CELL for side in TILE)
        square = cells.view(rows, columns, CELL, CELL)
        return square.transpose(1, 2).reshape(1, BLOCKS[0], BLOCK, TILE[1])
