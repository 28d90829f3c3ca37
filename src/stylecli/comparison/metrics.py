"""The metrics of a comparison: each is a formula, on pictures in [0, 1]."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stylecli.core.objective import PerceptualObjective

Paint = Callable[[Tensor], Tensor]  # (N, 3, H, W) RGB in [0, 1] to the same

CONTRASTS = (0.5, 0.25)


def with_contrast(photo: Tensor, contrast: float) -> Tensor:
    """A photo with its contrast around its mean color multiplied: ``m + c (x - m)``.

    Args:
        photo: (1, 3, H, W) RGB in [0, 1].
        contrast: 1 leaves it as it is, 0 leaves its mean color.
    """
    mean = photo.mean((2, 3), keepdim=True)
    return mean + contrast * (photo - mean)


def pixel_distance(one: Tensor, other: Tensor) -> float:
    """Mean absolute difference of two images, on a scale of 0..255."""
    return float((one - other).abs().mean() * 255)


def feature_distance(objective: PerceptualObjective, one: Tensor, other: Tensor) -> float:
    """``|f(a) - f(b)|² / |f(a)|²``, with the content layer's features f of two images a and b."""
    a, b = objective.content_target(one).float(), objective.content_target(other).float()
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
    distances = {}
    for contrast in CONTRASTS:
        pale = paint(with_contrast(photo, contrast))
        distances[f"{contrast:g}"] = {
            "pixels": pixel_distance(whole, pale),
            "features": feature_distance(objective, whole, pale),
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


def milliseconds(paint: Paint, photo: Tensor) -> float:
    """The shortest of three times for one photo; a first one, which warms up, does not count."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        paint(photo).cpu()  # waits until a GPU is done
        times.append(time.perf_counter() - began)
    return 1000 * min(times[1:])


def steps_to_reach(totals: list[float], total: float) -> int | None:
    """How many steps an optimization takes to reach ``total``; None if it took too few steps.

    Args:
        totals: the objective after 0, 1, 2 … steps.
        total: the objective to reach.
    """
    return next((step for step, value in enumerate(totals) if value <= total), None)


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; that of a single value is 0."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
