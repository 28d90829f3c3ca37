"""Images larger than memory, exactly: a generator evaluated a strip of rows at a time.

A norm that sees one strip would give each strip a contrast of its own, and seams. So every norm
gets the mean and variance of the whole image, gathered in a sweep over the strips, layer by layer.
Maps between layers lie in temporary files where they have room, and are computed again where not.
No tile, no seam, no approximation: the result is that of one pass over the whole image.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.convolutions import upsample
from stylecli.core.generators import Generator, Noise, activated
from stylecli.core.geometry import inner_size, pads_by_reflection
from stylecli.core.norms import InstanceNorm
from stylecli.core.tensors import to_tensor, to_uint8
from stylecli.files.images import Rgb

_MEMORY = 2**30  # that strips may take, if nobody says
_TIMES_A_PASS = 2  # what a pixel takes in a strip, in float32, of what it takes in a plain pass
_LEAST_ROWS = 16
_SCRATCH_BYTES = 8 * 2**30  # a map that is larger is computed again instead of stored


class StripRunner:
    """Runs one generator over images in strips.

    Args:
        generator: of one style; it is moved to the device and used in eval mode.
        device: where to compute.
        dtype: of convolutions and of stored maps.
        rows: of a strip at full size; None is as many as ``memory`` has room for.
        scratch: folder for temporary files; None is the system's.
        scratch_bytes: maps larger than this are not stored.
        memory: bytes that strips may take at their peak; a few rows are taken in any case.
    """

    def __init__(
        self,
        generator: Generator,
        device: torch.device,
        dtype: torch.dtype,
        *,
        rows: int | None = None,
        scratch: Path | None = None,
        scratch_bytes: int = _SCRATCH_BYTES,
        memory: int = _MEMORY,
    ) -> None:
        self.generator = generator.to(device).eval()
        self.device, self.dtype, self.rows = device, dtype, rows
        self.scratch, self.scratch_bytes, self.memory = scratch, scratch_bytes, memory

    def __call__(self, rgb: Rgb) -> Rgb:
        """Stylize one image, (H, W, 3) in 0..255, to the same size.

        Raises:
            OSError: the temporary files have no room.
        """
        out = np.empty_like(rgb)
        for top, strip in self.strips(rgb):
            out[top : top + strip.shape[2]] = to_uint8(strip)[0]
        return out

    @torch.inference_mode()
    def strips(self, rgb: Rgb) -> Iterator[tuple[int, Tensor]]:
        """The same as floats, strip by strip: its first row, and (1, 3, rows, W) RGB.

        Raises:
            OSError: the temporary files have no room.
        """
        height, width = rgb.shape[:2]
        per_pixel = _TIMES_A_PASS * self.generator.architecture.peak * self.generator.width * 4
        step = self.rows or max(_LEAST_ROWS, self.memory // (width * per_pixel))
        source = _Source(self.generator, rgb, self.device)
        layers = _StripLayers(self, source.height, step)
        last = self.generator.architecture.build(layers, source, self.generator.spec)
        for top in range(0, height, step):
            z = last.rows(top, min(height, top + step))[..., :width]
            yield top, self.generator.to_rgb_range(z)


class _Node:
    """A map (1, C, H, W) that is never whole in memory."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        self.channels, self.height, self.width = channels, height, width

    def rows(self, top: int, bottom: int) -> Tensor:
        """Rows top to bottom: (1, C, bottom - top, W)."""
        raise NotImplementedError

    def sweep(self, step: int) -> Iterator[Tensor]:
        """All rows, a strip at a time."""
        for top in range(0, self.height, step):
            yield self.rows(top, min(self.height, top + step))


class _Source(_Node):
    """The image as the network sees it: padded at the bottom and right, centered."""

    def __init__(self, generator: Generator, rgb: Rgb, device: torch.device) -> None:
        height, width = rgb.shape[:2]
        inner = inner_size(generator.spec.arch, height, width)
        super().__init__(3, *inner)
        self.generator, self.rgb, self.device = generator, rgb, device
        self.down, self.across = (
            _beyond(side, padded, pads_by_reflection(generator.spec.arch, height, width))
            for side, padded in zip((height, width), inner, strict=True)
        )

    def rows(self, top: int, bottom: int) -> Tensor:
        strip = self.rgb[self.down[top:bottom]][:, self.across]
        return self.generator.to_input(to_tensor(strip[None], self.device))


def _beyond(side: int, padded: int, reflect: bool) -> npt.NDArray[np.int64]:
    """Where each row of a padded image comes from."""
    at = np.arange(padded)
    mirrored = 2 * (side - 1) - at if reflect else np.full(padded, side - 1)
    return np.where(at < side, at, mirrored)


class _Conv(_Node):
    def __init__(self, below: _Node, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        stride, kernel = conv.stride[0], conv.kernel_size[0]
        super().__init__(conv.out_channels, below.height // stride, below.width // stride)
        self.below, self.stride, self.kernel = below, stride, kernel
        self.weight = conv.weight.to(dtype)
        self.bias = None if conv.bias is None else conv.bias.to(dtype)

    def rows(self, top: int, bottom: int) -> Tensor:
        pad = self.kernel // 2
        first, last = top * self.stride - pad, (bottom - 1) * self.stride - pad + self.kernel
        x = _reflected_rows(self.below, first, last).to(self.weight.dtype)
        x = F.pad(x, (pad, pad, 0, 0), mode="reflect") if pad else x
        return F.conv2d(x, self.weight, self.bias, self.stride)


def _reflected_rows(node: _Node, first: int, last: int) -> Tensor:
    """Rows first to last, those beyond the edges mirrored."""
    if first >= 0 and last <= node.height:
        return node.rows(first, last)
    wanted = torch.arange(first, last).abs()
    end = node.height - 1
    wanted = end - (end - wanted).abs()
    low, high = int(wanted.min()), int(wanted.max()) + 1
    x = node.rows(low, high)
    return x[:, :, (wanted - low).to(x.device)]


class _Scaled(_Node):
    """Normalized, scaled, shifted, by what is known for each channel."""

    def __init__(self, below: _Node, factor: Tensor, shift: Tensor) -> None:
        super().__init__(below.channels, below.height, below.width)
        self.below = below
        self.factor, self.shift = factor.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)

    def rows(self, top: int, bottom: int) -> Tensor:
        x = self.below.rows(top, bottom)
        return (x.float() * self.factor + self.shift).to(x.dtype)


class _Mapped(_Node):
    """Each row changed by itself: ``change(rows, top)``; what it gets is new and may be reused."""

    def __init__(self, below: _Node, change: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__(below.channels, below.height, below.width)
        self.below, self.change = below, change

    def rows(self, top: int, bottom: int) -> Tensor:
        return self.change(self.below.rows(top, bottom), top)


class _Upsampled(_Node):
    def __init__(self, below: _Node, mode: str = "nearest") -> None:
        super().__init__(below.channels, 2 * below.height, 2 * below.width)
        self.below, self.mode = below, mode

    def rows(self, top: int, bottom: int) -> Tensor:
        beside = int(self.mode == "bilinear")  # a row on each side, where there is one
        low = max(0, top // 2 - beside)
        x = self.below.rows(low, min(self.below.height, -(-bottom // 2) + beside))
        doubled = upsample(x, self.mode)
        return doubled[:, :, top - 2 * low : bottom - 2 * low]


class _Pooled(_Node):
    def __init__(self, below: _Node, scale: int) -> None:
        super().__init__(below.channels, below.height // scale, below.width // scale)
        self.below, self.scale = below, scale

    def rows(self, top: int, bottom: int) -> Tensor:
        return F.avg_pool2d(self.below.rows(top * self.scale, bottom * self.scale), self.scale)


class _Sum(_Node):
    def __init__(self, one: _Node, other: _Node) -> None:
        super().__init__(one.channels, one.height, one.width)
        self.one, self.other = one, other

    def rows(self, top: int, bottom: int) -> Tensor:
        return self.one.rows(top, bottom) + self.other.rows(top, bottom)


class _Joined(_Node):
    def __init__(self, one: _Node, other: _Node) -> None:
        super().__init__(one.channels + other.channels, one.height, one.width)
        self.one, self.other = one, other

    def rows(self, top: int, bottom: int) -> Tensor:
        parts = [self.one.rows(top, bottom), self.other.rows(top, bottom)]
        dtype = min((part.dtype for part in parts), key=lambda d: d.itemsize)
        return torch.cat([part.to(dtype) for part in parts], dim=1)


class _Stored(_Node):
    """A map in a temporary file, written in one sweep over what it comes from.

    Read and written, not mapped: mapped pages would count as the program's memory.
    """

    def __init__(
        self, below: _Node, folder: Path | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(below.channels, below.height, below.width)
        self.below: _Node | None = below
        self.dtype, self.device = dtype, device
        # Buffered: a raw file may write less than it is given, and says so only in a number.
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.row_bytes = self.channels * self.width * dtype.itemsize

    def sweep(self, step: int) -> Iterator[Tensor]:
        if self.below is None:
            yield from super().sweep(step)
            return
        for strip in self.below.sweep(step):
            lines = strip.to(self.dtype)[0].transpose(0, 1).contiguous().cpu()  # (rows, C, W)
            self.file.write(lines.view(torch.uint8).numpy().data)
            yield strip
        self.below = None  # and what it holds in memory or in files

    def rows(self, top: int, bottom: int) -> Tensor:
        self.file.seek(top * self.row_bytes)
        data = bytearray(self.file.read((bottom - top) * self.row_bytes))
        lines = torch.frombuffer(data, dtype=self.dtype).to(self.device)
        return lines.view(bottom - top, self.channels, self.width).transpose(0, 1)[None]


class _StripLayers:
    """Layers as nodes; each norm sweeps once over all that it normalizes."""

    def __init__(self, runner: StripRunner, full_height: int, step: int) -> None:
        self.runner, self.full_height, self.step = runner, full_height, step
        self.layer, self.spec = runner.generator.get_submodule, runner.generator.spec

    def conv(self, x: _Node, name: str, channels: int, kernel: int, stride: int = 1) -> _Node:
        conv = self.layer(name)
        assert isinstance(conv, nn.Conv2d)
        return _Conv(x, conv, self.runner.dtype)

    def to_rgb(self, x: _Node, name: str, kernel: int) -> _Node:
        return self.conv(x, name, 3, kernel)

    def norm(self, x: _Node, name: str) -> _Node:
        norm = self.layer(name)
        if isinstance(norm, InstanceNorm):
            x = self._stored(x)
            mean, var = _statistics(self._sweep(x))
        elif isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            mean, var = norm.running_mean, norm.running_var
        else:
            return x
        factor = norm.weight / (var + norm.eps).sqrt()
        return _Scaled(x, factor, norm.bias - mean * factor)

    def noise(self, x: _Node, name: str, layer: int) -> _Node:
        noise = self.layer(name) if self.spec.noise != "none" else None
        return _Mapped(x, noise.add_to_rows) if isinstance(noise, Noise) else x

    def activation(self, x: _Node) -> _Node:
        return _Mapped(x, lambda rows, top: activated(rows, self.spec))

    def upsample(self, x: _Node, mode: str) -> _Node:
        return _Upsampled(x, mode)

    def pool(self, x: _Node, scale: int) -> _Node:
        return _Pooled(x, scale)

    def add(self, x: _Node, y: _Node) -> _Node:
        whole = _Sum(x, y)
        stored = self._stored(whole)
        if stored is not whole:
            for _ in self._sweep(stored):
                pass
        return stored

    def concatenate(self, x: _Node, y: _Node) -> _Node:
        return _Joined(x, y)

    def _stored(self, node: _Node) -> _Node:
        itemsize = self.runner.dtype.itemsize
        if node.channels * node.height * node.width * itemsize > self.runner.scratch_bytes:
            return node
        return _Stored(node, self.runner.scratch, self.runner.dtype, self.runner.device)

    def _sweep(self, node: _Node) -> Iterator[Tensor]:
        """Strips of one height of the photo, whatever the map's scale."""
        return node.sweep(max(1, self.step * node.height // self.full_height))


def _statistics(strips: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over all strips, joined as Chan et al. 1979 do."""
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for strip in strips:
        values = strip[0].flatten(1).double()  # (C, n)
        n, m = values.shape[1], values.mean(1)
        s = (values - m[:, None]).square().sum(1)
        delta = m - mean if count else m
        squares = squares + s + delta.square() * (count * n / (count + n)) if count else s
        mean = mean + delta * (n / (count + n)) if count else m
        count += n
    return mean.float(), (squares / count).float()
