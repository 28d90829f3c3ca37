"""The terms of the objective: content and style loss, Gram matrices, total variation."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of features, in float32, a scalar.

    Args:
        features: (N, C, H, W) of the stylized images.
        target: (N, C, H, W) of the photos.

    Source: Johnson et al. 2016, eq. 2.
    """
    # With the channels last, as they lie in memory, the gradient lies there in the same way; in
    # another order, all that it meets further down takes several times as long.
    ours, theirs = (x.permute(0, 2, 3, 1).float() for x in (features, target))  # (N, H, W, C)
    return F.mse_loss(ours, theirs)


def style_losses(
    features: Mapping[str, Tensor], targets: Mapping[str, Tensor], styles: Tensor
) -> Tensor:
    """Mean squared difference of Gram matrices, summed over layers, for each image: (N,).

    Args:
        features: layer to (N, C, H, W) of the stylized images; or of a single one for all styles.
        targets: layer to (S, C, C), the Gram matrices of S style images.
        styles: (N,) which style image for which stylized one; or (1,), one for all.

    Source: Johnson et al. 2016, eq. 4.
    """
    losses = [
        (gram_matrix(features[name]) - target[styles]).square().mean((1, 2))
        for name, target in targets.items()
    ]
    return torch.stack(losses).sum(0)


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, ``F Fᵀ / (C H W)``, in float32.

    In half precision, sums over a whole feature map would overflow or lose digits.

    Args:
        features: (N, C, H, W).

    Returns:
        (N, C, C).

    Source: Gatys et al. 2016, eq. 3, with Johnson's normalization.
    """
    gram: Tensor = _Gram.apply(features)
    return gram


class _Gram(torch.autograd.Function):
    """``F Fᵀ`` with a gradient that takes half of the arithmetic, because ``F Fᵀ`` is symmetric.

    The features lie in memory with the channels last, and are used in that layout: nothing is
    copied.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        flat = features.permute(0, 2, 3, 1).flatten(1, 2).float()  # (N, H·W, C)
        gram: Tensor = flat.mT @ flat / (flat.shape[1] * flat.shape[2])
        return gram

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (features,), (gradient,) = ctx.saved_tensors, gradients
        flat = features.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H·W, C)
        both = (gradient + gradient.mT) / (flat.shape[1] * flat.shape[2])  # (N, C, C)
        back: Tensor = flat @ both.to(flat.dtype)  # (N, H·W, C)
        return back.mT.reshape(features.shape)  # (N, C, H, W)


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighboring pixels, on a scale of 0..255.

    Johnson et al. weight the sum over a photo of 256 px by 1e-6: a weight of 0.2 on this mean.

    Args:
        images: (N, 3, H, W) RGB in [0, 1].
    """
    x = images.float() * 255
    down, right = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
    return (down.square().sum() + right.square().sum()) / x.numel()
