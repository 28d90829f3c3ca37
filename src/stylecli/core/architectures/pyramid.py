"""The multi-scale generator of Ulyanov et al. 2016 ("Texture Networks")."""

from typing import TypeVar

from stylecli.core.architectures.layers import Architecture, Layers, conv_norm
from stylecli.core.spec import GeneratorSpec

Map = TypeVar("Map")

_SCALES = (32, 16, 8, 4, 2, 1)


def build(net: Layers[Map], photo: Map, spec: GeneratorSpec) -> Map:
    """Six scales of the photo, 1/32 to 1, three convolutions each, joined from the smallest up.

    As in the authors' code of 2017, with instance norm, there is no noise by default. With noise,
    each scale gets one plane, which is added where their code of 2016 concatenates three.
    """
    beside = []
    for i, scale in enumerate(_SCALES):
        x = net.pool(photo, scale) if scale > 1 else photo
        x = _three_convs(net, x, f"branches.{i}", spec.channels)
        beside.append(net.noise(x, f"branches.{i}.6", i))
    x = beside[0]
    for i, side in enumerate(beside[1:]):
        # Both sides of a join are normalized first: otherwise the larger one would dominate.
        below = net.norm(net.upsample(x), f"norms_below.{i}")
        side = net.norm(side, f"norms_beside.{i}")
        x = net.concatenate(below, side)
        x = _three_convs(net, x, f"joins.{i}", spec.channels * (i + 2))
    return net.to_rgb(x, "to_rgb", 1)


def _three_convs(net: Layers[Map], x: Map, name: str, channels: int) -> Map:
    for place, kernel in ((0, 3), (2, 3), (4, 1)):
        x = net.activation(conv_norm(net, x, f"{name}.{place}", channels, kernel))
    return x


# A photo of 64 px has 2 x 2 px at the smallest scale; a single value would have no variance.
ARCHITECTURE = Architecture(build, width=8, multiple=32, least=64, peak=65)
