"""The normalization layers of the generators, by name: the paper's one question."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.spec import EPSILON, NORMS
from stylecli.errors import StyleCliError, choose_from


class InstanceNorm(nn.InstanceNorm2d):
    """Each image by its own mean and variance (Ulyanov et al. 2017, eq. 4).

    No running statistics: with them, ``.eval()`` would silently stop normalizing each image by
    itself. The paper applies the norm "in training and at test time".

    Its learned scale and shift are (C,); or, while several styles are trained, (N, C), one row
    for each image: conditional instance normalization (Dumoulin et al. 2017, eq. 5).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON, affine=True, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        if self.weight.ndim == 1:
            return super().forward(x)
        # All planes of all images as the channels of one: the norm is the same, and fused.
        planes = x.reshape(1, -1, *x.shape[2:])  # (1, N·C, H, W)
        scale, shift = self.weight.flatten(), self.bias.flatten()
        return F.batch_norm(planes, None, None, scale, shift, True, 0.0, self.eps).view_as(x)


def _batch_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=EPSILON)


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "in": InstanceNorm,
    "bn": _batch_norm,
    "none": _no_norm,
}


def build_norm(name: str, channels: int) -> nn.Module:
    """The layer that normalizes ``channels`` feature maps.

    ``in``: each image by its own mean and variance, in training and at test time. ``bn``: by the
    batch's in training, by running statistics in ``.eval()``. ``none``: not at all.

    Raises:
        StyleCliError: there is no norm of that name.
    """
    if name not in NORMS:
        raise StyleCliError(f"unknown norm {name!r}", hint=choose_from(name, NORMS))
    return _LAYERS[name](channels)


def use_batch_statistics(network: nn.Module) -> nn.Module:
    """Let batch norm normalize by the batch at hand at test time too, in place.

    An early release of the paper's code did so: its "batch norm" pictures of one image were made
    with that image's own statistics.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = None
            module.track_running_stats = False
    return network
