"""What keeps a training from breaking: odd batches are left out, explosions undone."""

import math
from collections import deque
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from stylecli.core.generators import Generator
from stylecli.core.optimizers import GeneratorOptimizer
from stylecli.errors import StyleCliError

if TYPE_CHECKING:
    from stylecli.training.files import State

_FIRST_STEPS = 10  # of a new network, whose losses leap without harm
_OUTLIER = 5  # times the usual loss
_MAX_OUTLIERS = 3  # in a row
_MAX_ROLLBACKS = 8


class Guard:
    """Watches a network that learns, and keeps the last state known to be good.

    Args:
        generator: the network.
        optimizer: that changes it.

    Attributes:
        recent: the losses of the last steps.
        lr_factor: of the learning rate; each roll-back halves it.
        rollbacks: how many there were.
        outliers: how many batches in a row were odd until now.
        left_out: how many batches nothing was learned from.
    """

    def __init__(self, generator: Generator, optimizer: GeneratorOptimizer) -> None:
        self.generator, self.optimizer = generator, optimizer
        self.recent: deque[dict[str, float]] = deque(maxlen=50)
        self.lr_factor = 1.0
        self.rollbacks = self.outliers = self.left_out = 0
        self.take_snapshot()

    def take_snapshot(self) -> None:
        """Declare the present state good."""
        self.snapshot = deepcopy(self.state())
        self._note_buffers()

    def state(self) -> "State":
        """Weights and optimizer, not copied."""
        return self.generator.state_dict(), self.optimizer.state()

    def load(self, state: "State") -> None:
        """Put weights and optimizer into a state."""
        weights, moments = deepcopy(state)  # an optimizer keeps and changes what it is given
        self.generator.load_state_dict(weights)
        self.optimizer.load(moments)
        self._note_buffers()

    def accept(self, losses: dict[str, float]) -> None:
        """A step went well."""
        self.outliers = 0
        self.recent.append(losses)
        self._note_buffers()

    def is_outlier(self, total: float) -> bool:
        """Whether a loss is not finite, or far beyond what is usual by now."""
        if len(self.recent) < _FIRST_STEPS:
            return not math.isfinite(total)
        usual = float(np.mean([losses["total"] for losses in self.recent]))
        return not (math.isfinite(total) and total < _OUTLIER * usual)

    def refuse(self, total: float) -> str:
        """Leave out photos that would throw the network off; if it is off already, roll back.

        One odd batch, such as of empty white photos, says nothing of the network; several in a
        row, or a loss that is not finite, do: no training recovers from an explosion by itself.

        Returns:
            What was done.

        Raises:
            StyleCliError: as for :meth:`roll_back`.
        """
        self.outliers += 1
        if not math.isfinite(total) or self.outliers == _MAX_OUTLIERS:
            return self.roll_back()
        self.left_out += 1
        for name, buffer in self.generator.named_buffers():
            buffer.copy_(self._buffers[name])
        return f"these photos are left out: a loss of {total:,.0f}"

    def _note_buffers(self) -> None:
        """Batch norm counts odd photos into its running statistics before anyone sees the loss."""
        self._buffers = {name: buffer.clone() for name, buffer in self.generator.named_buffers()}

    def roll_back(self) -> str:
        """Return to the last good state, and go on with half the learning rate.

        Returns:
            What was done.

        Raises:
            StyleCliError: it was done too often already.
        """
        self.rollbacks += 1
        if self.rollbacks > _MAX_ROLLBACKS:
            raise StyleCliError(
                f"the training diverged {self.rollbacks} times",
                hint="start again with --overwrite and a lower --lr",
                exit_code=1,
            )
        self.load(self.snapshot)
        self.lr_factor /= 2
        self.outliers = 0
        self.left_out += 1  # the photos that broke it are not tried again
        return "the loss exploded: back to the last good weights, learning rate halved"

    def counts(self) -> dict[str, Any]:
        """What :meth:`restore` needs besides weights."""
        names = ("lr_factor", "rollbacks", "outliers", "left_out")
        return {"recent": list(self.recent), **{name: getattr(self, name) for name in names}}

    def restore(self, counts: dict[str, Any], now: "State", snapshot: "State") -> None:
        """Take up :meth:`counts` and two states.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: something is missing or does not fit.
        """
        self.load(snapshot)  # to see that it could be
        self.load(now)
        self.snapshot = snapshot
        self.recent.extend(counts["recent"])
        for name in ("lr_factor", "rollbacks", "outliers", "left_out"):
            setattr(self, name, counts[name])
