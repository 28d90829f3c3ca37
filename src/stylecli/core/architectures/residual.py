"""The residual generator of Johnson et al. 2016."""

from typing import TypeVar

from stylecli.core.architectures.layers import Architecture, Layers, conv_norm
from stylecli.core.spec import GeneratorSpec

Map = TypeVar("Map")

_BLOCKS = 5


def build(net: Layers[Map], photo: Map, spec: GeneratorSpec) -> Map:
    """Supplement of the paper: ``c9s1-w, d2w, d4w, R4w x 5, u2w, uw, c9s1-3``.

    It differs from the paper as its authors' released code and later practice do: padding is by
    reflection everywhere, and upsampling and a convolution take the place of a transposed
    convolution, which leaves a checkerboard. Noise, if any, follows every layer but the last two.
    """
    w, x = spec.channels, photo
    for i, (channels, kernel, stride) in enumerate([(w, 9, 1), (2 * w, 3, 2), (4 * w, 3, 2)]):
        x = net.activation(conv_norm(net, x, f"body.{2 * i}", channels, kernel, stride))
        x = net.noise(x, f"body.{2 * i + 1}.1", i)
    for i in range(6, 6 + _BLOCKS):
        branch = net.activation(conv_norm(net, x, f"body.{i}.branch.0", 4 * w, 3))
        branch = conv_norm(net, branch, f"body.{i}.branch.2", 4 * w, 3)
        x = net.noise(net.add(x, branch), f"body.{i}.noise", i - 3)
    x = net.norm(net.upsample_conv(x, "body.12.0", 2 * w, spec.upsampling), "body.12.1")
    x = net.noise(net.activation(x), "body.13.1", _BLOCKS + 3)
    x = net.norm(net.upsample_conv(x, "body.15.0", w, spec.upsampling), "body.15.1")
    return net.to_rgb(net.activation(x), "body.17", 9)


ARCHITECTURE = Architecture(build, width=16, multiple=4, least=8, peak=12)
