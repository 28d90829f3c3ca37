"""The terms of a training step's loss."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylecli.config import TrainConfig
from stylecli.core.generators import Generator
from stylecli.training.hatch import HATCH_WEIGHT, hatch_loss
from stylecli.training.recipes import recipe_of
from stylecli.training.schedule import inner_part
from stylecli.training.state import Training

# The network's own painting as input: how much smaller than the crop it is painted, and its share
# of the input; the rest is the crop.
_FACTORS = (2.0, 2.5, 3.0)
_SHARES = (0.45, 0.85)


def losses_of(training: Training, photos: Tensor) -> dict[str, Tensor]:
    """The weighted terms of the next step's loss on its photos, and their total.

    Args:
        training: its network stylizes the photos, in styles that take turns.
        photos: (N, 3, H, W) RGB in [0, 1].
    """
    inputs, step, recipe = training.inputs, training.step, recipe_of(training.config)
    # The number of this image among all that are trained on.
    first = step * inputs.batch_size + training.ranks.number * len(photos)
    numbers = torch.arange(first, first + len(photos), device=inputs.device)
    styles = [(first + i) % len(inputs.style_images) for i in range(len(photos))]
    rows = torch.tensor(styles, device=inputs.device) + training.start.first_row
    mixed = inputs.dtype != torch.float32
    with torch.autocast(inputs.device.type, inputs.dtype, enabled=mixed):
        # Each image has noise of its own, the same after a resume.
        paint = partial(training.generator, styles=rows, seeds=numbers % 2**31)
        drawn = draw_own_input(training.config, step)
        seen = over_own_painting(training.generator, paint, photos, *drawn) if drawn else photos
        stylized = paint(seen)
    terms = {}
    if recipe.hatch_weight:
        factor = recipe.hatch_weight * HATCH_WEIGHT * training.objectives[0].scales.tv
        terms["hatch"] = factor * hatch_loss(stylized, photos)
    down, across = inner_part(training.config.seed, step, photos.shape[2:], recipe.margin)
    parts = photos[:, :, down, across], stylized[:, :, down, across]
    terms = {**_perceptual_terms(training, *parts, styles), **terms}
    return {**terms, "total": torch.stack(list(terms.values())).sum()}


def draw_own_input(config: TrainConfig, step: int) -> tuple[float, float] | None:
    """How a step mixes the network's own painting into its input; None: the input is the photos.

    Returns:
        How much smaller than the photos that painting is painted, and its share of the input. The
        same step of the same seed draws the same.
    """
    random = np.random.default_rng([config.seed, step, 5])
    drawn = random.random(), float(random.choice(_FACTORS)), float(random.uniform(*_SHARES))
    return drawn[1:] if drawn[0] < recipe_of(config).own_inputs else None


@torch.no_grad()
def over_own_painting(
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
    painted = paint(small).clamp(0, 1)
    generator.train()
    enlarged = F.interpolate(painted, sides, mode="bicubic").clamp(0, 1)  # (N, 3, H, W)
    return share * enlarged + (1 - share) * photos


def _perceptual_terms(
    training: Training, photos: Tensor, stylized: Tensor, styles: list[int]
) -> dict[str, Tensor]:
    """Content and style loss, summed over the scales of the recipe; total variation at full size.

    Args:
        training: has an objective for each scale.
        photos: (N, 3, H, W), what the loss sees of the photos.
        stylized: (N, 3, H, W), what it sees of what became of them.
        styles: which style image for each.
    """
    recipe = recipe_of(training.config)
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
