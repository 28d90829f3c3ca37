"""How far a training is, and what follows from it: learning rate, crop size, time left."""

import math
import time

from stylecli.config import TrainConfig
from stylecli.events import counted

# Without --steps or --minutes.
DEFAULT_MINUTES = {"cpu": 10.0, "mps": 5.0, "cuda": 1.0}

# A CPU learns more from a photo the fewer share a step; to a GPU, more in a step are free.
_DEFAULT_BATCH = {"cpu": 2, "mps": 4, "cuda": 8}
_LEAST_FOR_BATCH_NORM = 4  # at 1 it is instance norm

_WARM_UP = 0.05


class Schedule:
    """Progress of a training from 0 to 1, by its steps or by its minutes.

    Args:
        config: tells steps or minutes.
        device_type: ``cpu``, ``cuda`` or ``mps``: how long, if the config tells neither.
    """

    def __init__(self, config: TrainConfig, device_type: str) -> None:
        self.size = config.size
        self.small_crops = config.small_crops
        self.steps = config.steps
        self.seconds = 60 * (config.minutes or DEFAULT_MINUTES[device_type])
        self._started = time.monotonic()

    def __str__(self) -> str:
        return (
            counted(self.steps, "step") if self.steps else f"about {self.seconds / 60:.3g} minutes"
        )

    def elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        return time.monotonic() - self._started

    def add_elapsed(self, seconds: float) -> None:
        """Count what was trained before a resume."""
        self._started -= seconds

    def progress(self, step: int) -> float:
        """From 0 to 1, when ``step`` steps are done."""
        done = step / self.steps if self.steps else self.elapsed() / self.seconds
        return min(1.0, done)

    def crop_size(self, step: int) -> int:
        """Side of the training crops in px: small ones first, as they are cheap."""
        return self.size // 2 if self.progress(step) < self.small_crops else self.size

    def seconds_left(self, step: int, per_step: float) -> float:
        """An estimate, given what a step has lately taken."""
        if not self.steps:
            return max(0.0, self.seconds - self.elapsed())
        large = self.steps - max(step, math.ceil(self.small_crops * self.steps))
        small = self.steps - step - large  # one at half the side costs a quarter
        return per_step * (small + 4 * large if small else large)


def photos_a_step(config: TrainConfig, device_type: str) -> int:
    """The batch size that was asked for, or the one that suits device and norm."""
    least = _LEAST_FOR_BATCH_NORM if config.norm == "bn" else 1
    return config.batch_size or max(least, _DEFAULT_BATCH[device_type])


def learning_rate_factor(progress: float) -> float:
    """One cycle: up in the first twentieth, then down along a cosine to nearly nothing."""
    warm = min(1.0, 0.1 + progress / _WARM_UP)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
