"""How far a training is, and what follows from that: learning rate, crops, time left."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from stylecli.config import TrainConfig
from stylecli.events import counted

# How long a training takes if neither --steps nor --minutes is given.
DEFAULT_MINUTES = {"cpu": 10.0, "mps": 5.0, "cuda": 1.0}

# A CPU learns more from each photo if fewer share a step. On a GPU, more photos in a step cost
# next to nothing.
_DEFAULT_BATCH = {"cpu": 2, "mps": 4, "cuda": 8}
_LEAST_FOR_BATCH_NORM = 4  # in batches of one, batch norm is instance norm

_WARM_UP = 0.05  # of the training


class Schedule:
    """Progress of a training from 0 to 1, by its steps or by its minutes.

    Args:
        config: tells steps or minutes, and the sizes of crops.
        device_type: ``cpu``, ``cuda`` or ``mps``; the default number of minutes depends on it.
        now: seconds of a monotonic clock.
    """

    def __init__(
        self, config: TrainConfig, device_type: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self.size = config.size
        self.small_crops = config.small_crops
        self.steps = config.steps
        self.seconds = 60 * (config.minutes or DEFAULT_MINUTES[device_type])
        self._earlier = 0.0
        self._started: float | None = None

    def __str__(self) -> str:
        if self.steps:
            return counted(self.steps, "step")
        minutes = f"{self.seconds / 60:.3g}"
        return f"about {minutes} minute{'' if minutes == '1' else 's'}"

    def start_clock(self) -> None:
        """Count seconds from now on."""
        self._started = self._now()

    def elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        now = 0.0 if self._started is None else self._now() - self._started
        return self._earlier + now

    def add_elapsed(self, seconds: float) -> None:
        """Count seconds of training that lie before a resume."""
        self._earlier += seconds

    def progress(self, step: int) -> float:
        """From 0 to 1, when ``step`` steps are done."""
        done = step / self.steps if self.steps else self.elapsed() / self.seconds
        return min(1.0, done)

    def crop_size(self, step: int) -> int:
        """Side of the training crops in px. Small ones come first, because they are cheap."""
        return self.size // 2 if self.progress(step) < self.small_crops else self.size

    def seconds_left(self, step: int, per_step: float) -> float:
        """An estimate from the number of seconds that the last steps took."""
        if not self.steps:
            return max(0.0, self.seconds - self.elapsed())
        large = self.steps - max(step, math.ceil(self.small_crops * self.steps))
        small = self.steps - step - large  # a crop of half the side takes a quarter of the time
        return per_step * (small + 4 * large if small else large)


def resolve_batch_size(config: TrainConfig, device_type: str, devices: int = 1) -> int:
    """The batch size that was asked for, or else what suits device and norm, on each device."""
    least = _LEAST_FOR_BATCH_NORM if config.norm == "bn" else 1
    return config.batch_size or devices * max(least, _DEFAULT_BATCH[device_type])


def learning_rate_factor(progress: float) -> float:
    """The share of the peak learning rate at a progress of 0 to 1.

    It rises for the first twentieth, then falls along a cosine to nearly nothing.
    """
    warm = min(1.0, 0.1 + progress / _WARM_UP)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def inner_part(config: TrainConfig, step: int, size: Sequence[int]) -> tuple[slice, slice]:
    """The rows and columns of a step's crops that its loss is computed on.

    Colors that the style has and the photo lacks are cheapest in one place that the network can
    find in every photo: along an edge. If the loss always saw the edges of the crops, a band of
    such colors would grow there, as it did in trainings from scratch with noise. Therefore the
    loss sees another part of the crops in each step, so that most parts must have these colors
    without the band, and the few that reach an edge have them twice. With parts that reached the
    edges in nearly every step (16 px left out of 256) the band stayed, and with parts that never
    reached them nothing took it away again. The size of the part is always the same, and what is
    left out is a multiple of 8 px, because the loss network is slow on sizes that are new.

    Args:
        config: its seed, and the share of a side that is left out.
        step: the number of the step; the same number gives the same part.
        size: of the crops: height and width, px.
    """
    random = np.random.default_rng([config.seed, step, 2])
    left_out = [8 * round(config.loss_margin * side / 8) for side in size]
    first = [int(random.integers(0, out + 1)) for out in left_out]
    down, across = (
        slice(start, start + side - out)
        for start, side, out in zip(first, size, left_out, strict=True)
    )
    return down, across
