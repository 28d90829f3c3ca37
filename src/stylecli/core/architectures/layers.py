"""What an architecture is written in: layers, whoever runs them.

torch builds and runs them (``core/generators.py``), in strips of rows too (``core/strips.py``), and
so does OpenVINO (``core/openvino_graph.py``). An architecture is written once, for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from stylecli.core.spec import GeneratorSpec

Map = TypeVar("Map")


class Layers(Protocol[Map]):
    """The layers that there are. A map is (N, C, H, W), in whatever form the runner has it.

    Names are those of the weights in a model file: ``{name}.weight`` and so on.
    """

    def conv(self, x: Map, name: str, channels: int, kernel: int, stride: int = 1) -> Map:
        """A convolution whose input is mirrored at the edges; biased only if no norm follows."""

    def to_rgb(self, x: Map, name: str, kernel: int) -> Map:
        """The last convolution, to three channels, with a bias."""

    def norm(self, x: Map, name: str) -> Map:
        """The norm that the spec asks for."""

    def activation(self, x: Map) -> Map:
        """The activation that the spec asks for."""

    def noise(self, x: Map, name: str, layer: int) -> Map:
        """Fixed noise, if the spec asks for it; no two layers have the same number."""

    def upsample(self, x: Map, mode: str) -> Map:
        """Twice the size: ``nearest`` or ``bilinear``."""

    def pool(self, x: Map, scale: int) -> Map:
        """Means of squares of ``scale`` px."""

    def add(self, x: Map, y: Map) -> Map:
        """A sum."""

    def concatenate(self, x: Map, y: Map) -> Map:
        """The channels of both."""


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        build: the network, given the layers to make it of, the photo's map and the spec with a
            width: from (N, 3, H, W) to (N, 3, H, W).
        width: channels of the first layer, if a spec names none.
        multiple: inner sides are multiples of it.
        least: and at least this, so that every map can be normalized and padded.
        peak: bytes that a plain pass takes at its peak, for each pixel, channel of the first
            layer and byte of a number: measured with torch, whose bfloat16 saves less than
            half, and rounded up.
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
