"""Images larger than memory, exactly: a generator is evaluated a strip of rows at a time.

A norm that saw one strip would give each strip a contrast of its own, and there would be seams. So
every norm gets the mean and variance of the whole image, which are gathered in a sweep over the
strips, layer by layer. Maps between layers are kept in temporary files if they are not too large,
and otherwise computed again. The result is exactly that of one pass over the whole image.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.architectures import inner_size, pads_by_reflection
from stylecli.core.devices import to_tensor, to_uint8
from stylecli.core.generators import Generator
from stylecli.core.torch_layers import InstanceNorm, Noise, UpsampleConv2d, upsample
from stylecli.files.colors import Rgb

_MEMORY = 2**30  # bytes
_STRIP_TO_PASS = 2  # memory for a pixel in a strip, in float32, relative to one in a plain pass
_MIN_ROWS = 16
_SCRATCH_BYTES = 8 * 2**30


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


class StripRunner:
    """Runs one generator over images in strips.

    Args:
        generator: of one style; it is moved to the device and used in eval mode.
        device: where to compute.
        dtype: the number format of convolutions and of stored maps.
        rows: the height of a strip at full size; None is what ``memory`` has room for.
        scratch: folder for temporary files; None is the system's.
        scratch_bytes: larger maps are not stored, but computed again.
        memory: bytes that strips may take at their peak; a strip has 16 rows in any case.
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
        """Stylize an image strip by strip, to floats: the first row, and (1, 3, rows, W) RGB.

        Raises:
            OSError: the temporary files have no room.
        """
        height, width = rgb.shape[:2]
        per_pixel = _STRIP_TO_PASS * self.generator.architecture.peak * self.generator.width * 4
        step = self.rows or max(_MIN_ROWS, self.memory // (width * per_pixel))
        source = Source(self.generator, rgb, self.device)
        layers = _StripLayers(self, source.height, step)
        last = self.generator.architecture.build(layers, source, self.generator.spec)
        for top in range(0, height, step):
            z = last.rows(top, min(height, top + step))[..., :width]
            yield top, self.generator.to_rgb_range(z)


class _StripLayers:
    """All layers, run on lazy maps; each norm sweeps once over the map that it normalizes."""

    def __init__(self, runner: StripRunner, full_height: int, step: int) -> None:
        self.runner, self.full_height, self.step = runner, full_height, step
        self.layer, self.spec = runner.generator.get_submodule, runner.generator.spec

    def conv(self, x: LazyMap, name: str, channels: int, kernel: int, stride: int = 1) -> LazyMap:
        conv = self.layer(name)
        assert isinstance(conv, nn.Conv2d)
        return Convolved(x, conv, self.runner.dtype)

    def to_rgb(self, x: LazyMap, name: str, kernel: int) -> LazyMap:
        return self.conv(x, name, 3, kernel)

    def norm(self, x: LazyMap, name: str) -> LazyMap:
        norm = self.layer(name)
        if isinstance(norm, InstanceNorm):
            x = self._stored(x)
            mean, var = channel_statistics(self._sweep(x))
        elif isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            mean, var = norm.running_mean, norm.running_var
        else:
            return x
        factor = norm.weight / (var + norm.eps).sqrt()
        return Scaled(x, factor, norm.bias - mean * factor)

    def noise(self, x: LazyMap, name: str, layer: int) -> LazyMap:
        noise = self.layer(name) if self.spec.noise != "none" else None
        return Mapped(x, noise.add_to_rows) if isinstance(noise, Noise) else x

    def activation(self, x: LazyMap) -> LazyMap:
        return Mapped(x, lambda rows, top: F.relu_(rows))

    def upsample(self, x: LazyMap) -> LazyMap:
        return Upsampled(x)

    def upsample_conv(self, x: LazyMap, name: str, channels: int, mode: str) -> LazyMap:
        conv = self.layer(name)
        assert isinstance(conv, UpsampleConv2d)
        return UpsampleConvolved(x, conv, self.runner.dtype)

    def pool(self, x: LazyMap, scale: int) -> LazyMap:
        return Pooled(x, scale)

    def add(self, x: LazyMap, y: LazyMap) -> LazyMap:
        whole = Sum(x, y)
        stored = self._stored(whole)
        if stored is not whole:
            for _ in self._sweep(stored):
                pass
        return stored

    def concatenate(self, x: LazyMap, y: LazyMap) -> LazyMap:
        return Joined(x, y)

    def _stored(self, node: LazyMap) -> LazyMap:
        itemsize = self.runner.dtype.itemsize
        if node.channels * node.height * node.width * itemsize > self.runner.scratch_bytes:
            return node
        return Stored(node, self.runner.scratch, self.runner.dtype, self.runner.device)

    def _sweep(self, node: LazyMap) -> Iterator[Tensor]:
        """All rows in strips, which are as high, in the photo, whatever the map's scale is."""
        return node.sweep(max(1, self.step * node.height // self.full_height))


def channel_statistics(strips: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
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
