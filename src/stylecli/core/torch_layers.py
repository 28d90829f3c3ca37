"""The layers of generators in torch: norms, noise, convolutions with their padding, upsampling.

Under autocast, torch pads and enlarges in float32, and the gradient of its padding is slow: with
these layers a training step of the generator takes a fifth less time on a CPU.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.architectures.layers import noise_plane, upsampling_taps
from stylecli.core.spec import EPSILON

# A new network has this strength of noise, times a normal number for each channel. Found by trial.
_NOISE_STRENGTH = 0.2


class ReflectConv2d(nn.Conv2d):
    """A convolution that keeps sides as they are; beyond its edges an image is mirrored."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H / stride, W / stride)."""
        return super().forward(pad(x, self.kernel_size[0] // 2, "reflect"))


class UpsampleConv2d(nn.Conv2d):
    """Twice the size, then a convolution of 3 x 3, beyond whose edges the image is continued.

    Both are linear, so that they are one convolution of the small image, with four outputs for
    each channel: the four pixels that each pixel becomes. On a CPU, its gradient takes a third to
    a fifth of the time that the two take one after the other.

    Args:
        inputs: channels.
        outputs: channels.
        mode: ``nearest`` or ``bilinear``.
        bias: whether there is one.
    """

    def __init__(self, inputs: int, outputs: int, mode: str, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)
        self.register_buffer("taps", torch.tensor(upsampling_taps(mode)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', 2 H, 2 W)."""
        return self.of_padded(pad(x, 1, "replicate"))

    def of_padded(self, x: Tensor) -> Tensor:
        """(N, C, H + 2, W + 2), an image and a margin of 1 px, to (N, C', 2 H, 2 W)."""
        taps = self.get_buffer("taps")
        with torch.autocast(x.device.type, enabled=False):
            four = torch.einsum("oiyx,pya,qxb->opqiab", self.weight, taps, taps)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        if not torch.is_autocast_enabled(x.device.type):
            bias = None if bias is None else bias.to(x.dtype)
            four = four.to(x.dtype)
        return F.pixel_shuffle(F.conv2d(x, four.flatten(0, 2), bias), 2)


def upsample(x: Tensor) -> Tensor:
    """Each pixel becomes four: (N, C, H, W) to (N, C, 2 H, 2 W)."""
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, scale_factor=2, mode="nearest")


def pad(x: Tensor, margin: int, mode: str) -> Tensor:
    """``x`` with a margin on each side, mirrored (``reflect``) or its edge (``replicate``)."""
    if not margin:
        return x
    if x.requires_grad or torch.is_autocast_enabled(x.device.type):
        with_margin: Tensor = _Padding.apply(x, margin, mode)
        return with_margin
    return F.pad(x, (margin,) * 4, mode=mode)


class _Padding(torch.autograd.Function):
    """``F.pad`` in the number format of its input; backward, each row and column in one sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, margin: int, mode: str) -> Tensor:
        ctx.margin, ctx.mode = margin, mode
        with torch.autocast(x.device.type, enabled=False):
            return F.pad(x, (margin,) * 4, mode=mode)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        padded, margin = gradients[0].clone(), ctx.margin
        for axis in (2, 3):
            last = padded.shape[axis] - 1
            for i in range(1, margin + 1):
                inside = margin + i if ctx.mode == "reflect" else margin
                padded.select(axis, inside).add_(padded.select(axis, margin - i))
                padded.select(axis, last - inside).add_(padded.select(axis, last - margin + i))
        return padded[:, :, margin:-margin, margin:-margin], None, None


class Noise(nn.Module):
    """Adds a plane of fixed noise, times a learned strength for each channel.

    The strengths are (C,); or, for S styles, (S, C), a row for each style.

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

    def forward(
        self, x: Tensor, styles: Tensor | None = None, seeds: Tensor | None = None
    ) -> Tensor:
        """Add noise to feature maps.

        Args:
            x: (N, C, H, W).
            styles: (N,) which style for which image, if there are several.
            seeds: (N,) int64, of each image's noise; None is the one of :attr:`seed`.
        """
        strength = self.strength if self.strength.ndim == 1 else self.strength[styles]
        return self._add(x, 0, strength, self.seed if seeds is None else seeds)

    def add_to_rows(self, x: Tensor, top: int) -> Tensor:
        """Add noise to some rows of a map, (N, C, rows, W), of which ``top`` is the first."""
        return self._add(x, top, self.strength, self.seed)

    def _add(self, x: Tensor, top: int, strength: Tensor, seeds: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows = torch.arange(top, top + height, device=x.device)[:, None]  # (rows, 1)
        columns = torch.arange(width, device=x.device)
        plane = noise_plane(rows, columns, self.layer, seeds.view(-1, 1, 1, 1))
        strength = strength.view(-1, x.shape[1], 1, 1)
        return torch.addcmul(x, strength.to(x.dtype), plane.to(x.dtype))  # (N, C, rows, W)


class InstanceNorm(nn.InstanceNorm2d):
    """Normalizes each image by its own mean and variance (Ulyanov et al. 2017, eq. 4).

    It keeps no running statistics: with them, ``.eval()`` would silently stop normalizing each
    image by itself. The paper applies the norm "in training and at test time".

    The learned scale and shift are (C,); or, for S styles, (S, C), a row for each style:
    conditional instance normalization (Dumoulin et al. 2017, eq. 5).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON, affine=True, track_running_stats=False)

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        """Normalize feature maps.

        Args:
            x: (N, C, H, W).
            styles: (N,) which style for which image, if there are several.
        """
        if self.weight.ndim == 1:
            return super().forward(x)
        assert styles is not None
        # torch has no instance norm with a scale for each image. Batch norm has, if all planes of
        # all images are passed as the channels of one image.
        planes = x.reshape(1, -1, *x.shape[2:])  # (1, N·C, H, W)
        scale, shift = self.weight[styles].flatten(), self.bias[styles].flatten()  # (N·C,)
        return F.batch_norm(planes, None, None, scale, shift, True, 0.0, self.eps).view_as(x)


def build_norm(name: str, channels: int) -> nn.Module:
    """The layer that normalizes ``channels`` feature maps, by its name in a checked spec.

    ``in`` normalizes each image by its own mean and variance, in training and at test time.
    ``bn`` normalizes by those of the batch in training, and by running statistics in ``.eval()``.
    ``none`` changes nothing.
    """
    if name == "in":
        return InstanceNorm(channels)
    return nn.BatchNorm2d(channels, eps=EPSILON) if name == "bn" else nn.Identity()


def use_batch_statistics(network: nn.Module) -> nn.Module:
    """Change a network in place, so that batch norm uses the batch's statistics in ``.eval()`` too.

    An early release of the paper's code did so: its "batch norm" pictures of one image were made
    with that image's own statistics.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
            module.track_running_stats = False
    return network
