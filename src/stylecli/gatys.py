"""The slow reference: optimize the pixels of one picture (Gatys, Ecker, Bethge 2016).

The picture is optimized at the size of a painting's last layer, from the photo or from what a model
paints, and is enlarged to the photo's size as a painting in layers is: guided by the photo.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.optimize import Bounds, minimize
from torch import Tensor

from stylecli.config import GatysConfig
from stylecli.core.devices import resolve_device, resolve_precision, to_tensor, to_uint8
from stylecli.core.objective import (
    BALANCE_PHOTOS,
    PerceptualObjective,
    build_objective,
    prepare_network,
)
from stylecli.core.torch_backend import TorchEnlarger
from stylecli.core.vgg import SMALLEST
from stylecli.engine import Stylizer
from stylecli.engine.painter import FINEST
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Pixels, Progress, pluralize
from stylecli.files.colors import Rgb
from stylecli.files.content import ContentPhotos
from stylecli.files.images import read_rgb
from stylecli.files.pictures import Picture, as_picture, resize, shrink

Flat = npt.NDArray[np.float64]

_LBFGS_SCALE = 1e-6  # of the objective, whose values are large: L-BFGS works best with about 1
_NO_LIMIT = 10**9

_BALANCE_SIZE = 256  # as in training, so that a style weight means the same here and there


def stylize_slowly(
    photo: Rgb | Image.Image,
    config: GatysConfig,
    report: Callable[[Pixels | Notice | Progress], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Rgb:
    """Stylize one photo by optimizing its pixels, on the objective that trains the generators.

    Args:
        photo: (H, W, 3) in 0..255, or an image of Pillow.
        config: painting, sizes, weights and optimizer. Only the command uses the settings of files
            and previews.
        report: is called with what begins, and with every step.
        should_stop: is asked after every step.

    Returns:
        (H, W, 3) in 0..255: the picture with the lowest objective, enlarged to the photo's size, or
        to ``max_size`` if that is smaller.

    Raises:
        StyleCliError: a setting is bad, the photo is not one or is too small, the painting cannot
            be read, or no step lowers the objective.
    """
    config.check()
    if config.painting is None:
        raise StyleCliError("no painting was given", hint="stylecli gatys PHOTO STYLE OUT")
    photo = as_picture(photo).rgb
    if config.max_size:
        photo = shrink(Picture(photo), config.max_size).rgb
    height, width = photo.shape[:2]
    if min(height, width) < SMALLEST:
        raise StyleCliError(
            f"a photo of {width} x {height} px is too small",
            hint=f"the least is {SMALLEST} x {SMALLEST}",
        )
    small = resize(photo, config.size) if min(height, width) > config.size else photo
    device = resolve_device(config.device)
    report(Notice(f"measuring the style of {config.painting.name}"))
    objective = _objective(config, config.painting, device, report)
    start = _start(small, config, report)
    size = f"{small.shape[1]} x {small.shape[0]} px"
    report(Notice(f"optimizing {size} in {pluralize(config.most_steps, 'step')} on {device}"))

    def show(image: Tensor) -> Rgb:
        picture = _as_picture(image)
        if small is photo:
            return picture
        return TorchEnlarger(torch.device("cpu"))(photo, small, picture)

    given = to_tensor(small[None], device), to_tensor(start[None], device), objective, config
    return show(optimize(*given, report, should_stop, show))


def _objective(
    config: GatysConfig, painting: Path, device: torch.device, report: Callable[[Progress], None]
) -> PerceptualObjective:
    """The objective that a training with these settings would have."""
    network = prepare_network(config, device, resolve_precision(config.precision, device))
    style_image = to_tensor(read_rgb(painting, config.style_size)[None], device)
    photos = ContentPhotos(None, config.seed).batch(0, BALANCE_PHOTOS, _BALANCE_SIZE)

    def watch(done: float) -> None:
        report(Progress(done, "balancing painting and photos"))

    return build_objective(config, network, [style_image], to_tensor(photos, device), watch)


def _as_picture(image: Tensor) -> Rgb:
    rgb: Rgb = to_uint8(image)[0]
    return rgb


def optimize(
    photo: Tensor,
    start: Tensor,
    objective: PerceptualObjective,
    config: GatysConfig,
    report: Callable[[Pixels], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    show: Callable[[Tensor], Rgb] = _as_picture,
) -> Tensor:
    """Minimize an objective over the pixels of one picture, each within [0, 1].

    Args:
        photo: (1, 3, H, W) RGB in [0, 1].
        start: (1, 3, H, W) RGB in [0, 1]: what the picture is at first.
        objective: what is minimized.
        config: steps, optimizer and learning rate.
        report: is called with the start, step 0, and with every step: the losses after it.
        should_stop: is asked after every step.
        show: makes the picture of a report of (1, 3, H, W) RGB in [0, 1].

    Returns:
        (1, 3, H, W) RGB in [0, 1]: the picture of the step with the lowest objective.

    Raises:
        StyleCliError: no step lowers the objective, or that of the start is not finite.
    """
    content = objective.content_target(photo)
    search = _Search(objective, content, config, report, should_stop, show)
    OPTIMIZERS[config.optimizer](search, start)
    if search.best is None:
        raise StyleCliError(
            "no step lowered the objective, so that there is no picture",
            hint="try more steps, or other weights; for adam, a smaller learning rate",
            exit_code=1,
        )
    return search.best


@dataclass
class _Search:
    """What both optimizers share: losses and gradient of a picture, and the best one so far."""

    objective: PerceptualObjective
    content: Tensor
    config: GatysConfig
    report: Callable[[Pixels], None]
    should_stop: Callable[[], bool]
    show: Callable[[Tensor], Rgb]
    step: int = 0
    best: Tensor | None = None  # the start does not count
    least: float = math.inf  # the objective of the start, then of the best

    def evaluate(self, picture: Tensor) -> tuple[dict[str, float], Tensor]:
        """The weighted losses of a picture (1, 3, H, W), and the gradient of their total."""
        tried = picture.detach().clone().requires_grad_()
        terms = self.objective(tried, self.content)
        (gradient,) = torch.autograd.grad(terms["total"], tried)
        return {name: float(term.detach()) for name, term in terms.items()}, gradient

    def record(self, picture: Tensor, losses: dict[str, float]) -> bool:
        """Keep a picture if it is the best; return whether to take another step.

        Raises:
            StyleCliError: it is the start, and its objective is not finite.
        """
        if self.step == 0:
            self.least = losses["total"]
            if not math.isfinite(self.least):
                raise StyleCliError(
                    "the objective is not finite at the start", hint="try other weights"
                )
        elif losses["total"] < self.least:
            self.best, self.least = picture.detach().clone(), losses["total"]
        share = self.step / self.config.most_steps
        best = None if self.best is None else partial(self.show, self.best)
        self.report(Pixels(self.step, share, losses, best))
        stopped = self.step > 0 and self.should_stop()
        self.step += 1
        return self.step <= self.config.most_steps and not stopped


def _lbfgs(search: _Search, picture: Tensor) -> None:
    """L-BFGS-B of SciPy. That of torch has no bounds, and its line search fails on this problem."""
    seen: dict[str, Any] = {}

    def evaluate(flat: Flat) -> tuple[float, Flat]:
        tried = torch.from_numpy(flat).to(picture).view_as(picture)
        losses, gradient = search.evaluate(tried)
        seen.update(flat=flat.copy(), picture=tried, losses=losses)
        scaled = gradient.cpu().double().numpy().ravel() * _LBFGS_SCALE
        return losses["total"] * _LBFGS_SCALE, scaled

    def after_step(flat: Flat) -> None:
        if not np.array_equal(flat, seen["flat"]):  # the line search went back to an earlier point
            evaluate(flat)
        if not search.record(seen["picture"], seen["losses"]):
            raise StopIteration

    start = picture.cpu().double().numpy().ravel()  # MPS has no float64
    evaluate(start)
    search.record(picture, seen["losses"])
    options = {"maxiter": search.config.most_steps, "maxfun": _NO_LIMIT, "ftol": 0, "gtol": 0}
    options["maxcor"] = 20
    minimize(
        evaluate,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(0, 1),
        callback=after_step,
        options=options,
    )


def _adam(search: _Search, picture: Tensor) -> None:
    picture = picture.clone().requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=search.config.lr)
    losses, picture.grad = search.evaluate(picture)
    while search.record(picture, losses):
        optimizer.step()
        picture.data.clamp_(0, 1)
        losses, picture.grad = search.evaluate(picture)


OPTIMIZERS: dict[str, Callable[[_Search, Tensor], None]] = {"lbfgs": _lbfgs, "adam": _adam}


def _start(small: Rgb, config: GatysConfig, report: Callable[[Notice], None]) -> Rgb:
    """What the picture is at first: (H, W, 3) in 0..255, of the size of the small photo."""
    if config.from_model:
        report(Notice(f"painting with {config.start}"))
        stylizer = Stylizer(
            config.start,
            device=config.device,
            precision=config.precision,
            seed=config.seed % 2**31,
        )
        # The last layer is of the picture's own size.
        return stylizer(small, stroke_size=min(1.0, FINEST / min(small.shape[:2])))
    if config.start == "photo":
        return small
    random = torch.Generator().manual_seed(config.seed)  # on the CPU: the same noise everywhere
    noise = torch.randint(256, small.shape, generator=random, dtype=torch.uint8)
    return noise.numpy()
