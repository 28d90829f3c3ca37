"""The layers that architectures are made of, and what all ways to run them compute alike.

An architecture is a function that calls these layers, and each way to run it has its own: torch
builds and runs them (``core/generators.py``), in strips of rows too (``core/strips.py``), and so
does OpenVINO (``core/openvino_graph.py``); ``core/onnx_graph.py`` writes them to a file. An
architecture is written once, for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from stylecli.core.spec import GeneratorSpec

Map = TypeVar("Map")


class Layers(Protocol[Map]):
    """All layers. A map stands for (N, C, H, W), such as a tensor or a node of a graph.

    The names are those of the weights in a model file: ``{name}.weight`` and so on.
    """

    def conv(self, x: Map, name: str, channels: int, kernel: int, stride: int = 1) -> Map:
        """A convolution whose input is mirrored at the edges; biased only if no norm follows."""

    def to_rgb(self, x: Map, name: str, kernel: int) -> Map:
        """The last convolution, to three channels, with a bias."""

    def norm(self, x: Map, name: str) -> Map:
        """The norm that the spec asks for."""

    def activation(self, x: Map) -> Map:
        """ReLU."""

    def noise(self, x: Map, name: str, layer: int) -> Map:
        """Fixed noise is added, if the spec asks for it; ``layer`` is a number of its own."""

    def upsample(self, x: Map) -> Map:
        """Twice the size: each pixel becomes four."""

    def upsample_conv(self, x: Map, name: str, channels: int, mode: str) -> Map:
        """Twice the size, ``nearest`` or ``bilinear``, and a convolution of 3 x 3 after it.

        Beyond its edges, the enlarged map goes on as it is at them.
        """

    def pool(self, x: Map, scale: int) -> Map:
        """The mean of each square of ``scale`` px."""

    def add(self, x: Map, y: Map) -> Map:
        """A sum."""

    def concatenate(self, x: Map, y: Map) -> Map:
        """The channels of both."""


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        build: the network as a function of the layers, the photo's map and the spec with a
            width: from (N, 3, H, W) to (N, 3, H, W).
        width: channels of the first layer, if the spec does not say.
        multiple: photos are padded until their sides are multiples of it.
        least: photos are padded to at least this side, in px, so that every map inside is large
            enough to be normalized and padded.
        peak: memory of a pass at its peak, divided by pixels x channels of the first layer x bytes
            of a number. It is measured with torch, and rounded up for bfloat16, which saves less
            than half of the memory.
    """

    build: Callable[[Layers[Any], Any, GeneratorSpec], Any]
    width: int
    multiple: int
    least: int
    peak: int


def conv_norm(
    net: Layers[Map], x: Map, name: str, channels: int, kernel: int, stride: int = 1
) -> Map:
    """A convolution and the norm after it."""
    return net.norm(net.conv(x, f"{name}.0", channels, kernel, stride), f"{name}.1")


def upsampling_taps(mode: str) -> list[list[list[float]]]:
    """Where a convolution of 3 taps finds its inputs in a row that was made twice as long.

    Args:
        mode: ``nearest`` or ``bilinear``.

    Returns:
        (2, 3, 3): for the first and the second of the two pixels that a pixel becomes, and for
        each tap, the weights of the pixel before, the pixel itself and the pixel after it.
    """
    if mode == "nearest":
        doubled = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    else:
        doubled = [[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]]
    return [doubled[:3], doubled[1:]]


Array = Any  # of NumPy, or a tensor of torch

_LOW_32 = 0xFFFFFFFF
_ROWS, _COLUMNS = 0x2C1B3C6D, 0x297A2D39  # arbitrary, to hash rows and columns differently
_FOUR_BYTES_MEAN = 4 * 127.5
_FOUR_BYTES_STD = (4 * (256**2 - 1) / 12) ** 0.5


def noise_plane(rows: Array, columns: Array, layer: int, seed: Array) -> Array:
    """Noise that depends on a position, a layer and a seed, and on nothing else.

    Each number is a hash of its position (a counter-based generator: Salmon et al. 2011): the sum
    of its four bytes, nearly normal, of mean 0 and variance 1. So strips, batches, devices and
    backends agree, the noise in a video does not move, and a small plane is a corner of a larger
    one. Only operators are used, so NumPy's arrays and torch's tensors both work.

    Args:
        rows: int64, from 0, of a shape such as (H, 1).
        columns: int64, from 0, of a shape such as (W,).
        layer: the number of the layer; each layer has another plane.
        seed: 0 to 2^31 - 1; each seed gives other planes. An array of shape (N, 1, 1, 1) gives
            N planes.

    Returns:
        An array of the shape that rows, columns and seed broadcast to, of the default float type.
    """
    key = seed * 64 + layer
    by_row = _hash(_hash(rows * 2 + _ROWS) + key)
    by_column = _hash(_hash(columns * 2 + _COLUMNS) + key)
    bits = _hash_once(by_row ^ by_column)
    pairs = (bits & 0x00FF00FF) + ((bits >> 8) & 0x00FF00FF)
    total = (pairs & 0xFFFF) + (pairs >> 16)
    return (total - _FOUR_BYTES_MEAN) * (1 / _FOUR_BYTES_STD)


def _hash(n: Array) -> Array:
    """A hash of 32 bits, each of which depends on every bit of ``n``, in two rounds."""
    return _hash_once(_hash_once(n & _LOW_32))


def _hash_once(n: Array) -> Array:
    """One round. The factor is below 2^27, so that every product fits in 63 bits."""
    n = ((n >> 16) ^ n) * 0x045D9F3B & _LOW_32
    return (n >> 16) ^ n
