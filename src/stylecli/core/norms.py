"""The normalization layers of the generators, by name: what the paper compares."""

import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.spec import EPSILON


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
