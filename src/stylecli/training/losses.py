"""The loss of a training step: what the network is shown, what it paints, and how that is judged.

Content, style and total variation are those of Johnson et al. 2016, at each scale of the recipe. A
further term is against texture that repeats where the photo does not: a ruled hatch, rows of dots.
The style loss cannot tell them from strokes of many lengths, as a Gram matrix has no places. In a
spectrum, what repeats is a peak (Liu, Gousseau and Xia 2016, "Texture Synthesis Through
Convolutional Neural Networks and Spectrum Constraints").
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylecli.config import TrainConfig
from stylecli.core.torch_backend import finish_images
from stylecli.training.schedule import RECIPES
from stylecli.training.state import Training

_SHARES = 0.45, 0.85  # of the input that is the network's own painting; the rest is the crop

_MOVE = 6  # px, at most, along each axis
_SENSOR_NOISE = 3 / 255  # standard deviation
_STILL_WEIGHT = 2.8e6  # of that term, for the energy of photos in Oxford's VGG-16

_HATCH_WEIGHT = 1e5  # of that term, for the energy of photos in Oxford's VGG-16
_WINDOW = 128  # px a side; smaller images are one window
_LEAST = 64  # px a side, below which a spectrum has too few frequencies
_FREQUENCIES = (5 / 128, 56 / 128)  # cycles per px: slower ones are shapes, not texture
_PEAK, _CENTER, _AROUND = 3, 5, 15  # a peak, what it spreads to, and its surroundings: a side each
_STRONGEST = 32  # frequencies; each peak covers 9, and as many on the other side of the zero
_LUMINANCE = (0.299, 0.587, 0.114)


def compute_losses(training: Training, photos: Tensor) -> dict[str, Tensor]:
    """Stylize a batch, and return the weighted terms of its loss and their total, each a scalar.

    Args:
        training: its network stylizes the photos, in styles that take turns.
        photos: (N, 3, H, W) RGB in [0, 1]: the share of this rank of the next step's batch.
    """
    config, inputs, step = training.config, training.inputs, training.step
    recipe = RECIPES[config.recipe]
    # The number of each image among all that are trained on.
    first = step * inputs.batch_size + training.ranks.number * len(photos)
    numbers = torch.arange(first, first + len(photos), device=inputs.device)  # (N,)
    styles = [(first + i) % len(inputs.style_images) for i in range(len(photos))]
    rows = torch.tensor(styles, device=inputs.device) + training.start.first_row  # (N,)
    # Each image has noise of its own, the same after a resume.
    paint = partial(training.generator, styles=rows, seeds=numbers % 2**31)
    mixed = inputs.dtype != torch.float32
    with torch.autocast(inputs.device.type, inputs.dtype, enabled=mixed):
        seen, still = photos, None
        if recipe.own_inputs:
            seen, still = _begin_layers(training, paint, photos)
        stylized = paint(seen)  # (N, 3, H, W)
    shown = finish_images(stylized, photos, draw_strength(config, step))
    down, across = inner_part(config.seed, step, photos.shape[2:], recipe.margin)
    terms = _perceptual_terms(
        training, photos[:, :, down, across], shown[:, :, down, across], styles
    )
    if recipe.hatch_weight:
        factor = recipe.hatch_weight * _HATCH_WEIGHT * training.objectives[0].scales.tv
        terms["hatch"] = factor * hatch_loss(stylized, photos)
    if still is not None:
        terms["still"] = _STILL_WEIGHT * training.objectives[0].scales.tv * still
    return {**terms, "total": torch.stack(list(terms.values())).sum()}


def _begin_layers(
    training: Training, paint: Callable[[Tensor], Tensor], photos: Tensor
) -> tuple[Tensor, Tensor]:
    """Paint photos small: the input of a step, (N, 3, H, W), and how still those paintings are."""
    config, step = training.config, training.step
    training.generator.eval()  # or batch norm would take statistics of small photos
    small, painting = paint_small(paint, photos)
    still = still_loss(paint, small, painting, config.seed, step)
    training.generator.train()
    share = draw_share(config, step)
    return lay_over(photos, painting, share) if share else photos, still


def draw_share(config: TrainConfig, step: int) -> float:
    """The share of a step's input that is the network's own painting; 0: the input is the photos.

    The same step of the same seed draws the same.
    """
    random = np.random.default_rng([config.seed, step, 5])
    is_own, share = random.random(), float(random.uniform(*_SHARES))
    return share if is_own < RECIPES[config.recipe].own_inputs else 0.0


def draw_strength(config: TrainConfig, step: int) -> float:
    """How strongly the enlargement changes the pictures that a step's loss sees, 0 to 1.

    It depends on how much larger a photo is than its last layer, so that each step draws another.
    """
    random = np.random.default_rng([config.seed, step, 7])
    return float(random.uniform(0, RECIPES[config.recipe].finish))


def paint_small(paint: Callable[[Tensor], Tensor], photos: Tensor) -> tuple[Tensor, Tensor]:
    """Photos scaled down by 2, and their paintings: what comes before the last layer of a picture.

    Args:
        paint: stylizes.
        photos: (N, 3, H, W) RGB in [0, 1].

    Returns:
        Both (N, 3, H / 2, W / 2).
    """
    sides = [max(1, round(side / 2)) for side in photos.shape[2:]]
    small = F.interpolate(photos, sides, mode="bilinear", antialias=True)
    return small, paint(small).float()


def lay_over(photos: Tensor, painting: Tensor, share: float) -> Tensor:
    """Photos under a small painting of them, as the later layers of a picture have them.

    The gradient goes through both layers, so that the first one learns what helps the second.

    Args:
        photos: (N, 3, H, W) RGB in [0, 1].
        painting: (N, 3, h, w) RGB around [0, 1].
        share: of the painting; the rest is the photos.

    Returns:
        (N, 3, H, W).
    """
    enlarged = F.interpolate(painting.clamp(0, 1), photos.shape[2:], mode="bicubic").clamp(0, 1)
    return share * enlarged + (1 - share) * photos


def still_loss(
    paint: Callable[[Tensor], Tensor], photos: Tensor, stylized: Tensor, seed: int, step: int
) -> Tensor:
    """How far pictures change when their photos move by a few px and have a sensor's noise.

    Source: Wang et al. 2020, "Consistent Video Style Transfer via Relaxation and Regularization".

    Args:
        paint: stylizes.
        photos: (N, 3, H, W) RGB in [0, 1].
        stylized: what paint makes of them.
        seed: of the training.
        step: the number of the step; the same two numbers give the same movement and noise.

    Returns:
        The mean absolute difference inside of the edges, a scalar.
    """
    random = np.random.default_rng([seed, step, 3])
    shifts = tuple(random.integers(-_MOVE, _MOVE + 1, 2).tolist())
    noise = random.normal(0, _SENSOR_NOISE, photos.shape[1:]).astype(np.float32)
    moved = photos.roll(shifts, (2, 3)) + torch.from_numpy(noise).to(photos.device)
    difference = stylized.roll(shifts, (2, 3)) - paint(moved).float()
    inside = slice(_MOVE + 2, -_MOVE - 2)
    return difference[:, :, inside, inside].abs().mean()


def inner_part(seed: int, step: int, size: Sequence[int], margin: float) -> tuple[slice, slice]:
    """The rows and columns of a step's crops that its loss is computed on.

    Colors that the style has and the photo lacks are cheapest in a place that the network can find
    in every photo: along an edge. The loss therefore sees another part of the crops in each step:
    most parts need these colors without the edge, and those that reach an edge have them twice.
    All parts have one size, and begin at any px; the loss network is slow on sizes that are new.

    Args:
        seed: of the training.
        step: the number of the step; the same two numbers give the same part.
        size: of the crops: height and width, px.
        margin: the share of a side that is left out, rounded to 8 px.
    """
    random = np.random.default_rng([seed, step, 2])
    left_out = [8 * round(margin * side / 8) for side in size]
    first = [int(random.integers(0, out + 1)) for out in left_out]
    down, across = (
        slice(start, start + side - out)
        for start, side, out in zip(first, size, left_out, strict=True)
    )
    return down, across


def _perceptual_terms(
    training: Training, photos: Tensor, stylized: Tensor, styles: list[int]
) -> dict[str, Tensor]:
    """Content and style loss over all scales of the recipe, and total variation at full size."""
    recipe = RECIPES[training.config.recipe]
    terms: dict[str, Tensor] = {}
    for scale, objective in zip(recipe.scales, training.objectives, strict=True):
        content = objective.content_target(F.avg_pool2d(photos, scale))
        found = objective(F.avg_pool2d(stylized, scale), content, styles)
        terms = {
            "content": terms.get("content", 0) + recipe.content_weight * found["content"],
            "style": terms.get("style", 0) + recipe.style_weight * found["style"],
            "tv": terms.get("tv", found["tv"]),
        }
    return terms


def hatch_loss(stylized: Tensor, photos: Tensor) -> Tensor:
    """How far frequencies stand out beyond what they do in the photos, in powers of ten; a scalar.

    Args:
        stylized: (N, 3, H, W) RGB around [0, 1].
        photos: (N, 3, H, W) RGB in [0, 1]; what repeats in them may repeat.

    Returns:
        The mean of the largest excesses of each window, over windows; 0 for images of less than
        64 px.
    """
    if min(stylized.shape[2:]) < _LEAST:
        return stylized.new_zeros(())
    with torch.no_grad():
        of_photos = _prominence(photos).clamp_min(0)
    excess = _prominence(stylized) - of_photos
    return excess.topk(_STRONGEST, dim=1).values.mean()


def _prominence(images: Tensor) -> Tensor:
    """How far each frequency stands out, in powers of ten: (windows, frequencies)."""
    luminance = images.new_tensor(_LUMINANCE, dtype=torch.float32)[:, None, None]
    gray = 255 * (images.float() * luminance).sum(1)  # (N, H, W)
    side = min(_WINDOW, *gray.shape[1:])
    rows, columns = (_spread(length, side) for length in gray.shape[1:])
    windows = torch.cat([gray[:, y : y + side, x : x + side] for y in rows for x in columns])
    hann = torch.hann_window(side, device=gray.device)
    centered = (windows - windows.mean((1, 2), keepdim=True)) * hann[:, None] * hann
    power = torch.fft.fft2(centered).abs().square()[:, None]  # (windows, 1, side, side)
    center, around = (_mean_around(power, width) * width**2 for width in (_CENTER, _AROUND))
    surroundings = (around - center).clamp_min(0) / (_AROUND**2 - _CENTER**2)
    # A window of one color has no power at all.
    ratios = (_mean_around(power, _PEAK) + 1e-3) / (surroundings + 1e-3)
    frequencies = torch.fft.fftfreq(side, device=gray.device)
    radius = torch.hypot(frequencies[:, None], frequencies).flatten()
    of_texture = (radius >= _FREQUENCIES[0]) & (radius <= _FREQUENCIES[1])
    return ratios.flatten(1)[:, of_texture].log10()


def _mean_around(power: Tensor, side: int) -> Tensor:
    """The mean of a square around each place of (N, 1, H, W), which goes on beyond its edges."""
    more = F.pad(power, (side // 2,) * 4, mode="circular")
    return F.avg_pool2d(F.avg_pool2d(more, (side, 1), 1), (1, side), 1)


def _spread(length: int, side: int) -> list[int]:
    """Where windows begin, as many as fit side by side, evenly over a length."""
    gap = (length % side) // (length // side + 1)
    return [gap + i * (side + gap) for i in range(length // side)]
