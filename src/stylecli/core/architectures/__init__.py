"""The architectures of the generators: each is a module here, and a name in ``spec.Arch``.

Nothing here imports torch: a model file is checked without it.
"""

from importlib import import_module
from typing import Any, get_args

from stylecli.core.architectures.layers import Architecture
from stylecli.core.spec import Arch, GeneratorSpec
from stylecli.errors import StyleCliError

Shapes = dict[str, tuple[int, ...]]

ARCHITECTURES: dict[str, Architecture] = {
    name: import_module(f"{__name__}.{name}").ARCHITECTURE for name in get_args(Arch)
}


def architecture_of(spec: GeneratorSpec) -> Architecture:
    """The architecture that a spec names.

    Raises:
        StyleCliError: the spec names what there is not, or has a bad width.
    """
    spec.check()
    return ARCHITECTURES[spec.arch]


def plan_padding(arch: str, height: int, width: int) -> tuple[int, int, bool]:
    """How a photo is padded at the bottom and the right.

    Returns:
        The height and the width with the padding, and whether the padding mirrors the photo. A
        photo that is too small to be mirrored has its edge repeated.
    """
    multiple, least = ARCHITECTURES[arch].multiple, ARCHITECTURES[arch].least
    down, across = (max(least, -(-side // multiple) * multiple) for side in (height, width))
    return down, across, down - height < height and across - width < width


def plain_bytes(arch: str, width: int, pixels: int, itemsize: int) -> int:
    """About how many bytes of memory one pass over an image takes, at its peak."""
    return pixels * width * ARCHITECTURES[arch].peak * itemsize


def weight_shapes(spec: GeneratorSpec, styles: int) -> Shapes:
    """The names and shapes of the weights in a model file, in the order of the layers.

    Args:
        spec: the generator, with a width.
        styles: how many styles it holds; several have rows of their own in some weights.

    Raises:
        StyleCliError: a name in the spec is unknown, its width is out of range, or there are
            several styles and no instance norm.
    """
    if styles > 1 and spec.norm != "in":
        raise StyleCliError(
            f"a generator with norm {spec.norm} holds one style",
            hint="pass --norm in for several",
        )
    layers = _WeightShapes(spec, styles)
    architecture_of(spec).build(layers, 3, spec)
    return layers.shapes


class _WeightShapes:
    """All layers, run on numbers of channels; the shapes of their weights are noted."""

    def __init__(self, spec: GeneratorSpec, styles: int) -> None:
        self.spec = spec
        self.rows = (styles,) if styles > 1 else ()
        self.shapes: Shapes = {}

    def _keep(self, x: int, *_: Any) -> int:
        return x

    activation = upsample = pool = add = _keep

    def concatenate(self, x: int, y: int) -> int:
        return x + y

    def conv(self, x: int, name: str, channels: int, kernel: int, stride: int = 1) -> int:
        self.shapes[f"{name}.weight"] = (channels, x, kernel, kernel)
        if self.spec.norm == "none":
            self.shapes[f"{name}.bias"] = (channels,)
        return channels

    def upsample_conv(self, x: int, name: str, channels: int, mode: str) -> int:
        return self.conv(x, name, channels, 3)

    def to_rgb(self, x: int, name: str, kernel: int) -> int:
        self.shapes |= {f"{name}.weight": (3, x, kernel, kernel), f"{name}.bias": (3,)}
        return 3

    def norm(self, x: int, name: str) -> int:
        if self.spec.norm == "in":
            self.shapes |= {f"{name}.weight": (*self.rows, x), f"{name}.bias": (*self.rows, x)}
        elif self.spec.norm == "bn":
            own = ("weight", "bias", "running_mean", "running_var")
            self.shapes |= {f"{name}.{kind}": (x,) for kind in own}
            self.shapes[f"{name}.num_batches_tracked"] = ()
        return x

    def noise(self, x: int, name: str, layer: int) -> int:
        if self.spec.noise != "none":
            self.shapes[f"{name}.strength"] = (*self.rows, x)
        return x
