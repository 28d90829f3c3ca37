"""Names and shapes of a generator's weights, without torch, to check files with."""

from stylecli.core.architectures import architecture_of
from stylecli.core.spec import GeneratorSpec
from stylecli.errors import StyleCliError

Shapes = dict[str, tuple[int, ...]]


def weight_shapes(spec: GeneratorSpec, styles: int) -> Shapes:
    """The names and shapes of the weights in a model file.

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
    noted = _WeightShapes(spec, styles)
    architecture_of(spec).build(noted, 3, spec)
    return noted.shapes


class ChannelCounts:
    """The layers without weights, run on numbers of channels in place of maps."""

    def activation(self, x: int) -> int:
        """As many channels as before."""
        return x

    def upsample(self, x: int) -> int:
        """As many channels as before."""
        return x

    def pool(self, x: int, scale: int) -> int:
        """As many channels as before."""
        return x

    def add(self, x: int, y: int) -> int:
        """As many channels as before."""
        return x

    def concatenate(self, x: int, y: int) -> int:
        """The channels of both."""
        return x + y


class _WeightShapes(ChannelCounts):
    """All layers, run on numbers of channels; the shapes of their weights are noted."""

    def __init__(self, spec: GeneratorSpec, styles: int) -> None:
        self.spec = spec
        self.rows = (styles,) if styles > 1 else ()
        self.shapes: Shapes = {}

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
