"""What a running command tells those who watch it; the core draws nothing itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """What a training tells after each step.

    Attributes:
        step: how many are done.
        progress: 0 to 1, by steps or by time.
        losses: the weighted terms of this step and their total.
        photos_per_second: lately.
        seconds_left: an estimate.
    """

    step: int
    progress: float
    losses: dict[str, float]
    photos_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Notice:
    """A line for the person who waits."""

    text: str


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        path: the model file; not written if the training was interrupted.
        finished: False after an interruption.
        steps: done in all.
        seconds: taken in all.
        losses: means over the last steps.
    """

    path: Path
    finished: bool
    steps: int
    seconds: float
    losses: dict[str, float]


Report = Callable[[Step | Notice], None]
