"""The feed-forward generators in torch: they stylize a photo in one pass."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.architectures import architecture_of, inner_size, pads_by_reflection
from stylecli.core.architectures.layers import ChannelCounts
from stylecli.core.spec import (
    GRAY,
    INPUT_GAIN,
    LAST_LAYER_GAIN,
    OUTPUT_RANGE,
    GeneratorSpec,
)
from stylecli.core.torch_layers import (
    InstanceNorm,
    Noise,
    ReflectConv2d,
    UpsampleConv2d,
    build_norm,
    upsample,
)
from stylecli.errors import StyleCliError


class Generator(nn.Module):
    """A generator of any architecture, of one style or of several.

    A generator of several styles has a row for each of them in every instance norm (scales and
    shifts) and in every noise (strengths); all else is shared (Dumoulin et al. 2017). A weighted
    mean of rows is a style too.

    Args:
        spec: which network; a width of None is the architecture's own.

    Attributes:
        spec: the given spec, with a number as its width.

    Raises:
        StyleCliError: the spec names what there is not.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.architecture = architecture_of(spec)
        self.spec = replace(spec, width=spec.width or self.architecture.width)
        self.architecture.build(_Builder(self), 3, self.spec)

    @property
    def width(self) -> int:
        """Channels of the first layer."""
        assert self.spec.width is not None
        return self.spec.width

    def layers(
        self, x: Tensor, styles: Tensor | None = None, seeds: Tensor | None = None
    ) -> Tensor:
        """Run the layers alone, without padding and without the conventions of range.

        Args:
            x: (N, 3, H, W) as :meth:`to_input` gives, with sides as :func:`inner_size` gives.
            styles: (N,) which style for which image, if it holds several.
            seeds: (N,) of each image's noise; None is the one of :meth:`use_seed`.

        Returns:
            (N, 3, H, W), for :meth:`to_rgb_range`.
        """
        z: Tensor = self.architecture.build(_Runner(self, styles, seeds), x, self.spec)
        return z

    @property
    def styles(self) -> int:
        """How many styles it holds."""
        tables = [table for _, table in self.tables()]
        return len(tables[0]) if tables and tables[0].ndim == 2 else 1

    def tables(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What each style has of its own, by name: (C,) each, or (S, C) for S styles.

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
            mixes: (K, S) shares. A row with a single 1 is a style as it is. With K = 1, what
                remains is an ordinary generator of one style.

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
        groups = [getattr(module, "process_group", None) for module in self.modules()]
        shared = {id(group): group for group in groups}  # of processes: these cannot be copied
        return deepcopy(self, shared).remix(mix[None])

    def use_seed(self, seed: int) -> "Generator":
        """Use another seed of the noise, 0 to 2^31 - 1, in place; model files do not hold it."""
        for module in self.modules():
            if isinstance(module, Noise):
                module.seed.fill_(seed)
        return self

    def forward(
        self, photos: Tensor, styles: Tensor | None = None, seeds: Tensor | None = None
    ) -> Tensor:
        """Stylize photos.

        Args:
            photos: (N, 3, H, W) RGB in [0, 1], any H and W.
            styles: (N,) which style for which photo, if it holds several.
            seeds: (N,) int64, of each photo's noise; None is the one of :meth:`use_seed`.

        Returns:
            (N, 3, H, W) RGB around [0, 1]; values outside are to be clipped when saved.

        Raises:
            ValueError: it holds several styles, and none was chosen.
        """
        if styles is None and self.styles > 1:
            raise ValueError(f"the generator holds {self.styles} styles: say which for each photo")
        height, width = photos.shape[-2:]
        z = self.layers(self.to_input(self._pad(photos)), styles, seeds)
        return self.to_rgb_range(z[..., :height, :width])

    def to_input(self, photos: Tensor) -> Tensor:
        """RGB in [0, 1] to the range that the first layer expects."""
        return (photos - GRAY) * INPUT_GAIN

    def to_rgb_range(self, z: Tensor) -> Tensor:
        """The output of the last layer to RGB around [0, 1], in float32."""
        z = z.float()  # in a sky, the few digits of bfloat16 would show as bands
        return GRAY + OUTPUT_RANGE * (LAST_LAYER_GAIN * z)

    def _pad(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        down, across = inner_size(self.spec.arch, height, width)
        mode = "reflect" if pads_by_reflection(self.spec.arch, height, width) else "replicate"
        return F.pad(x, (0, across - width, 0, down - height), mode=mode)


class _Builder(ChannelCounts):
    """Makes the layers of a generator and adds them to it."""

    def __init__(self, generator: Generator) -> None:
        self.generator, self.spec = generator, generator.spec

    def _put(self, name: str, module: nn.Module) -> None:
        *folders, last = name.split(".")
        place: nn.Module = self.generator
        for folder in folders:
            if folder not in place._modules:
                place.add_module(folder, nn.Module())
            place = place.get_submodule(folder)
        place.add_module(last, module)

    def conv(self, x: int, name: str, channels: int, kernel: int, stride: int = 1) -> int:
        # Where a norm follows, it would subtract the bias again.
        bias = self.spec.norm == "none"
        self._put(name, ReflectConv2d(x, channels, kernel, stride, bias=bias))
        return channels

    def upsample_conv(self, x: int, name: str, channels: int, mode: str) -> int:
        bias = self.spec.norm == "none"
        self._put(name, UpsampleConv2d(x, channels, mode, bias=bias))
        return channels

    def to_rgb(self, x: int, name: str, kernel: int) -> int:
        self._put(name, ReflectConv2d(x, 3, kernel))
        return 3

    def norm(self, x: int, name: str) -> int:
        self._put(name, build_norm(self.spec.norm, x))
        return x

    def noise(self, x: int, name: str, layer: int) -> int:
        if self.spec.noise != "none":
            self._put(name, Noise(x, layer))
        return x


class _Runner:
    """Runs the layers of a generator on tensors, each image in its style and with its seed."""

    def __init__(self, generator: Generator, styles: Tensor | None, seeds: Tensor | None) -> None:
        self.layer, self.spec = generator.get_submodule, generator.spec
        self.styles, self.seeds = styles, seeds

    def conv(self, x: Tensor, name: str, *_: Any, **__: Any) -> Tensor:
        return self.layer(name)(x)  # type: ignore[no-any-return]

    upsample_conv = to_rgb = conv

    def norm(self, x: Tensor, name: str) -> Tensor:
        norm = self.layer(name)
        y: Tensor = norm(x, self.styles) if isinstance(norm, InstanceNorm) else norm(x)
        return y

    def noise(self, x: Tensor, name: str, layer: int) -> Tensor:
        return x if self.spec.noise == "none" else self.layer(name)(x, self.styles, self.seeds)

    def activation(self, x: Tensor) -> Tensor:
        return F.relu_(x)

    def upsample(self, x: Tensor) -> Tensor:
        return upsample(x)

    def pool(self, x: Tensor, scale: int) -> Tensor:
        return F.avg_pool2d(x, scale)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def concatenate(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, y], dim=1)
