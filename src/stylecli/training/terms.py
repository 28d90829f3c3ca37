"""The terms of a training step's loss."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stylecli.training.hatch import HATCH_WEIGHT, hatch_loss
from stylecli.training.motion import STABILITY_WEIGHT, Motion, stability_loss, with_grain
from stylecli.training.schedule import inner_part
from stylecli.training.state import Training


def losses_of(training: Training, photos: Tensor) -> dict[str, Tensor]:
    """The weighted terms of the next step's loss on its photos, and their total.

    Args:
        training: its network stylizes the photos, in styles that take turns.
        photos: (N, 3, H, W) RGB in [0, 1].
    """
    inputs, step = training.inputs, training.step
    # The number of this image among all that are trained on.
    first = step * inputs.batch_size + training.ranks.number * len(photos)
    numbers = torch.arange(first, first + len(photos), device=inputs.device)
    styles = [(first + i) % len(inputs.style_images) for i in range(len(photos))]
    rows = torch.tensor(styles, device=inputs.device) + training.start.first_row
    mixed = inputs.dtype != torch.float32
    with torch.autocast(inputs.device.type, inputs.dtype, enabled=mixed):
        # Each image has noise of its own, the same after a resume.
        paint = partial(training.generator, styles=rows, seeds=numbers % 2**31)
        stylized = paint(photos)
        more = {}
        if training.config.stable:
            more["stable"] = _stability(training, photos, stylized, paint, first)
    if training.config.hatch_weight:
        factor = training.config.hatch_weight * training.objective.scales.tv
        more["hatch"] = factor * HATCH_WEIGHT * hatch_loss(stylized, photos)
    down, across = inner_part(training.config, step, photos.shape[2:])
    photos, stylized = photos[:, :, down, across], stylized[:, :, down, across]
    content = training.objective.content_target(photos)
    terms: dict[str, Tensor] = training.objective(stylized, content, styles)
    return {**terms, **more, "total": terms["total"] + sum(more.values())}


def _stability(
    training: Training,
    photos: Tensor,
    stylized: Tensor,
    paint: Callable[[Tensor], Tensor],
    first: int,
) -> Tensor:
    """The weighted term that keeps films still, a scalar; ``first`` is the first photo's number."""
    seed = training.config.seed
    motion = Motion(seed, training.step, photos)
    loss = stability_loss(motion, stylized, paint(with_grain(motion(photos), seed, first)))
    return STABILITY_WEIGHT * training.objective.scales.tv * loss
