"""Images larger than memory, exactly: a generator is evaluated a strip of rows at a time.

A norm that saw one strip would give each strip a contrast of its own, and there would be seams. So
every norm gets the mean and variance of the whole image, which are gathered in a sweep over the
strips, layer by layer. Maps between layers are kept in temporary files. The result is exactly that
of one pass over the whole image.
"""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stylecli.core.architectures import plain_bytes, plan_padding
from stylecli.core.devices import to_tensor, to_uint8
from stylecli.core.generators import Generator
from stylecli.core.torch_layers import add_noise, upsample, upsample_conv
from stylecli.files.colors import Rgb

_STRIP_TO_PASS = 2  # memory for a pixel in a strip, in float32, relative to one in a plain pass
_MIN_ROWS = 16


@torch.inference_mode()
def run_in_strips(
    generator: Generator,
    rgb: Rgb,
    device: torch.device,
    dtype: torch.dtype,
    rows: int,
    scratch: Path | None = None,
) -> Rgb:
    """Stylize one image, (H, W, 3) in 0..255, to the same size.

    Args:
        generator: of one style; it is moved to the device and put in eval mode.
        rgb: the image.
        device: where to compute.
        dtype: the number format of convolutions and of stored maps.
        rows: the height of a strip at full size, see :func:`rows_in`.
        scratch: folder for temporary files; None is the system's.

    Raises:
        OSError: the temporary files have no room.
    """
    height, width = rgb.shape[:2]
    source = _source(generator.to(device).eval(), rgb, device)
    layers = _StripLayers(generator, device, dtype, scratch, rows, source.height)
    last = generator.architecture.build(layers, source, generator.spec)
    out = np.empty_like(rgb)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        z = last.rows(top, bottom)[..., :width]
        out[top:bottom] = to_uint8(generator.to_rgb_range(z))[0]
    return out


def rows_in(memory: int, generator: Generator, width: int) -> int:
    """The rows of a strip of an image, ``width`` px wide, for which bytes of memory suffice.

    There are 16 in any case.
    """
    of_row = _STRIP_TO_PASS * plain_bytes(generator.spec.arch, generator.spec.channels, width, 4)
    return max(_MIN_ROWS, memory // of_row)


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

    def map(self, change: Callable[[Tensor, int], Tensor]) -> "LazyMap":
        """The map whose rows are ``change(rows, top)``, perhaps in place; top is the first."""

        def rows(top: int, bottom: int) -> Tensor:
            return change(self.rows(top, bottom), top)

        return LazyMap(self.channels, self.height, self.width, rows)


def _source(generator: Generator, rgb: Rgb, device: torch.device) -> LazyMap:
    """The input of the network: an image, padded at the bottom and right, centered on gray."""
    height, width = rgb.shape[:2]
    *inner, mirrors = plan_padding(generator.spec.arch, height, width)
    mode = "reflect" if mirrors else "replicate"
    down, across = _pad_numbers(0, inner[0], height, mode), _pad_numbers(0, inner[1], width, mode)

    def rows(top: int, bottom: int) -> Tensor:
        strip = rgb[down[top:bottom]][:, across]
        return generator.to_input(to_tensor(strip[None], device))

    return LazyMap(3, len(down), len(across), rows)


def _pad_numbers(first: int, end: int, side: int, mode: str) -> npt.NDArray[np.int64]:
    """Which of ``side`` rows stand at ``first`` to ``end`` of a map that is padded as in torch."""
    at, last = np.arange(first, end), side - 1
    return last - np.abs(last - np.abs(at)) if mode == "reflect" else at.clip(0, last)


@dataclass
class _StripLayers:
    """All layers, run on lazy maps; each norm sweeps once over the map that it normalizes.

    Attributes:
        generator: has the weights.
        device: where to compute.
        dtype: the number format of convolutions.
        scratch: the folder for temporary files.
        step: the rows of a strip at full size.
        height: the rows at full size.
    """

    generator: Generator
    device: torch.device
    dtype: torch.dtype
    scratch: Path | None
    step: int
    height: int

    def conv(self, x: LazyMap, name: str, channels: int, kernel: int, stride: int = 1) -> LazyMap:
        conv: Any = self.generator.get_submodule(name)
        weight, bias = conv.weight.to(self.dtype), conv.bias
        bias = None if bias is None else bias.to(self.dtype)
        pad = kernel // 2

        def rows(top: int, bottom: int) -> Tensor:
            first, end = top * stride - pad, (bottom - 1) * stride - pad + kernel
            strip = _pad_rows(x, first, end, pad, "reflect")
            return F.conv2d(strip.to(self.dtype), weight, bias, stride)

        return LazyMap(channels, x.height // stride, x.width // stride, rows)

    def to_rgb(self, x: LazyMap, name: str, kernel: int) -> LazyMap:
        return self.conv(x, name, 3, kernel)

    def norm(self, x: LazyMap, name: str) -> LazyMap:
        if self.generator.spec.norm == "none":
            return x
        norm: Any = self.generator.get_submodule(name)
        if self.generator.spec.norm == "in":
            x, strips = self._store(x)
            mean, var = channel_statistics(strips)
        else:
            mean, var = norm.running_mean, norm.running_var
        factor = norm.weight / (var + norm.eps).sqrt()
        shift = (norm.bias - mean * factor).view(1, -1, 1, 1)
        factor = factor.view(1, -1, 1, 1)
        return x.map(lambda rows, _: (rows.float() * factor + shift).to(rows.dtype))

    def noise(self, x: LazyMap, name: str, layer: int) -> LazyMap:
        if self.generator.spec.noise == "none":
            return x
        strength = self.generator.get_parameter(f"{name}.strength")
        return x.map(lambda rows, top: add_noise(rows, strength, layer, self.generator.seed, top))

    def activation(self, x: LazyMap) -> LazyMap:
        return x.map(lambda rows, _: F.relu_(rows))

    def upsample(self, x: LazyMap) -> LazyMap:
        def rows(top: int, bottom: int) -> Tensor:
            low = top // 2
            doubled = upsample(x.rows(low, -(-bottom // 2)))
            return doubled[:, :, top - 2 * low : bottom - 2 * low]

        return LazyMap(x.channels, 2 * x.height, 2 * x.width, rows)

    def upsample_conv(self, x: LazyMap, name: str, channels: int, mode: str) -> LazyMap:
        conv: Any = self.generator.get_submodule(name)

        def rows(top: int, bottom: int) -> Tensor:
            low = top // 2
            strip = _pad_rows(x, low - 1, -(-bottom // 2) + 1, 1, "replicate")
            doubled = upsample_conv(strip.to(self.dtype), conv.weight, conv.bias, mode)
            return doubled[:, :, top - 2 * low : bottom - 2 * low]

        return LazyMap(channels, 2 * x.height, 2 * x.width, rows)

    def pool(self, x: LazyMap, scale: int) -> LazyMap:
        def rows(top: int, bottom: int) -> Tensor:
            return F.avg_pool2d(x.rows(top * scale, bottom * scale), scale)

        return LazyMap(x.channels, x.height // scale, x.width // scale, rows)

    def add(self, x: LazyMap, y: LazyMap) -> LazyMap:
        whole = x.map(lambda rows, top: rows + y.rows(top, top + rows.shape[2]))
        stored, strips = self._store(whole)
        deque(strips, maxlen=0)
        return stored

    def concatenate(self, x: LazyMap, y: LazyMap) -> LazyMap:
        def rows(top: int, bottom: int) -> Tensor:
            parts = [x.rows(top, bottom), y.rows(top, bottom)]
            dtype = min((part.dtype for part in parts), key=lambda d: d.itemsize)
            return torch.cat([part.to(dtype) for part in parts], dim=1)

        return LazyMap(x.channels + y.channels, x.height, x.width, rows)

    def _store(self, x: LazyMap) -> tuple[LazyMap, Iterator[Tensor]]:
        """A map in a temporary file, and its strips, which are written as they are taken.

        The file is not memory-mapped, as mapped pages would count as the program's memory.
        """
        # What reads does not hold the map below, whose file is then closed once this one is there.
        channels, width = x.channels, x.width
        row_bytes = channels * width * self.dtype.itemsize
        # It has a buffer: a file without one may write only a part, and then raises no error.
        file = tempfile.TemporaryFile(dir=self.scratch)  # noqa: SIM115

        def write(strips: Iterator[Tensor]) -> Iterator[Tensor]:
            for strip in strips:
                lines = strip.to(self.dtype)[0].transpose(0, 1).contiguous().cpu()  # (rows, C, W)
                file.write(lines.view(torch.uint8).numpy().data)
                yield strip

        def read(top: int, bottom: int) -> Tensor:
            file.seek(top * row_bytes)
            data = bytearray(file.read((bottom - top) * row_bytes))
            lines = torch.frombuffer(data, dtype=self.dtype).to(self.device)
            return lines.view(bottom - top, channels, width).transpose(0, 1)[None]

        return LazyMap(channels, x.height, width, read), write(self._sweep(x))

    def _sweep(self, x: LazyMap) -> Iterator[Tensor]:
        """All rows in strips, which are as high, in the photo, whatever the map's scale is."""
        step = max(1, self.step * x.height // self.height)
        for top in range(0, x.height, step):
            yield x.rows(top, min(x.height, top + step))


def _pad_rows(x: LazyMap, first: int, end: int, margin: int, mode: str) -> Tensor:
    """The rows from ``first`` to ``end``, and a margin of columns, of a map that is padded."""
    numbers = _pad_numbers(first, end, x.height, mode)
    low = int(numbers.min())
    strip = x.rows(low, int(numbers.max()) + 1)
    if first < 0 or end > x.height:
        strip = strip[:, :, torch.from_numpy(numbers - low).to(strip.device)]
    return F.pad(strip, (margin, margin, 0, 0), mode=mode) if margin else strip


def channel_statistics(strips: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over all strips."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for strip in strips:
        values = strip[0].flatten(1).double()  # (C, n): their squares lose no digits that count
        count += values.shape[1]
        total = total + values.sum(1)
        squares = squares + values.square().sum(1)
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp_min(0).float()
