"""The feed-forward generators: a photo in, the stylized photo out, in one pass."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from stylecli.core.geometry import inner_size, pads_by_reflection
from stylecli.core.norms import InstanceNorm, build_norm
from stylecli.errors import StyleCliError, choose_from

# The network sees photos centered on gray at about unit variance, and answers in units of
# Johnson's 150 / 255 around gray. Outside, images are RGB in [0, 1].
_GRAY = 0.5
_INPUT_GAIN = 4.0
_OUTPUT_RANGE = 150 / 255
# A step of Adam moves a thousand weights of the last layer at once: undamped, the whole picture
# jumps, and training is slow at best and diverges at worst.
_LAST_LAYER_GAIN = 0.17

OUTPUTS = ("linear", "tanh")


@dataclass(frozen=True)
class GeneratorSpec:
    """All that is needed to build a generator.

    Attributes:
        arch: ``residual`` (Johnson et al. 2016) or ``pyramid`` (Ulyanov et al. 2016).
        norm: a name of :data:`stylecli.core.norms.NORMS`.
        width: channels of the first layer; None is the architecture's own (16 and 8).
        output: ``linear``, or ``tanh`` as in Johnson's own code. A saturated tanh passes no
            gradient: bright flat clouds turn to white blobs that training cannot remove.
    """

    arch: str = "residual"
    norm: str = "in"
    width: int | None = None
    output: str = "linear"


class Generator(nn.Module):
    """What both generators share: conventions of range and size, and how they hold styles.

    A generator of several styles has, in every instance norm, a row of scales and shifts for each
    of them; all else is shared (Dumoulin et al. 2017). Mixing rows makes another generator.

    Attributes:
        arch: its name in a :class:`GeneratorSpec`.
    """

    arch: str

    def __init__(self, norm: str, width: int, output: str) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise StyleCliError(f"unknown output {output!r}", hint=choose_from(output, OUTPUTS))
        if not 1 <= width <= 512:
            raise StyleCliError(f"width {width} is not from 1 to 512", hint="the default is good")
        self.spec = GeneratorSpec(self.arch, norm, width, output)

    def layers(self, x: Tensor) -> Tensor:
        """The network proper, on sides as :func:`inner_size` gives them."""
        raise NotImplementedError

    @property
    def styles(self) -> int:
        """How many styles it holds."""
        tables = [table for _, table in self.tables()]
        return len(tables[0]) if tables and tables[0].ndim == 2 else 1

    def tables(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name, scales or shifts of every instance norm: (C,), or (S, C) for S styles."""
        for name, module in self.named_modules():
            if isinstance(module, InstanceNorm):
                yield f"{name}.weight", module.weight
                yield f"{name}.bias", module.bias

    def remix(self, mixes: Tensor) -> "Generator":
        """Replace its S styles by K mixtures of them, in place.

        Args:
            mixes: (K, S) shares. A row of one 1 is a style as it is; (1, S) leaves an ordinary
                generator of one style.

        Raises:
            StyleCliError: several styles for a generator without instance norm.
        """
        tables = [name for name, _ in self.tables()]
        if len(mixes) > 1 and not tables:
            raise StyleCliError(
                f"a generator with norm {self.spec.norm} holds one style",
                hint="pass --norm in for several",
            )
        for name in tables:
            owner, _, kind = name.rpartition(".")
            table = self.get_parameter(name).detach()
            rows = table if table.ndim == 2 else table[None]  # (S, C)
            mixed = mixes.to(rows) @ rows
            setattr(
                self.get_submodule(owner), kind, nn.Parameter(mixed if len(mixed) > 1 else mixed[0])
            )
        return self

    def of_style(self, mix: Tensor) -> "Generator":
        """A copy that paints one style: a mixture (S,) of those it holds."""
        return deepcopy(self).remix(mix[None])

    def forward(self, photos: Tensor, styles: Tensor | None = None) -> Tensor:
        """Stylize photos.

        Args:
            photos: (N, 3, H, W) RGB in [0, 1], any H and W.
            styles: (N,) which style for which photo, if it holds several.

        Returns:
            (N, 3, H, W) RGB around [0, 1]; values outside are to be clipped when saved.
        """
        if styles is not None and self.styles > 1:
            rows = {name: table[styles] for name, table in self.tables()}
            return functional_call(self, rows, (photos,))  # type: ignore[no-any-return]
        height, width = photos.shape[-2:]
        z = self.layers(self.to_input(self._padded(photos)))[..., :height, :width]
        return self.to_rgb_range(z)

    def to_input(self, photos: Tensor) -> Tensor:
        """RGB in [0, 1] as the first layer sees it."""
        return (photos - _GRAY) * _INPUT_GAIN

    def to_rgb_range(self, z: Tensor) -> Tensor:
        """What the last layer gives as RGB around [0, 1], in float32."""
        z = z.float()  # the 8 bits of bfloat16 would show as bands in a sky
        z = _LAST_LAYER_GAIN * z
        return _GRAY + _OUTPUT_RANGE * (torch.tanh(z) if self.spec.output == "tanh" else z)

    def _padded(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        down, across = inner_size(self.arch, height, width)
        mode = "reflect" if pads_by_reflection(self.arch, height, width) else "replicate"
        return F.pad(x, (0, across - width, 0, down - height), mode=mode)


def _conv(inputs: int, outputs: int, kernel: int, norm: str, stride: int = 1) -> nn.Sequential:
    """Convolution and norm. A norm subtracts any bias again, so only ``none`` has one."""
    conv = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride,
        padding=kernel // 2,
        padding_mode="reflect",
        bias=norm == "none",
    )
    return nn.Sequential(conv, build_norm(norm, outputs))


class ResidualBlock(nn.Module):
    """Two convolutions, added to what went in."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _conv(channels, channels, 3, norm),
            nn.ReLU(inplace=True),
            _conv(channels, channels, 3, norm),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x + self.branch(x)  # type: ignore[no-any-return]


class ResidualGenerator(Generator):
    """Johnson et al. 2016, supplement: ``c9s1-w, d2w, d4w, R4w x 5, u2w, uw, c9s1-3``.

    Departs from the paper as its authors' released code and later practice do: reflection
    padding everywhere, and nearest upsampling + convolution in place of transposed convolution
    (no checkerboard).
    """

    arch = "residual"

    def __init__(self, norm: str = "in", width: int = 16, output: str = "linear") -> None:
        super().__init__(norm, width, output)
        w = width
        self.body = nn.Sequential(
            *(_conv(3, w, 9, norm), nn.ReLU(inplace=True)),
            *(_conv(w, 2 * w, 3, norm, stride=2), nn.ReLU(inplace=True)),
            *(_conv(2 * w, 4 * w, 3, norm, stride=2), nn.ReLU(inplace=True)),
            *(ResidualBlock(4 * w, norm) for _ in range(5)),
            *(nn.Upsample(scale_factor=2), _conv(4 * w, 2 * w, 3, norm), nn.ReLU(inplace=True)),
            *(nn.Upsample(scale_factor=2), _conv(2 * w, w, 3, norm), nn.ReLU(inplace=True)),
            nn.Conv2d(w, 3, 9, padding=4, padding_mode="reflect"),
        )

    def layers(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W), H and W multiples of 4."""
        return self.body(x)  # type: ignore[no-any-return]


class PyramidGenerator(Generator):
    """Ulyanov et al. 2016 ("Texture Networks"), without its noise inputs.

    Six scales of the photo, 1/32 to 1, each through its own three convolutions, joined from
    the smallest up. Their 2017 code, with instance norm, uses no noise either.
    """

    arch = "pyramid"
    scales = (32, 16, 8, 4, 2, 1)

    def __init__(self, norm: str = "in", width: int = 8, output: str = "linear") -> None:
        super().__init__(norm, width, output)
        joined = [width * (i + 1) for i in range(len(self.scales))]
        self.branches = nn.ModuleList(_three_convs(3, width, norm) for _ in self.scales)
        # Both sides of a join are normalized first, or the larger would drown the other.
        self.norms_below = nn.ModuleList(build_norm(norm, c) for c in joined[:-1])
        self.norms_beside = nn.ModuleList(build_norm(norm, width) for _ in joined[:-1])
        self.joins = nn.ModuleList(_three_convs(c, c, norm) for c in joined[1:])
        self.to_rgb = nn.Conv2d(joined[-1], 3, 1)

    def layers(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W), H and W multiples of 32."""
        beside = [
            branch(F.avg_pool2d(x, scale) if scale > 1 else x)
            for branch, scale in zip(self.branches, self.scales, strict=True)
        ]
        y = beside[0]  # (N, w, H/32, W/32)
        for i, join in enumerate(self.joins):
            up = self.norms_below[i](F.interpolate(y, scale_factor=2, mode="nearest"))
            y = join(torch.cat([up, self.norms_beside[i](beside[i + 1])], dim=1))
        return self.to_rgb(y)  # type: ignore[no-any-return]


def _three_convs(inputs: int, outputs: int, norm: str) -> nn.Sequential:
    def activation() -> nn.Module:
        return nn.ReLU(inplace=True) if norm == "in" else nn.LeakyReLU(0.01, inplace=True)

    return nn.Sequential(
        *(_conv(inputs, outputs, 3, norm), activation()),
        *(_conv(outputs, outputs, 3, norm), activation()),
        *(_conv(outputs, outputs, 1, norm), activation()),
    )


ARCHS: dict[str, type[ResidualGenerator] | type[PyramidGenerator]] = {
    "residual": ResidualGenerator,
    "pyramid": PyramidGenerator,
}


def build_generator(spec: GeneratorSpec) -> Generator:
    """The network that a spec describes, freshly initialized from torch's random state.

    Raises:
        StyleCliError: the spec names an unknown architecture, norm or output, or a bad width.
    """
    if spec.arch not in ARCHS:
        raise StyleCliError(
            f"unknown architecture {spec.arch!r}", hint=choose_from(spec.arch, ARCHS)
        )
    width = {} if spec.width is None else {"width": spec.width}
    return ARCHS[spec.arch](spec.norm, output=spec.output, **width)
