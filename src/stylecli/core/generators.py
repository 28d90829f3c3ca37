"""The feed-forward generators in torch: they stylize a photo in one pass."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.architectures import architecture_of, plan_padding, weight_shapes
from stylecli.core.spec import (
    EPSILON,
    GRAY,
    INPUT_GAIN,
    LAST_LAYER_GAIN,
    OUTPUT_RANGE,
    GeneratorSpec,
)
from stylecli.core.torch_layers import add_noise, instance_norm, pad, upsample, upsample_conv

# A new network has this strength of noise, times a normal number for each channel. Found by trial.
_NOISE_STRENGTH = 0.2


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
        self.seed: Tensor
        self.register_buffer("seed", torch.zeros(1, dtype=torch.int64), persistent=False)
        self._add_layers()

    def _add_layers(self) -> None:
        """Add a module for the weights of each layer; the runner computes with them."""
        shapes = weight_shapes(self.spec, 1)
        for name, shape in shapes.items():
            layer, _, kind = name.rpartition(".")
            if kind == "strength":
                self._put(layer, nn.ParameterDict({kind: _NOISE_STRENGTH * torch.randn(shape)}))
            elif kind == "weight" and len(shape) == 4:
                outputs, inputs, kernel, _ = shape
                bias = f"{layer}.bias" in shapes
                self._put(layer, nn.Conv2d(inputs, outputs, kernel, bias=bias))
            elif kind == "weight" and self.spec.norm == "bn":
                self._put(layer, nn.BatchNorm2d(shape[0], eps=EPSILON))
            elif kind == "weight":
                # It keeps no running statistics: with them, .eval() would silently stop normalizing
                # each image by itself. The paper applies the norm "in training and at test time".
                self._put(layer, nn.InstanceNorm2d(shape[0], eps=EPSILON, affine=True))

    def _put(self, name: str, module: nn.Module) -> None:
        *folders, last = name.split(".")
        place: nn.Module = self
        for folder in folders:
            if folder not in place._modules:
                place.add_module(folder, nn.Module())
            place = place.get_submodule(folder)
        place.add_module(last, module)

    @property
    def styles(self) -> int:
        """How many styles it holds."""
        return max((len(table) for _, table in self.tables() if table.ndim == 2), default=1)

    def tables(self) -> list[tuple[str, nn.Parameter]]:
        """What each style has of its own, by name: (C,) each, or (S, C) for S styles.

        These are the scales and shifts of instance norms, and the strengths of noise.
        """
        if self.spec.norm != "in":
            return []
        return [
            (f"{name}.{kind}", table)
            for name, module in self.named_modules()
            if isinstance(module, nn.InstanceNorm2d | nn.ParameterDict)
            for kind, table in module.named_parameters()
        ]

    def remix(self, mixes: Tensor) -> "Generator":
        """Replace its S styles by K mixtures of them, in place.

        Args:
            mixes: (K, S) shares. A row with a single 1 is a style as it is. With K = 1, what
                remains is an ordinary generator of one style.

        Raises:
            StyleCliError: several styles for a generator without instance norm.
        """
        weight_shapes(self.spec, len(mixes))  # raises that error
        for name, table in self.tables():
            owner, _, kind = name.rpartition(".")
            rows = table.detach().reshape(-1, table.shape[-1])  # (S, C)
            mixed = mixes.to(rows) @ rows
            mixed = mixed if len(mixed) > 1 else mixed[0]
            setattr(self.get_submodule(owner), kind, nn.Parameter(mixed))
        return self

    def of_style(self, mix: Tensor) -> "Generator":
        """A copy that paints one style: a mixture (S,) of those it holds."""
        groups = [getattr(module, "process_group", None) for module in self.modules()]
        shared = {id(group): group for group in groups}  # of processes: these cannot be copied
        return deepcopy(self, shared).remix(mix[None])

    def use_seed(self, seed: int) -> "Generator":
        """Use another seed of the noise, 0 to 2^31 - 1, in place; model files do not hold it."""
        self.seed.fill_(seed)
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
        runner = _Runner(self, styles, self.seed if seeds is None else seeds)
        z = self.architecture.build(runner, self.to_input(self._pad(photos)), self.spec)
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
        down, across, mirrors = plan_padding(self.spec.arch, height, width)
        mode = "reflect" if mirrors else "replicate"
        return F.pad(x, (0, across - width, 0, down - height), mode=mode)


class _Runner:
    """Runs the layers of a generator on tensors, each image in its style and with its seed."""

    def __init__(self, generator: Generator, styles: Tensor | None, seeds: Tensor) -> None:
        self.generator, self.styles, self.seeds = generator, styles, seeds

    def conv(self, x: Tensor, name: str, channels: int, kernel: int, stride: int = 1) -> Tensor:
        conv: Any = self.generator.get_submodule(name)
        return F.conv2d(pad(x, kernel // 2, "reflect"), conv.weight, conv.bias, stride)

    def to_rgb(self, x: Tensor, name: str, kernel: int) -> Tensor:
        return self.conv(x, name, 3, kernel)

    def upsample_conv(self, x: Tensor, name: str, channels: int, mode: str) -> Tensor:
        conv: Any = self.generator.get_submodule(name)
        return upsample_conv(pad(x, 1, "replicate"), conv.weight, conv.bias, mode)

    def norm(self, x: Tensor, name: str) -> Tensor:
        if self.generator.spec.norm == "none":
            return x
        norm: Any = self.generator.get_submodule(name)
        if norm.weight.ndim == 2:
            return instance_norm(x, norm.weight[self.styles], norm.bias[self.styles])
        y: Tensor = norm(x)
        return y

    def noise(self, x: Tensor, name: str, layer: int) -> Tensor:
        if self.generator.spec.noise == "none":
            return x
        table = self.generator.get_parameter(f"{name}.strength")
        strength = table if table.ndim == 1 else table[self.styles]
        return add_noise(x, strength, layer, self.seeds)

    activation = staticmethod(F.relu_)
    upsample = staticmethod(upsample)
    pool = staticmethod(F.avg_pool2d)
    add = staticmethod(torch.add)

    def concatenate(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, y], dim=1)
