"""Images larger than memory, exactly: a generator is evaluated a strip of rows at a time.

A norm that saw one strip would give each strip a contrast of its own, and there would be seams. So
every norm gets the mean and variance of the whole image, which are gathered in a sweep over the
strips, layer by layer. Maps between layers are kept in temporary files if they are not too large,
and otherwise computed again. The result is exactly that of one pass over the whole image.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

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


@torch.inference_mode()
def run_in_strips(
    generator: Generator,
    rgb: Rgb,
    device: torch.device,
    dtype: torch.dtype,
    *,
    rows: int | None = None,
    scratch: Path | None = None,
    scratch_bytes: int = _SCRATCH_BYTES,
    memory: int = _MEMORY,
) -> Rgb:
    """Stylize one image, (H, W, 3) in 0..255, to the same size.

    Args:
        generator: of one style; it is moved to the device and put in eval mode.
        rgb: the image.
        device: where to compute.
        dtype: the number format of convolutions and of stored maps.
        rows: the height of a strip at full size; None is what ``memory`` has room for.
        scratch: folder for temporary files; None is the system's.
        scratch_bytes: larger maps are not stored, but computed again.
        memory: bytes that strips may take at their peak; a strip has 16 rows in any case.

    Raises:
        OSError: the temporary files have no room.
    """
    height, width = rgb.shape[:2]
    step = rows or rows_in(memory, generator, width)
    source = _source(generator.to(device).eval(), rgb, device)
    store = partial(_store, scratch=scratch, most=scratch_bytes, dtype=dtype, device=device)
    layers = _StripLayers(generator, dtype, store, step, source.height)
    last = generator.architecture.build(layers, source, generator.spec)
    out = np.empty_like(rgb)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        z = last.rows(top, bottom)[..., :width]
        out[top:bottom] = to_uint8(generator.to_rgb_range(z))[0]
    return out


def rows_in(memory: int, generator: Generator, width: int) -> int:
    """The rows of a strip of an image, ``width`` px wide, for which bytes of memory suffice."""
    per_pixel = _STRIP_TO_PASS * generator.architecture.peak * generator.width * 4
    return max(_MIN_ROWS, memory // (width * per_pixel))


@dataclass
class LazyMap:
    """A map (1, C, H, W) of which only the rows that are asked for are in memory.

    Attributes:
        channels: C.
        height: H.
        width: W.
        rows: gives the rows from top to bottom, (1, C, bottom - top, W).
    """

    channels: int
    height: int
    width: int
    rows: Callable[[int, int], Tensor]

    def sweep(self, step: int) -> Iterator[Tensor]:
        """All rows, a strip at a time."""
        for top in range(0, self.height, step):
            yield self.rows(top, min(self.height, top + step))

    def map(self, change: Callable[[Tensor, int], Tensor]) -> "LazyMap":
        """The map whose rows are ``change(rows, top)``, perhaps in place; top is the first."""

        def rows(top: int, bottom: int) -> Tensor:
            return change(self.rows(top, bottom), top)

        return LazyMap(self.channels, self.height, self.width, rows)


def _source(generator: Generator, rgb: Rgb, device: torch.device) -> LazyMap:
    """The input of the network: an image, padded at the bottom and right, centered on gray."""
    height, width = rgb.shape[:2]
    inner = inner_size(generator.spec.arch, height, width)
    reflect = pads_by_reflection(generator.spec.arch, height, width)
    down, across = _beyond(height, inner[0], reflect), _beyond(width, inner[1], reflect)

    def rows(top: int, bottom: int) -> Tensor:
        strip = rgb[down[top:bottom]][:, across]
        return generator.to_input(to_tensor(strip[None], device))

    return LazyMap(3, *inner, rows)


def _beyond(side: int, padded: int, reflect: bool) -> npt.NDArray[np.int64]:
    """For each row of a padded image, the row of the image that it repeats."""
    at = np.arange(padded)
    mirrored = 2 * (side - 1) - at if reflect else np.full(padded, side - 1)
    return np.where(at < side, at, mirrored)


def _store(
    x: LazyMap, scratch: Path | None, most: int, dtype: torch.dtype, device: torch.device
) -> LazyMap:
    """A map in a temporary file; or the map itself, if it has more bytes than it may have."""
    too_large = x.channels * x.height * x.width * dtype.itemsize > most
    return x if too_large else _Stored(x, scratch, dtype, device)


class _Stored(LazyMap):
    """A map in a temporary file, which is written in the first sweep.

    The file is not memory-mapped, as mapped pages would count as the program's memory.
    """

    def __init__(
        self, below: LazyMap, folder: Path | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        # It has a buffer: a file without one may write only a part, and then raises no error.
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        shape = below.channels, below.width
        # A method would hold the map itself, which then would not be freed when nothing needs it.
        read = partial(_read_rows, self.file, shape, dtype, device)
        super().__init__(below.channels, below.height, below.width, read)
        self.below: LazyMap | None = below
        self.dtype = dtype

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


def _read_rows(
    file: IO[bytes],
    shape: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
    top: int,
    bottom: int,
) -> Tensor:
    """Rows of a map of some channels and width that lies in a file: (1, C, bottom - top, W)."""
    row_bytes = shape[0] * shape[1] * dtype.itemsize
    file.seek(top * row_bytes)
    data = bytearray(file.read((bottom - top) * row_bytes))
    lines = torch.frombuffer(data, dtype=dtype).to(device)
    return lines.view(bottom - top, *shape).transpose(0, 1)[None]


@dataclass
class _StripLayers:
    """All layers, run on lazy maps; each norm sweeps once over the map that it normalizes.

    Attributes:
        generator: has the weights.
        dtype: the number format of convolutions.
        store: keeps a map in a file, unless it is too large.
        step: the rows of a strip at full size.
        height: the rows at full size.
    """

    generator: Generator
    dtype: torch.dtype
    store: Callable[[LazyMap], LazyMap]
    step: int
    height: int

    def conv(self, x: LazyMap, name: str, channels: int, kernel: int, stride: int = 1) -> LazyMap:
        conv = self.generator.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        weight, bias = conv.weight.to(self.dtype), conv.bias
        bias = None if bias is None else bias.to(self.dtype)
        pad = kernel // 2

        def rows(top: int, bottom: int) -> Tensor:
            first, last = top * stride - pad, (bottom - 1) * stride - pad + kernel
            strip = _reflect_rows(x, first, last).to(self.dtype)
            strip = F.pad(strip, (pad, pad, 0, 0), mode="reflect") if pad else strip
            return F.conv2d(strip, weight, bias, stride)

        return LazyMap(conv.out_channels, x.height // stride, x.width // stride, rows)

    def to_rgb(self, x: LazyMap, name: str, kernel: int) -> LazyMap:
        return self.conv(x, name, 3, kernel)

    def norm(self, x: LazyMap, name: str) -> LazyMap:
        norm = self.generator.get_submodule(name)
        if isinstance(norm, InstanceNorm):
            x = self.store(x)
            mean, var = channel_statistics(self._sweep(x))
        elif isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            mean, var = norm.running_mean, norm.running_var
        else:
            return x
        factor = norm.weight / (var + norm.eps).sqrt()
        shift = (norm.bias - mean * factor).view(1, -1, 1, 1)
        factor = factor.view(1, -1, 1, 1)
        return x.map(lambda rows, _: (rows.float() * factor + shift).to(rows.dtype))

    def noise(self, x: LazyMap, name: str, layer: int) -> LazyMap:
        if self.generator.spec.noise == "none":
            return x
        noise = self.generator.get_submodule(name)
        assert isinstance(noise, Noise)
        return x.map(noise.add_to_rows)

    def activation(self, x: LazyMap) -> LazyMap:
        return x.map(lambda rows, _: F.relu_(rows))

    def upsample(self, x: LazyMap) -> LazyMap:
        def rows(top: int, bottom: int) -> Tensor:
            low = top // 2
            doubled = upsample(x.rows(low, -(-bottom // 2)))
            return doubled[:, :, top - 2 * low : bottom - 2 * low]

        return LazyMap(x.channels, 2 * x.height, 2 * x.width, rows)

    def upsample_conv(self, x: LazyMap, name: str, channels: int, mode: str) -> LazyMap:
        conv = self.generator.get_submodule(name)
        assert isinstance(conv, UpsampleConv2d)

        def rows(top: int, bottom: int) -> Tensor:
            low, high = top // 2 - 1, -(-bottom // 2) + 1
            inside = x.rows(max(0, low), min(x.height, high)).to(self.dtype)
            margins = (1, 1, max(0, -low), max(0, high - x.height))
            doubled = conv.of_padded(F.pad(inside, margins, mode="replicate"))
            return doubled[:, :, top - 2 * (low + 1) : bottom - 2 * (low + 1)]

        return LazyMap(channels, 2 * x.height, 2 * x.width, rows)

    def pool(self, x: LazyMap, scale: int) -> LazyMap:
        def rows(top: int, bottom: int) -> Tensor:
            return F.avg_pool2d(x.rows(top * scale, bottom * scale), scale)

        return LazyMap(x.channels, x.height // scale, x.width // scale, rows)

    def add(self, x: LazyMap, y: LazyMap) -> LazyMap:
        whole = x.map(lambda rows, top: rows + y.rows(top, top + rows.shape[2]))
        stored = self.store(whole)
        if stored is not whole:
            for _ in self._sweep(stored):
                pass
        return stored

    def concatenate(self, x: LazyMap, y: LazyMap) -> LazyMap:
        def rows(top: int, bottom: int) -> Tensor:
            parts = [x.rows(top, bottom), y.rows(top, bottom)]
            dtype = min((part.dtype for part in parts), key=lambda d: d.itemsize)
            return torch.cat([part.to(dtype) for part in parts], dim=1)

        return LazyMap(x.channels + y.channels, x.height, x.width, rows)

    def _sweep(self, x: LazyMap) -> Iterator[Tensor]:
        """All rows in strips, which are as high, in the photo, whatever the map's scale is."""
        return x.sweep(max(1, self.step * x.height // self.height))


def _reflect_rows(x: LazyMap, first: int, last: int) -> Tensor:
    """The rows from first to last, those beyond the edges mirrored."""
    if first >= 0 and last <= x.height:
        return x.rows(first, last)
    wanted = torch.arange(first, last).abs()
    end = x.height - 1
    wanted = end - (end - wanted).abs()
    low, high = int(wanted.min()), int(wanted.max()) + 1
    rows = x.rows(low, high)
    return rows[:, :, (wanted - low).to(rows.device)]


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
