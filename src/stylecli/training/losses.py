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
from stylecli.core.generators import Generator
from stylecli.training.schedule import RECIPES
from stylecli.training.state import Training

# The network's own painting as input: how much smaller than the crop it is painted, and its share
# of the input; the rest is the crop.
_FACTORS = (2.0, 2.5, 3.0)
_SHARES = (0.45, 0.85)

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
        drawn = draw_own_input(config, step)
        seen = paint_over(training.generator, paint, photos, *drawn) if drawn else photos
        stylized = paint(seen)  # (N, 3, H, W)
    down, across = inner_part(config.seed, step, photos.shape[2:], recipe.margin)
    terms = _perceptual_terms(
        training, photos[:, :, down, across], stylized[:, :, down, across], styles
    )
    if recipe.hatch_weight:
        factor = recipe.hatch_weight * _HATCH_WEIGHT * training.objectives[0].scales.tv
        terms["hatch"] = factor * hatch_loss(stylized, photos)
    return {**terms, "total": torch.stack(list(terms.values())).sum()}


def draw_own_input(config: TrainConfig, step: int) -> tuple[float, float] | None:
    """How a step mixes the network's own painting into its input; None: the input is the photos.

    Returns:
        How much smaller than the photos that painting is painted, and its share of the input. The
        same step of the same seed draws the same.
    """
    random = np.random.default_rng([config.seed, step, 5])
    drawn = random.random(), float(random.choice(_FACTORS)), float(random.uniform(*_SHARES))
    return drawn[1:] if drawn[0] < RECIPES[config.recipe].own_inputs else None


@torch.no_grad()
def paint_over(
    generator: Generator,
    paint: Callable[[Tensor], Tensor],
    photos: Tensor,
    factor: float,
    share: float,
) -> Tensor:
    """Photos under a painting of them, as a later layer of a picture has them as its input.

    Args:
        generator: the network, which is in training mode and stays so.
        paint: lets it stylize.
        photos: (N, 3, H, W) RGB in [0, 1].
        factor: how much smaller the painting is painted.
        share: of the painting; the rest is the photos.

    Returns:
        (N, 3, H, W), no gradient.
    """
    sides = photos.shape[2:]
    small_sides = [max(1, round(side / factor)) for side in sides]
    small = F.interpolate(photos, small_sides, mode="bilinear", antialias=True)  # (N, 3, h, w)
    generator.eval()  # or batch norm would take statistics of small photos
    painting = paint(small).clamp(0, 1)
    generator.train()
    enlarged = F.interpolate(painting, sides, mode="bicubic").clamp(0, 1)  # (N, 3, H, W)
    return share * enlarged + (1 - share) * photos


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
