"""The feed-forward generators: a photo in, the stylized photo out, in one pass."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from stylecli.core.convolutions import ReflectConv2d, Upsample
from stylecli.core.geometry import inner_size, pads_by_reflection
from stylecli.core.noise import noise_plane
from stylecli.core.norms import NORMS, InstanceNorm, build_norm
from stylecli.errors import StyleCliError, choose_from

# The network sees photos centered on gray at about unit variance, and answers in units of
# Johnson's 150 / 255 around gray. Outside, images are RGB in [0, 1].
_GRAY = 0.5
_INPUT_GAIN = 4.0
_OUTPUT_RANGE = 150 / 255
# A step of Adam moves a thousand weights of the last layer at once: undamped, the whole picture
# jumps, and training is slow at best and diverges at worst.
_LAST_LAYER_GAIN = 0.17
_NOISE_STRENGTH = 0.2  # at the start, times a normal number for each channel: by trial

OUTPUTS = ("linear", "tanh")
NOISES = ("none", "gaussian")
UPSAMPLINGS = ("nearest", "bilinear")
ACTIVATIONS = ("relu", "leaky_relu")


@dataclass(frozen=True)
class GeneratorSpec:
    """All that is needed to build a generator.

    Attributes:
        arch: ``residual`` (Johnson et al. 2016) or ``pyramid`` (Ulyanov et al. 2016).
        norm: a name of :data:`stylecli.core.norms.NORMS`.
        width: channels of the first layer; None is the architecture's own (16 and 8).
        output: ``linear``, or ``tanh`` as in Johnson's own code. A saturated tanh passes no
            gradient: bright flat clouds turn to white blobs that training cannot remove.
        noise: ``none``, as in the papers; or ``gaussian``: a plane of fixed noise after some
            layers, times a learned strength for each channel (Karras et al. 2019). Without it a
            flat area can only be filled with a pattern that repeats at the network's own stride.
        upsampling: of the residual generator: ``nearest``, or ``bilinear``, which leaves no
            pattern of its own.
        activation: ``relu``, or ``leaky_relu`` with a slope of 0.01.
    """

    arch: str = "residual"
    norm: str = "in"
    width: int | None = None
    output: str = "linear"
    noise: str = "none"
    upsampling: str = "nearest"
    activation: str = "relu"

    def check(self) -> None:
        """Raise StyleCliError if it names what there is not, or a bad width."""
        for what, given, known in (
            ("architecture", self.arch, ARCHS),
            ("norm", self.norm, NORMS),
            ("output", self.output, OUTPUTS),
            ("noise", self.noise, NOISES),
            ("upsampling", self.upsampling, UPSAMPLINGS),
            ("activation", self.activation, ACTIVATIONS),
        ):
            if given not in known:
                raise StyleCliError(f"unknown {what} {given!r}", hint=choose_from(given, known))
        if self.width is not None and not 1 <= self.width <= 512:
            hint = "the default is good"
            raise StyleCliError(f"width {self.width} is not from 1 to 512", hint=hint)


class Noise(nn.Module):
    """Adds a plane of fixed noise, times a learned strength for each channel.

    The strengths are (C,); or, while several styles are trained, (N, C), a row for each image. So
    are the seeds: (1,) for all images, or (N,).

    Args:
        channels: of the feature maps.
        layer: a number that no other noise of the network has.
    """

    def __init__(self, channels: int, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.strength = nn.Parameter(_NOISE_STRENGTH * torch.randn(channels))
        self.seed: Tensor
        self.register_buffer("seed", torch.zeros(1, dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return self.add_to_rows(x, 0)

    def add_to_rows(self, x: Tensor, top: int) -> Tensor:
        """The same for some rows of a map, (N, C, rows, W), of which ``top`` is the first."""
        height, width = x.shape[2:]
        rows = torch.arange(top, top + height, device=x.device)[:, None]  # (rows, 1)
        columns = torch.arange(width, device=x.device)
        plane = noise_plane(rows, columns, self.layer, self.seed.view(-1, 1, 1, 1))
        strength = self.strength.view(-1, x.shape[1], 1, 1)
        return torch.addcmul(x, strength.to(x.dtype), plane.to(x.dtype))  # (N, C, rows, W)


class Generator(nn.Module):
    """What both generators share: conventions of range and size, and how they hold styles.

    A generator of several styles has, in every instance norm, a row of scales and shifts for each
    of them; all else is shared (Dumoulin et al. 2017). Mixing rows makes another generator.

    Args:
        spec: which network; a width of None is the architecture's own.

    Attributes:
        arch: its name in a :class:`GeneratorSpec`.
        default_width: channels of its first layer.

    Raises:
        StyleCliError: the spec names what there is not.
    """

    arch: str
    default_width: int

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        spec.check()
        self.width = spec.width or self.default_width
        self.spec = replace(spec, arch=self.arch, width=self.width)

    def layers(self, x: Tensor) -> Tensor:
        """The network proper, on sides as :func:`inner_size` gives them."""
        raise NotImplementedError

    @property
    def styles(self) -> int:
        """How many styles it holds."""
        tables = [table for _, table in self.tables()]
        return len(tables[0]) if tables and tables[0].ndim == 2 else 1

    def tables(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and numbers of all that each style has of its own: (C,), or (S, C) for S styles.

        These are the scales and shifts of instance norms, and the strengths of noise.
        """
        if self.spec.norm != "in":
            return
        for name, module in self.named_modules():
            if isinstance(module, InstanceNorm):
                yield f"{name}.weight", module.weight
                yield f"{name}.bias", module.bias
            elif isinstance(module, Noise):
                yield f"{name}.strength", module.strength

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

    def use_seed(self, seed: int) -> "Generator":
        """Take another seed of the noise, 0 to 2^31 - 1, in place; models are saved without."""
        for _, module in self._noises():
            module.seed.fill_(seed)
        return self

    def _noises(self) -> Iterator[tuple[str, Noise]]:
        for name, module in self.named_modules():
            if isinstance(module, Noise):
                yield name, module

    def forward(
        self,
        photos: Tensor,
        styles: Tensor | None = None,
        seeds: Tensor | None = None,
        *,
        chosen: bool = False,
    ) -> Tensor:
        """Stylize photos.

        Args:
            photos: (N, 3, H, W) RGB in [0, 1], any H and W.
            styles: (N,) which style for which photo, if it holds several.
            seeds: (N,) int64, of each photo's noise; None is the one of :meth:`use_seed`.
            chosen: of its own call to itself: each photo's style is in the tables.

        Returns:
            (N, 3, H, W) RGB around [0, 1]; values outside are to be clipped when saved.

        Raises:
            ValueError: it holds several styles, and none was chosen.
        """
        if styles is None and self.styles > 1 and not chosen:
            raise ValueError(f"the generator holds {self.styles} styles: say which for each photo")
        own: dict[str, Tensor] = {}
        if styles is not None and self.styles > 1:
            own |= {name: table[styles] for name, table in self.tables()}
        if seeds is not None:
            own |= {f"{name}.seed": seeds for name, _ in self._noises()}
        if own:
            painted: Tensor = functional_call(self, own, (photos,), {"chosen": True})
            return painted
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
    conv = ReflectConv2d(inputs, outputs, kernel, stride, bias=norm == "none")
    return nn.Sequential(conv, build_norm(norm, outputs))


def _activation(name: str) -> nn.Module:
    return nn.ReLU(inplace=True) if name == "relu" else nn.LeakyReLU(0.01, inplace=True)


class ResidualBlock(nn.Module):
    """Two convolutions, added to what went in; then noise, if any."""

    def __init__(self, channels: int, spec: GeneratorSpec, noise: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _conv(channels, channels, 3, spec.norm),
            _activation(spec.activation),
            _conv(channels, channels, 3, spec.norm),
        )
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return self.noise(x + self.branch(x))  # type: ignore[no-any-return]


class ResidualGenerator(Generator):
    """Johnson et al. 2016, supplement: ``c9s1-w, d2w, d4w, R4w x 5, u2w, uw, c9s1-3``.

    Departs from the paper as its authors' released code and later practice do: reflection
    padding everywhere, and nearest upsampling + convolution in place of transposed convolution
    (no checkerboard). Noise, if any, follows every layer but the last two, at 1/1, 1/2 and 1/4.
    """

    arch = "residual"
    default_width = 16

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        w, norm, layers = self.width, spec.norm, count()

        def noise(channels: int) -> nn.Module:
            return Noise(channels, next(layers)) if spec.noise != "none" else nn.Identity()

        def activated(channels: int) -> nn.Module:
            activation = _activation(spec.activation)
            return (
                activation if spec.noise == "none" else nn.Sequential(activation, noise(channels))
            )

        self.body = nn.Sequential(
            *(_conv(3, w, 9, norm), activated(w)),
            *(_conv(w, 2 * w, 3, norm, stride=2), activated(2 * w)),
            *(_conv(2 * w, 4 * w, 3, norm, stride=2), activated(4 * w)),
            *(ResidualBlock(4 * w, spec, noise(4 * w)) for _ in range(5)),
            *(Upsample(spec.upsampling), _conv(4 * w, 2 * w, 3, norm), activated(2 * w)),
            *(Upsample(spec.upsampling), _conv(2 * w, w, 3, norm), _activation(spec.activation)),
            ReflectConv2d(w, 3, 9),
        )

    def layers(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, H, W), H and W multiples of 4."""
        return self.body(x)  # type: ignore[no-any-return]


class PyramidGenerator(Generator):
    """Ulyanov et al. 2016 ("Texture Networks").

    Six scales of the photo, 1/32 to 1, each through its own three convolutions, joined from
    the smallest up. Their 2017 code, with instance norm, uses no noise, and that is the default
    here; with it, each scale gets a plane, added where their 2016 code concatenates three.
    """

    arch = "pyramid"
    default_width = 8
    scales = (32, 16, 8, 4, 2, 1)

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        width, norm, layers = self.width, spec.norm, count()

        def branch() -> nn.Sequential:
            convs = _three_convs(3, width, spec)
            return convs.append(Noise(width, next(layers))) if spec.noise != "none" else convs

        joined = [width * (i + 1) for i in range(len(self.scales))]
        self.branches = nn.ModuleList(branch() for _ in self.scales)
        # Both sides of a join are normalized first, or the larger would drown the other.
        self.norms_below = nn.ModuleList(build_norm(norm, c) for c in joined[:-1])
        self.norms_beside = nn.ModuleList(build_norm(norm, width) for _ in joined[:-1])
        self.joins = nn.ModuleList(_three_convs(c, c, spec) for c in joined[1:])
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


def _three_convs(inputs: int, outputs: int, spec: GeneratorSpec) -> nn.Sequential:
    return nn.Sequential(
        *(_conv(inputs, outputs, 3, spec.norm), _activation(spec.activation)),
        *(_conv(outputs, outputs, 3, spec.norm), _activation(spec.activation)),
        *(_conv(outputs, outputs, 1, spec.norm), _activation(spec.activation)),
    )


ARCHS: dict[str, type[Generator]] = {one.arch: one for one in (ResidualGenerator, PyramidGenerator)}


def build_generator(spec: GeneratorSpec) -> Generator:
    """The network that a spec describes, freshly initialized from torch's random state.

    Raises:
        StyleCliError: the spec names an unknown architecture, norm, output, noise, upsampling or
            activation, or a bad width.
    """
    spec.check()
    return ARCHS[spec.arch](spec)
