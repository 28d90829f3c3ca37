"""Images larger than memory, exactly: a generator is evaluated a strip of rows at a time.

A norm that saw one strip would give each strip a contrast of its own, and there would be seams. So
every norm gets the mean and variance of the whole image, which are gathered in a sweep over the
strips, layer by layer. Maps between layers are kept in temporary files if they are not too large,
and otherwise computed again. The result is exactly that of one pass over the whole image.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stylecli.core.convolutions import UpsampleConv2d
from stylecli.core.generators import Generator, Noise, activated
from stylecli.core.norms import InstanceNorm
from stylecli.core.strip_maps import (
    Convolved,
    Joined,
    LazyMap,
    Mapped,
    Pooled,
    Scaled,
    Source,
    Stored,
    Sum,
    UpsampleConvolved,
    Upsampled,
)
from stylecli.core.tensors import to_uint8
from stylecli.files.colors import Rgb

_MEMORY = 2**30  # bytes
_STRIP_TO_PASS = 2  # memory for a pixel in a strip, in float32, relative to one in a plain pass
_MIN_ROWS = 16
_SCRATCH_BYTES = 8 * 2**30


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
        return Mapped(x, lambda rows, top: activated(rows, self.spec))

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
