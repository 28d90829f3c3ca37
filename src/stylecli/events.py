"""What a running command reports to those who watch it; the core draws nothing itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stylecli.files.stores import Place

if TYPE_CHECKING:  # its import takes half of the time in which a shell waits for completions
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Step:
    """What a training reports after each step.

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


def pluralize(count: int, noun: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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

    @property
    def objective(self) -> float:
        """Content, style and total variation, as the recipe of the training weights them."""
        return sum(self.losses.get(name, 0.0) for name in ("content", "style", "tv"))


@dataclass(frozen=True)
class Pixels:
    """What the slow optimization reports after each step.

    Attributes:
        step: how many are done.
        progress: 0 to 1.
        losses: the weighted terms and their total, of the picture after them.
        best: gives the best picture so far, (H, W, 3) in 0..255; None while no step has lowered
            the objective.
    """

    step: int
    progress: float
    losses: dict[str, float]
    best: "Callable[[], npt.NDArray[np.uint8]] | None"


@dataclass(frozen=True)
class Frames:
    """How far a video or an animation is.

    Attributes:
        source: the file.
        done: frames that are painted.
        count: of all, an estimate.
    """

    source: Place
    done: int
    count: int


@dataclass(frozen=True)
class Progress:
    """How far a longer piece of work is: 0 to 1, and at what."""

    progress: float
    note: str


Report = Callable[[Step | Notice | Progress], None]
