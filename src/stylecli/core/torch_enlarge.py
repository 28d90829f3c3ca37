"""The enlargement of paintings with torch, on any device, in float32."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from stylecli.core.enlarging import CELL, TILE, Enlarger, Floats, compose, make_patches, prepare
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

    def _prepare(self, small: Rgb, painted: Rgb, strength: Floats) -> Sequence[Floats]:
        planes = [self._ops.constant(x).permute(2, 0, 1)[None] for x in (small, painted)]
        maps = prepare(self._ops, planes[0], planes[1], float(strength[0]))
        return [part.cpu().numpy() for part in maps]

    def _compose(self, *inputs: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        photo, maps, down, across, spots = (self._ops.constant(x) for x in inputs)
        tile = compose(self._ops, photo, maps, down, across, spots, self._patches)
        done: npt.NDArray[np.uint8] = tile.round().clamp(0, 255).to(torch.uint8).cpu().numpy()
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
        rows, columns = kernels.shape[1:]
        weights = self.constant(kernels)[:, None].expand(x.shape[1], 1, rows, columns)
        return F.conv2d(x, weights, padding=(rows // 2, columns // 2), groups=x.shape[1])

    def largest(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 1, 1)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    def between(self, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, low), high)

    def root(self, x: Tensor) -> Tensor:
        return x.sqrt()

    def split(self, x: Tensor, sizes: list[int]) -> list[Tensor]:
        return list(torch.split(x, sizes))

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    def spread(self, cells: Tensor) -> Tensor:
        rows, columns = (side // CELL for side in TILE)
        square = cells.view(rows, columns, CELL, CELL)
        return square.transpose(1, 2).reshape(1, *TILE)
