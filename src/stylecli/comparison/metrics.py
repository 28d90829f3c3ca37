"""The metrics of a comparison, of pictures in [0, 1]."""

import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stylecli.core.objective import PerceptualObjective, style_targets
from stylecli.core.vgg import LossNetwork

Grams = dict[str, Tensor]  # layer to (1, C, C)
Paint = Callable[[Tensor], Tensor]  # (N, 3, H, W) RGB in [0, 1] to the same

CONTRASTS = (0.5, 0.25)
STYLE_SCALES = (1, 2, 4)  # by how much an image is scaled down

_STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
_ROUNDS = 7  # in which networks are timed


def with_contrast(photo: Tensor, contrast: float) -> Tensor:
    """A photo (1, 3, H, W) with contrast c around its mean color m: ``m + c (x - m)``."""
    mean = photo.mean((2, 3), keepdim=True)
    return mean + contrast * (photo - mean)


def pixel_distance(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference of two images, on a scale of 0..255."""
    return float((one - other).abs().mean() * 255)


def feature_distance(one: Tensor, other: Tensor) -> float:
    """``|a - b|² / |a|²``, of the content layer's features a and b of two images."""
    a, b = one.float(), other.float()
    return float((a - b).square().sum() / a.square().sum())


def contrast_sensitivity(
    paint: Paint, photo: Tensor, objective: PerceptualObjective
) -> dict[str, dict[str, float]]:
    """How far a stylized photo moves when the photo loses contrast (Ulyanov et al. 2017, sec. 2).

    Args:
        paint: the generator.
        photo: (1, 3, H, W) RGB in [0, 1].
        objective: its loss network computes the features.

    Returns:
        Contrast to ``pixels``, :func:`pixel_distance`, and ``features``, :func:`feature_distance`,
        between the stylization of the photo and that of the paler photo.
    """
    whole = paint(photo)
    features = objective.content_target(whole)
    distances = {}
    for contrast in CONTRASTS:
        pale = paint(with_contrast(photo, contrast))
        distances[f"{contrast:g}"] = {
            "pixels": pixel_distance(whole, pale),
            "features": feature_distance(features, objective.content_target(pale)),
        }
    return distances


def batch_dependence(paint: Paint, photo: Tensor, batches: list[Tensor]) -> float:
    """How far a stylized photo moves with what else is in its batch.

    Args:
        paint: the generator.
        photo: (1, 3, H, W) RGB in [0, 1].
        batches: other photos to share a batch with it, (N, 3, H, W) each.

    Returns:
        The largest :func:`pixel_distance` between the photo stylized alone and in a batch.
    """
    alone = paint(photo)
    together = [paint(torch.cat([photo, others]))[:1] for others in batches]
    return max(pixel_distance(alone, one) for one in together)


def grams_at_scales(image: Tensor, network: LossNetwork) -> tuple[Grams, ...]:
    """The Gram matrices of an image scaled down by 1, 2 and 4, for :func:`style_at_scales`.

    Memory and time grow with the image: the features of the first layer take 256 bytes a pixel, and
    twice as much while they are computed. So a large image has to be scaled down before.

    Args:
        image: (1, 3, H, W) RGB in [0, 1], each side of 32 px at least.
        network: Oxford's VGG-16 in float32, zeros beyond the edges.
    """
    return tuple(
        style_targets(network, [F.avg_pool2d(image, by)], _STYLE_LAYERS) for by in STYLE_SCALES
    )


def style_at_scales(
    picture: Sequence[Grams], painting: Sequence[Grams], photo: Sequence[Grams]
) -> tuple[float, ...]:
    """How far a picture is from a painting in style, at each of three scales.

    ``Σ mean (G(y) - G(s))² / mean G(s)²``, summed over layers, as a share of what the photo has: 0
    is the painting's style, 1 that of the untouched photo. A texture that looks like the painting
    only in its smallest strokes is near it at scale 1 and far from it at the others.

    Args:
        picture: the Gram matrices of the stylized image, from :func:`grams_at_scales`.
        painting: of the painting, scaled so that its long side is the picture's.
        photo: of the content image, of the picture's size.
    """
    return tuple(
        _style_distance(y, s) / _style_distance(x, s)
        for y, s, x in zip(picture, painting, photo, strict=True)
    )


def _style_distance(image: Grams, painting: Grams) -> float:
    """The squared difference of Gram matrices over the painting's own, summed over layers."""
    return sum(
        float((image[name] - target).square().mean() / target.square().mean())
        for name, target in painting.items()
    )


def time_networks(paints: Sequence[Paint], photo: Tensor) -> list[float]:
    """The shortest time of each of several networks for one photo.

    They take turns, so that other work of the machine slows all of them alike. A first round warms
    up and does not count.
    """
    times: list[list[float]] = [[] for _ in paints]
    for _ in range(1 + _ROUNDS):
        for paint, of_one in zip(paints, times, strict=True):
            began = time.perf_counter()
            paint(photo).cpu()  # waits until a GPU is done
            of_one.append(time.perf_counter() - began)
    return [1000 * min(of_one[1:]) for of_one in times]


def steps_to_reach(totals: list[float], total: float) -> int | None:
    """After how many steps an objective has reached ``total``; None if it never did.

    Args:
        totals: the objective after 0, 1, 2 … steps.
        total: the objective to reach.
    """
    return next((step for step, value in enumerate(totals) if value <= total), None)
