"""The objective that a config describes, ready on its device."""

from collections.abc import Sequence

import torch

from stylecli.config import ObjectiveConfig
from stylecli.core.losses import PerceptualObjective, Weights
from stylecli.core.tensors import to_tensor
from stylecli.core.vgg import load_loss_network
from stylecli.files.content import ContentPhotos
from stylecli.files.images import Rgb

_BALANCE_PHOTOS = 16


def build_objective(
    config: ObjectiveConfig, paintings: Sequence[Rgb], device: torch.device, dtype: torch.dtype
) -> PerceptualObjective:
    """The objective for one painting or several, not balanced yet.

    Args:
        config: layers, weights and loss network.
        paintings: each (H, W, 3) in 0..255, at the size that sets the strokes.
        device: where to compute.
        dtype: of the loss network's convolutions.

    Raises:
        StyleCliError: there is no such loss network or layer.
    """
    network = load_loss_network(config.loss_net).prepare(device, dtype, config.loss_padding)
    return PerceptualObjective(
        network,
        [to_tensor(painting[None], device) for painting in paintings],
        config.content_layer,
        config.style_layers,
        Weights(config.content_weight, config.style_weight, config.tv_weight),
    )


def balance(
    objective: PerceptualObjective, photos: ContentPhotos, size: int, device: torch.device
) -> None:
    """Balance an objective on the first photos of a series, in crops of ``size`` px."""
    objective.balance(to_tensor(photos.batch(0, _BALANCE_PHOTOS, size), device))
