"""The objective of a training, of the slow optimization and of a comparison, and its terms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylecli.core.vgg import LossNetwork, load_loss_network

if TYPE_CHECKING:  # it holds the settings of an objective, and lies above the core
    from stylecli.config import ObjectiveConfig

BALANCE_PHOTOS = 16  # enough for a steady balance

# For photos as they are, the style term is this many times the content energy, whatever the style
# image. At 40, The Starry Night gets about the content : style of 1 : 5 of Johnson et al.
_STYLE_TO_CONTENT = 40.0
# The content energy of photos in Oxford's VGG-16 at 256 px (measured: 1.6e5 to 2.2e5), for which
# the weight of the total variation is meant.
_USUAL_ENERGY = 2e5


@dataclass(frozen=True)
class Scales:
    """Factors that give every style image and every loss network the same balance of terms.

    Attributes:
        style: of the style loss, one for each style image.
        tv: of the total variation.
    """

    style: tuple[float, ...]
    tv: float

    def as_json(self) -> dict[str, list[float]]:
        """The form in which model files and checkpoints hold them."""
        return {"style": list(self.style), "tv": [self.tv]}

    @classmethod
    def from_json(cls, saved: Mapping[str, Sequence[float]]) -> "Scales":
        """From the form of :meth:`as_json`.

        Raises:
            KeyError, ValueError: they are not all there.
        """
        (tv,) = saved["tv"]
        return cls(tuple(saved["style"]), tv)


class PerceptualObjective:
    """Content loss + style loss + total variation of stylized images.

    ``content``: mean squared difference of features at one layer from those of the photo.
    ``style``: mean squared difference of Gram matrices from those of the style image, summed over
    layers. Each term is returned weighted, so that they add up to ``total``.

    Source: Johnson et al. 2016, eq. 1 to 5.

    Args:
        network: the loss network, see :func:`prepare_network`.
        targets: layer to (S, C, C), the Gram matrices of S style images, see
            :func:`style_targets`.
        scales: the balance of the terms, see :func:`balance`.
        settings: the content layer and the weights.

    Raises:
        ValueError: there are not as many scales as style images.
    """

    def __init__(
        self,
        network: LossNetwork,
        targets: Mapping[str, Tensor],
        scales: Scales,
        settings: "ObjectiveConfig",
    ) -> None:
        if any(len(target) != len(scales.style) for target in targets.values()):
            raise ValueError(f"{len(scales.style)} scales for another number of style images")
        self.network, self.targets, self.scales, self.settings = network, targets, scales, settings
        device = next(iter(targets.values())).device
        self._style_scales = torch.tensor(scales.style, device=device)  # (S,)

    @torch.no_grad()
    def content_target(self, photos: Tensor) -> Tensor:
        """The features that the stylized photos are to keep: (N, C, H', W'), no gradient."""
        layer = self.settings.content_layer
        features: dict[str, Tensor] = self.network(photos, (layer,))
        return features[layer]

    def __call__(
        self, stylized: Tensor, content: Tensor, styles: Sequence[int] = (0,)
    ) -> dict[str, Tensor]:
        """The weighted terms and their ``total``, each a scalar: a mean over the batch.

        Args:
            stylized: (N, 3, H, W) RGB around [0, 1].
            content: what :meth:`content_target` gave for the photos.
            styles: which style image for which stylized one: N of them, or one for all.
        """
        settings = self.settings
        features = self.network(stylized, (settings.content_layer, *self.targets))
        rows = torch.tensor(list(styles), device=stylized.device)  # (N,) or (1,)
        style = self._style_scales[rows] * style_losses(features, self.targets, rows)  # (N,)
        content_term = content_loss(features[settings.content_layer], content)
        terms = {
            "content": settings.content_weight * content_term,
            "style": settings.style_weight * style.mean(),
            "tv": settings.tv_weight * self.scales.tv * total_variation(stylized),
        }
        return {**terms, "total": torch.stack(list(terms.values())).sum()}


def prepare_network(
    settings: "ObjectiveConfig", device: torch.device, dtype: torch.dtype
) -> LossNetwork:
    """The loss network that settings name, ready for use; it may be downloaded.

    Raises:
        StyleCliError: there is no such network, or it has no layer of that name.
    """
    network = load_loss_network(settings.loss_net)
    network.check_layers((settings.content_layer, *settings.style_layers))
    return network.prepare(device, dtype, settings.loss_padding)


def build_objective(
    settings: "ObjectiveConfig",
    network: LossNetwork,
    style_images: Sequence[Tensor],
    balance_with: Tensor | Scales,
    watch: Callable[[float], None] = lambda done: None,
) -> PerceptualObjective:
    """The objective for one style image or several.

    Args:
        settings: layers and weights.
        network: the loss network, see :func:`prepare_network`.
        style_images: each (1, 3, H, W) RGB in [0, 1]; its size sets the size of the strokes.
        balance_with: photos, (N, 3, H, W) RGB in [0, 1], to balance the terms on; or the scales
            that an earlier balance gave.
        watch: see :func:`balance`.
    """
    targets = style_targets(network, style_images, settings.style_layers)
    if isinstance(balance_with, Scales):
        scales = balance_with
    else:
        scales = balance(network, targets, settings.content_layer, balance_with, watch)
    return PerceptualObjective(network, targets, scales, settings)


@torch.no_grad()
def style_targets(
    network: LossNetwork, style_images: Sequence[Tensor], layers: tuple[str, ...]
) -> dict[str, Tensor]:
    """The Gram matrices of S style images, each (1, 3, H, W): layer to (S, C, C)."""
    grams: dict[str, list[Tensor]] = {name: [] for name in layers}
    for image in style_images:
        for name, features in network(image, layers).items():
            grams[name].append(gram_matrix(features))
    return {name: torch.cat(of_each) for name, of_each in grams.items()}


@torch.no_grad()
def balance(
    network: LossNetwork,
    targets: Mapping[str, Tensor],
    content_layer: str,
    photos: Tensor,
    watch: Callable[[float], None] = lambda done: None,
) -> Scales:
    """The scales with which every style image and loss network starts from the same balance.

    The Gram matrices of style images differ in size, so that a weight which suits one does not
    suit another. Therefore the style loss of photos as they are is put into a fixed ratio to
    their content energy, the mean of their squared features. That energy differs between loss
    networks, and the total variation is scaled along with it.

    Args:
        network: the loss network.
        targets: layer to (S, C, C), see :func:`style_targets`.
        content_layer: whose features the energy is computed from.
        photos: (N, 3, H, W) RGB in [0, 1]; the more, the steadier the balance.
        watch: is called before each photo with the share that is done: on a CPU, all take seconds.
    """
    energies, losses = [], []
    count = len(next(iter(targets.values())))
    styles = torch.arange(count, device=photos.device)
    for i, photo in enumerate(photos):  # all at once would take more memory than a training
        watch(i / len(photos))
        features = network(photo[None], (content_layer, *targets))
        energies.append(features[content_layer].float().square().mean())
        losses.append(style_losses(features, targets, styles))  # (S,)
    energy = torch.stack(energies).mean()
    ratios = energy / torch.stack(losses).mean(0)  # (S,)
    style = (_STYLE_TO_CONTENT * ratios).tolist()
    return Scales(tuple(style), float(energy) / _USUAL_ENERGY)


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
