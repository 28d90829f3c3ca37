"""What training, the slow optimization and evaluation all minimize: one objective."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylecli.core.vgg import LossNetwork

# Untouched photos stand in this relation to every painting: style term = this × content energy.
# At 40, The Starry Night gets about Johnson's content : style of 1 : 5.
_STYLE_TO_CONTENT = 40.0
# The content energy of photos in Oxford's VGG-16 at 256 px (measured: 1.6e5 to 2.2e5), for which
# the weight of the TV term is meant.
_USUAL_ENERGY = 2e5


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, ``F Fᵀ / (C H W)``, in float32.

    Half-precision sums over a whole feature map overflow or lose digits.

    Args:
        features: (N, C, H, W).

    Returns:
        (N, C, C).

    Source: Gatys et al. 2016, eq. 3, with Johnson's normalization.
    """
    gram: Tensor = _Gram.apply(features)
    return gram


class _Gram(torch.autograd.Function):
    """Knows that ``F Fᵀ`` is symmetric: half of the gradient's arithmetic, and none of its sums.

    The features are taken in the layout that they have in memory, channels last: no copy.
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
    """Mean squared difference of neighbouring pixels, on a scale of 0..255.

    Johnson's 1e-6 on the sum over a 256-pixel photo is a weight of 0.2 on this mean.

    Args:
        images: (N, 3, H, W) RGB in [0, 1].
    """
    x = images.float() * 255
    down, right = x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]
    return (down.square().sum() + right.square().sum()) / x.numel()


@dataclass(frozen=True)
class Weights:
    """How the terms are weighted. The style's 1 means: balanced for the painting.

    Attributes:
        content: factor of the content loss.
        style: factor of the style loss.
        tv: factor of the total variation.
    """

    content: float
    style: float
    tv: float


class PerceptualObjective(nn.Module):
    """Content loss + style loss + total variation of stylized images.

    ``content``: mean squared difference of features at one layer from the photo's. ``style``:
    mean squared difference of Gram matrices from the painting's, summed over layers. Each term
    comes weighted, so that they add up to ``total``.

    Source: Johnson et al. 2016, eq. 1 to 5.

    Args:
        network: the loss network.
        paintings: one or several, each (1, 3, H, W) RGB in [0, 1]; the size of a painting sets
            the size of its strokes.
        content_layer: a layer of the network, such as ``relu3_3``.
        style_layers: layers of the network.
        weights: of the three terms.

    Attributes:
        scales: what a style weight of 1 stands for, for each painting, and what a TV weight of
            1 does; set by :meth:`balance`.

    Raises:
        StyleCliError: the network has no layer of a given name.
    """

    def __init__(
        self,
        network: LossNetwork,
        paintings: Sequence[Tensor],
        content_layer: str,
        style_layers: tuple[str, ...],
        weights: Weights,
    ) -> None:
        super().__init__()
        network.check_layers((content_layer, *style_layers))
        self.network = network
        self.content_layer = content_layer
        self.style_layers = style_layers
        self.weights = weights
        self.scales = {"style": [1.0] * len(paintings), "tv": [1.0]}
        with torch.no_grad():
            grams = [self._grams(network(painting, style_layers)) for painting in paintings]
        self.target_grams = {  # each (S, C, C)
            name: torch.cat([one[name] for one in grams]) for name in style_layers
        }

    @torch.no_grad()
    def content_target(self, photos: Tensor) -> Tensor:
        """The features that the stylized photos are to keep: (N, C, H', W'), no gradient."""
        features: dict[str, Tensor] = self.network(photos, (self.content_layer,))
        return features[self.content_layer]

    @torch.no_grad()
    def balance(self, photos: Tensor) -> None:
        """Set :attr:`scales` so that every painting and loss network starts from one balance.

        A style weight is not portable between paintings: their Gram matrices differ in size. So
        the style loss of untouched photos is put into a fixed ratio to their content energy.
        That energy differs between loss networks, and total variation has to follow it.

        Args:
            photos: (N, 3, H, W) RGB in [0, 1]; more photos, steadier balance.
        """
        energies, style_losses = [], []
        for photo in photos:  # at once they would take more memory than a training
            features = self.network(photo[None], (self.content_layer, *self.style_layers))
            energies.append(features[self.content_layer].float().square().mean())
            paintings = range(len(self.scales["style"]))
            style_losses.append(torch.cat([self._style_losses(features, [i]) for i in paintings]))
        energy = torch.stack(energies).mean()
        ratios = energy / torch.stack(style_losses).mean(0)  # (S,)
        self.scales = {
            "style": (_STYLE_TO_CONTENT * ratios).tolist(),
            "tv": [float(energy) / _USUAL_ENERGY],
        }

    def forward(
        self, stylized: Tensor, content: Tensor, styles: Sequence[int] = (0,)
    ) -> dict[str, Tensor]:
        """The weighted terms and their ``total``, each a scalar: a mean over the batch.

        Args:
            stylized: (N, 3, H, W) RGB around [0, 1].
            content: what :meth:`content_target` gave for the photos.
            styles: which painting for which image: N of them, or one for all.
        """
        features = self.network(stylized, (self.content_layer, *self.style_layers))
        content_loss = F.mse_loss(features[self.content_layer].float(), content.float())
        scales = torch.tensor([self.scales["style"][i] for i in styles], device=stylized.device)
        style_loss = (scales * self._style_losses(features, styles)).mean()
        terms = {
            "content": self.weights.content * content_loss,
            "style": self.weights.style * style_loss,
            "tv": self.weights.tv * self.scales["tv"][0] * total_variation(stylized),
        }
        return {**terms, "total": torch.stack(list(terms.values())).sum()}

    def _style_losses(self, features: Mapping[str, Tensor], styles: Sequence[int]) -> Tensor:
        """Of each image (N,), before any weight."""
        losses = [
            (gram - self.target_grams[name][list(styles)]).square().mean((1, 2))
            for name, gram in self._grams(features).items()
        ]
        return torch.stack(losses).sum(0)

    def _grams(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: gram_matrix(features[name]) for name in self.style_layers}
