"""The recipes of a training, and what follows from its progress: learning rate, size of crops."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from stylecli.config import TrainConfig
from stylecli.core.spec import GeneratorConfig, GeneratorSpec
from stylecli.events import pluralize


@dataclass(frozen=True)
class Recipe:
    """What ``--recipe`` sets, all of it together.

    Attributes:
        spec: of a new network, but for what the options say of it.
        minutes: default length of a training, by the kind of device.
        batch: default number of photos in a batch on each device, by its kind.
        lr: default of the peak learning rate.
        first_side: side of the first crops, as a share of that of the later ones.
        first_share: share of the training that takes these smaller crops, 0 to 1.
        own_inputs: share of the steps whose input is the network's own painting, 0 to 1.
        finish: the loss sees pictures as their enlargement shows them, up to this strength, 0 to 1.
        scales: the loss network sees the painted crop averaged down by each of these.
        content_weight: of the content loss at each scale.
        style_weight: of the style loss at each scale.
        hatch_weight: of the term against texture that repeats.
        margin: share of a crop's side that the loss leaves out at its edges, at random.
    """

    spec: GeneratorSpec
    minutes: dict[str, float]
    batch: dict[str, int]
    lr: float
    first_side: float
    first_share: float
    own_inputs: float
    finish: float
    scales: tuple[int, ...]
    content_weight: float
    style_weight: float
    hatch_weight: float
    margin: float


# "paper": one pass at one scale, as Johnson et al. 2016 and Ulyanov et al. 2017 train. "layers": a
# picture is painted small first, and larger over itself; its numbers are found by trial. Batches: a
# CPU learns more from each photo if fewer share a step; on a GPU, more cost next to nothing.
RECIPES = {
    "layers": Recipe(
        spec=GeneratorSpec(noise="gaussian", upsampling="bilinear"),
        minutes={"cpu": 3.0, "mps": 2.0, "cuda": 1.0},
        batch={"cpu": 1, "mps": 4, "cuda": 8},
        lr=3e-3,
        first_side=0.75,
        first_share=0.67,
        own_inputs=0.55,
        finish=0.95,
        scales=(1, 2, 4),
        content_weight=1.5,
        style_weight=0.5,
        hatch_weight=0.4,
        margin=0.16,
    ),
    "paper": Recipe(
        spec=GeneratorSpec(noise="none", upsampling="nearest"),
        minutes={"cpu": 10.0, "mps": 5.0, "cuda": 1.0},
        batch={"cpu": 2, "mps": 4, "cuda": 8},
        lr=2e-3,
        first_side=0.5,
        first_share=0.67,
        own_inputs=0.0,
        finish=0.0,
        scales=(1,),
        content_weight=1.0,
        style_weight=1.0,
        hatch_weight=0.0,
        margin=0.0,
    ),
}


def spec_of(config: TrainConfig) -> GeneratorSpec:
    """The generator that a training from scratch begins with."""
    chosen = {one.name: getattr(config, one.name) for one in fields(GeneratorConfig)}
    return replace(RECIPES[config.recipe].spec, **chosen)


_LEAST_FOR_BATCH_NORM = 4  # in batches of one, batch norm is instance norm

_WARM_UP = 0.05  # of the training
_LONGEST_FIRST_STEP = 60.0  # seconds that count


class Schedule:
    """Progress of a training from 0 to 1, by its steps or by its minutes.

    Minutes are those that the steps take. Time in which the process was suspended does not count:
    a step counts for at most three times as long as the one before it, or a second.

    Args:
        config: tells steps or minutes, the recipe, and the size of crops.
        device_type: ``cpu``, ``cuda`` or ``mps``; the default number of minutes depends on it.
        now: seconds of a monotonic clock.

    Attributes:
        seconds: to train in all, if it goes by minutes.
        elapsed: seconds of training, those before a resume included.
        per_step: seconds that a step takes lately: a running mean.
    """

    def __init__(
        self, config: TrainConfig, device_type: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._recipe = RECIPES[config.recipe]
        self.size = config.size
        self.steps = config.steps
        self.seconds = 60 * (config.minutes or self._recipe.minutes[device_type])
        self.elapsed = self.per_step = 0.0
        self._counted = 0.0  # of the last step, seconds
        self._read = 0.0  # of the clock, when it was read last

    def __str__(self) -> str:
        if self.steps:
            return pluralize(self.steps, "step")
        minutes = f"{self.seconds / 60:.3g}"
        return f"about {minutes} minute{'' if minutes == '1' else 's'}"

    def start_clock(self) -> None:
        """Count seconds from now on."""
        self._read = self._now()

    def end_step(self) -> None:
        """Count the seconds since the clock was read last."""
        before, self._read = self._read, self._now()
        most = max(1.0, 3 * self._counted) if self._counted else _LONGEST_FIRST_STEP
        self._counted = min(self._read - before, most)
        self.elapsed += self._counted
        self.per_step += (0.1 if self.per_step else 1.0) * (self._counted - self.per_step)

    def progress(self, step: int) -> float:
        """From 0 to 1, when ``step`` steps are done."""
        done = step / self.steps if self.steps else self.elapsed / self.seconds
        return min(1.0, done)

    def crop_size(self, step: int) -> int:
        """Side of the training crops in px.

        Smaller ones come first, because they are cheap. The very first step takes one of full size:
        if that does not fit into memory, it shows at once, not late in the training.
        """
        is_early = step > 0 and self.progress(step) < self._recipe.first_share
        return 8 * round(self._recipe.first_side * self.size / 8) if is_early else self.size

    def seconds_left(self, step: int) -> float:
        """An estimate from the time that the last steps took."""
        if not self.steps:
            return max(0.0, self.seconds - self.elapsed)
        large = self.steps - max(step, math.ceil(self._recipe.first_share * self.steps))
        small = self.steps - step - large
        if not small:
            return self.per_step * large
        return self.per_step * (small + large / self._recipe.first_side**2)


def resolve_batch_size(config: TrainConfig, device_type: str, devices: int = 1) -> int:
    """The batch size that was asked for, or else what suits device and norm, on each device."""
    least = _LEAST_FOR_BATCH_NORM if config.norm == "bn" else 1
    return config.batch_size or devices * max(least, RECIPES[config.recipe].batch[device_type])


def learning_rate_factor(progress: float) -> float:
    """The share of the peak learning rate at a progress of 0 to 1.

    It rises for the first twentieth, then falls along a cosine to nearly nothing.
    """
    warm = min(1.0, 0.1 + progress / _WARM_UP)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
