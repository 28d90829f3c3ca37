"""The maps inside a generator that is evaluated in strips of rows.

Each map is made of maps below it, and computes some of its rows from some of theirs.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.convolutions import UpsampleConv2d, upsample
from stylecli.core.generators import Generator
from stylecli.core.geometry import inner_size, pads_by_reflection
from stylecli.core.tensors import to_tensor
from stylecli.files.colors import Rgb


class LazyMap:
    """A map (1, C, H, W) of which only the rows that are asked for are in memory."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        self.channels, self.height, self.width = channels, height, width

    def rows(self, top: int, bottom: int) -> Tensor:
        """Rows top to bottom: (1, C, bottom - top, W)."""
        return self._computed(top, bottom)

    def _computed(self, top: int, bottom: int) -> Tensor:
        raise NotImplementedError

    def sweep(self, step: int) -> Iterator[Tensor]:
        """All rows, a strip at a time."""
        for top in range(0, self.height, step):
            yield self.rows(top, min(self.height, top + step))


class Source(LazyMap):
    """The input of the network: an image, padded at the bottom and right, centered on gray."""

    def __init__(self, generator: Generator, rgb: Rgb, device: torch.device) -> None:
        height, width = rgb.shape[:2]
        inner = inner_size(generator.spec.arch, height, width)
        super().__init__(3, *inner)
        self.generator, self.rgb, self.device = generator, rgb, device
        self.down, self.across = (
            _beyond(side, padded, pads_by_reflection(generator.spec.arch, height, width))
            for side, padded in zip((height, width), inner, strict=True)
        )

    def _computed(self, top: int, bottom: int) -> Tensor:
        strip = self.rgb[self.down[top:bottom]][:, self.across]
        return self.generator.to_input(to_tensor(strip[None], self.device))


def _beyond(side: int, padded: int, reflect: bool) -> npt.NDArray[np.int64]:
    """For each row of a padded image, the row of the image that it repeats."""
    at = np.arange(padded)
    mirrored = 2 * (side - 1) - at if reflect else np.full(padded, side - 1)
    return np.where(at < side, at, mirrored)


class Convolved(LazyMap):
    """A convolution, beyond whose edges the map below is mirrored."""

    def __init__(self, below: LazyMap, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        stride, kernel = conv.stride[0], conv.kernel_size[0]
        super().__init__(conv.out_channels, below.height // stride, below.width // stride)
        self.below, self.stride, self.kernel = below, stride, kernel
        self.weight = conv.weight.to(dtype)
        self.bias = None if conv.bias is None else conv.bias.to(dtype)

    def _computed(self, top: int, bottom: int) -> Tensor:
        pad = self.kernel // 2
        first, last = top * self.stride - pad, (bottom - 1) * self.stride - pad + self.kernel
        x = _reflected_rows(self.below, first, last).to(self.weight.dtype)
        x = F.pad(x, (pad, pad, 0, 0), mode="reflect") if pad else x
        return F.conv2d(x, self.weight, self.bias, self.stride)


def _reflected_rows(node: LazyMap, first: int, last: int) -> Tensor:
    """The rows from first to last, those beyond the edges mirrored."""
    if first >= 0 and last <= node.height:
        return node.rows(first, last)
    wanted = torch.arange(first, last).abs()
    end = node.height - 1
    wanted = end - (end - wanted).abs()
    low, high = int(wanted.min()), int(wanted.max()) + 1
    x = node.rows(low, high)
    return x[:, :, (wanted - low).to(x.device)]


class Scaled(LazyMap):
    """Each channel times a factor of its own, plus a shift."""

    def __init__(self, below: LazyMap, factor: Tensor, shift: Tensor) -> None:
        super().__init__(below.channels, below.height, below.width)
        self.below = below
        self.factor, self.shift = factor.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)

    def _computed(self, top: int, bottom: int) -> Tensor:
        x = self.below.rows(top, bottom)
        return (x.float() * self.factor + self.shift).to(x.dtype)


class Mapped(LazyMap):
    """Some rows, of which ``top`` is the first, become ``change(rows, top)``, perhaps in place."""

    def __init__(self, below: LazyMap, change: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__(below.channels, below.height, below.width)
        self.below, self.change = below, change

    def _computed(self, top: int, bottom: int) -> Tensor:
        return self.change(self.below.rows(top, bottom), top)


class Upsampled(LazyMap):
    """Twice the size: each pixel becomes four."""

    def __init__(self, below: LazyMap) -> None:
        super().__init__(below.channels, 2 * below.height, 2 * below.width)
        self.below = below

    def _computed(self, top: int, bottom: int) -> Tensor:
        low = top // 2
        doubled = upsample(self.below.rows(low, -(-bottom // 2)))
        return doubled[:, :, top - 2 * low : bottom - 2 * low]


class UpsampleConvolved(LazyMap):
    """Twice the size and a convolution, beyond whose edges the map below is continued."""

    def __init__(self, below: LazyMap, conv: UpsampleConv2d, dtype: torch.dtype) -> None:
        super().__init__(conv.out_channels, 2 * below.height, 2 * below.width)
        self.below, self.conv, self.dtype = below, conv, dtype

    def _computed(self, top: int, bottom: int) -> Tensor:
        low, high = top // 2 - 1, -(-bottom // 2) + 1
        inside = self.below.rows(max(0, low), min(self.below.height, high)).to(self.dtype)
        margins = (1, 1, max(0, -low), max(0, high - self.below.height))
        doubled = self.conv.of_padded(F.pad(inside, margins, mode="replicate"))
        return doubled[:, :, top - 2 * (low + 1) : bottom - 2 * (low + 1)]


class Pooled(LazyMap):
    """The mean of each square of ``scale`` px."""

    def __init__(self, below: LazyMap, scale: int) -> None:
        super().__init__(below.channels, below.height // scale, below.width // scale)
        self.below, self.scale = below, scale

    def _computed(self, top: int, bottom: int) -> Tensor:
        return F.avg_pool2d(self.below.rows(top * self.scale, bottom * self.scale), self.scale)


class Sum(LazyMap):
    """A sum of two maps."""

    def __init__(self, one: LazyMap, other: LazyMap) -> None:
        super().__init__(one.channels, one.height, one.width)
        self.one, self.other = one, other

    def _computed(self, top: int, bottom: int) -> Tensor:
        return self.one.rows(top, bottom) + self.other.rows(top, bottom)


class Joined(LazyMap):
    """The channels of two maps."""

    def __init__(self, one: LazyMap, other: LazyMap) -> None:
        super().__init__(one.channels + other.channels, one.height, one.width)
        self.one, self.other = one, other

    def _computed(self, top: int, bottom: int) -> Tensor:
        parts = [self.one.rows(top, bottom), self.other.rows(top, bottom)]
        dtype = min((part.dtype for part in parts), key=lambda d: d.itemsize)
        return torch.cat([part.to(dtype) for part in parts], dim=1)


class Stored(LazyMap):
    """A map in a temporary file, which is written in the first sweep.

    The file is not memory-mapped, as mapped pages would count as the program's memory.
    """

    def __init__(
        self, below: LazyMap, folder: Path | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(below.channels, below.height, below.width)
        self.below: LazyMap | None = below
        self.dtype, self.device = dtype, device
        # It has a buffer: a file without one may write only a part, and then raises no error.
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.row_bytes = self.channels * self.width * dtype.itemsize

    def sweep(self, step: int) -> Iterator[Tensor]:
        """All rows, a strip at a time; the first time, they are written to the file."""
        if self.below is None:
            yield from super().sweep(step)
            return
        for strip in self.below.sweep(step):
            lines = strip.to(self.dtype)[0].transpose(0, 1).contiguous().cpu()  # (rows, C, W)
            self.file.write(lines.view(torch.uint8).numpy().data)
            yield strip
        self.below = None  # this frees the memory and the files of the maps below

    def _computed(self, top: int, bottom: int) -> Tensor:
        self.file.seek(top * self.row_bytes)
        data = bytearray(self.file.read((bottom - top) * self.row_bytes))
        lines = torch.frombuffer(data, dtype=self.dtype).to(self.device)
        return lines.view(bottom - top, self.channels, self.width).transpose(0, 1)[None]
