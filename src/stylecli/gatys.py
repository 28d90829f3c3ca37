"""The slow reference: optimize the pixels of one picture (Gatys, Ecker, Bethge 2016)."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stylecli.config import GatysConfig
from stylecli.core.backends import to_tensor, to_uint8
from stylecli.core.devices import resolve_device, resolve_precision
from stylecli.core.losses import PerceptualObjective
from stylecli.errors import StyleCliError, choose_from
from stylecli.events import Pixels
from stylecli.files.content import ContentPhotos
from stylecli.files.images import Rgb, read_rgb
from stylecli.objective import balance, build_objective

STARTS = ("photo", "noise")
_SMALLEST = 32  # px: the loss network halves a photo several times
LEARNING_RATES = {"lbfgs": 1.0, "adam": 0.02}

_BALANCE_SIZE = 256  # as in training, so that a style weight means the same here and there


def stylize_slowly(
    photo: Rgb,
    config: GatysConfig,
    report: Callable[[Pixels], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Rgb:
    """Stylize one photo by optimizing its pixels, on the objective that trains the generators.

    Args:
        photo: (H, W, 3) in 0..255.
        config: painting, weights and optimizer.
        report: told of every step.
        should_stop: asked after every step.

    Returns:
        (H, W, 3) in 0..255: the best picture on the way.

    Raises:
        StyleCliError: a bad setting, or the painting cannot be read.
    """
    config.check()
    if min(photo.shape[:2]) < _SMALLEST:
        given = f"{photo.shape[1]} x {photo.shape[0]}"
        raise StyleCliError(f"a photo of {given} px is too small", hint="the least is 32 x 32")
    device = resolve_device(config.device)
    dtype = resolve_precision(config.precision, device)
    painting = read_rgb(config.style, config.style_size)
    objective = build_objective(config, [painting], device, dtype)
    balance(objective, ContentPhotos(None, config.seed), _BALANCE_SIZE, device)
    best = optimize(to_tensor(photo[None], device), objective, config, report, should_stop)
    return _as_picture(best)


def optimize(
    photo: Tensor,
    objective: PerceptualObjective,
    config: GatysConfig,
    report: Callable[[Pixels], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Minimize an objective over the pixels of one picture.

    Args:
        photo: (1, 3, H, W) RGB in [0, 1].
        objective: balanced already.
        config: steps, optimizer, learning rate, start and seed.
        report: told of the start, step 0, and of every step: each with the losses after it.
        should_stop: asked after every step.

    Returns:
        (1, 3, H, W) RGB around [0, 1]: the best picture on the way, not the last. L-BFGS
        without a line search jumps about at first.

    Raises:
        StyleCliError: an unknown optimizer or start, or no step that gives a finite loss.
    """
    picture = _start(photo, config).requires_grad_()
    optimizer = _optimizer(picture, config)
    content = objective.content_target(photo)
    best, least = picture.detach().clone(), float("inf")
    for step in range(config.steps + 1):
        tried = picture.detach().clone()
        is_last = step == config.steps or (step > 0 and should_stop())
        if is_last:
            terms = _judged(objective, tried, content)
        else:
            terms = _step(optimizer, picture, objective, content)
        if terms["total"] < least:
            best, least = tried, terms["total"]
        report(Pixels(step, step / config.steps, terms, partial(_as_picture, best)))
        if is_last:
            break
    if least == float("inf"):
        raise StyleCliError("the optimization diverged at once", hint="try a lower --lr")
    return best


def _as_picture(image: Tensor) -> Rgb:
    rgb: Rgb = to_uint8(image)[0]
    return rgb


def _start(photo: Tensor, config: GatysConfig) -> Tensor:
    if config.start not in STARTS:
        raise StyleCliError(
            f"unknown start {config.start!r}", hint=choose_from(config.start, STARTS)
        )
    if config.start == "photo":
        return photo.clone()
    random = torch.Generator().manual_seed(config.seed)  # on the CPU: the same noise everywhere
    return torch.rand(photo.shape, generator=random).to(photo.device)


def _optimizer(picture: Tensor, config: GatysConfig) -> torch.optim.Optimizer:
    if config.optimizer not in LEARNING_RATES:
        hint = choose_from(config.optimizer, LEARNING_RATES)
        raise StyleCliError(f"unknown optimizer {config.optimizer!r}", hint=hint)
    rate = config.lr or LEARNING_RATES[config.optimizer]
    if config.optimizer == "adam":
        return torch.optim.Adam([picture], lr=rate)
    # One iteration a call, and no tolerance: when to stop is decided outside.
    return torch.optim.LBFGS(
        [picture], lr=rate, max_iter=1, history_size=50, tolerance_change=0, tolerance_grad=0
    )


@torch.no_grad()
def _judged(objective: PerceptualObjective, picture: Tensor, content: Tensor) -> dict[str, float]:
    return {name: float(term) for name, term in objective(picture, content).items()}


def _step(
    optimizer: torch.optim.Optimizer,
    picture: Tensor,
    objective: PerceptualObjective,
    content: Tensor,
) -> dict[str, float]:
    """One step; the weighted losses of the picture before it."""
    losses: dict[str, float] = {}

    def evaluate() -> float:
        optimizer.zero_grad()
        terms = objective(picture, content)
        terms["total"].backward()
        losses.update({name: float(term.detach()) for name, term in terms.items()})
        return losses["total"]

    optimizer.step(evaluate)
    return losses
