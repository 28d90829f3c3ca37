"""What keeps a training from breaking: odd batches are left out, and explosions are undone."""

import math
from collections import deque
from copy import deepcopy

import numpy as np
from torch import Tensor

from stylecli.core.generators import Generator
from stylecli.core.optimizers import GeneratorOptimizer
from stylecli.errors import StyleCliError

_FIRST_STEPS = 10  # the losses of a new network leap for so long, without harm
_OUTLIER = 5  # times the usual loss
_MAX_OUTLIERS = 3  # in a row
_MAX_ROLLBACKS = 8

State = dict[str, Tensor]  # ``weights.NAME`` of a generator, ``moments.NAME`` of its optimizer


class Guard:
    """Watches a network while it is trained, and keeps the last state that is known to be good.

    Args:
        generator: the network.
        optimizer: changes the network.

    Attributes:
        snapshot: the last state that is known to be good.
        recent: the losses of the last steps, the oldest first.
        lr_factor: of the learning rate; each roll-back halves it.
        rollbacks: how many roll-backs there were.
        outliers: how many of the last batches in a row were odd.
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

    def state(self) -> State:
        """The present state of network and optimizer, not copied."""
        parts = {"weights": self.generator.state_dict(), "moments": self.optimizer.state()}
        return {f"{part}.{name}": t for part, names in parts.items() for name, t in names.items()}

    def load(self, state: State) -> None:
        """Put network and optimizer into a state.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: something is missing or does not fit.
        """
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "moments": {}}
        for key, tensor in state.items():
            part, _, name = key.partition(".")
            parts[part][name] = tensor.clone()  # an optimizer changes in place what it is given
        self.generator.load_state_dict(parts["weights"])
        self.optimizer.load(parts["moments"])
        self._note_buffers()

    def accept(self, losses: dict[str, float]) -> None:
        """Take note of a step that went well."""
        self.outliers = 0
        self.recent.append(losses)
        self._note_buffers()

    def is_outlier(self, total: float) -> bool:
        """Whether a loss is not finite, or far larger than the losses of the last steps."""
        if len(self.recent) < _FIRST_STEPS:
            return not math.isfinite(total)
        usual = float(np.mean([losses["total"] for losses in self.recent]))
        return not (math.isfinite(total) and total < _OUTLIER * usual)

    def refuse(self, total: float) -> str:
        """Leave a batch out, or roll back if the network itself is broken.

        A single odd batch, such as one of empty white photos, does not mean that the network is
        broken. Several in a row do, and so does a loss that is not finite. No training recovers
        from that by itself.

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
        """Copy the running statistics of batch norm.

        A forward pass changes them before the loss of its photos is known.
        """
        self._buffers = {name: buffer.clone() for name, buffer in self.generator.named_buffers()}

    def roll_back(self) -> str:
        """Return to the last good state, and go on with half the learning rate.

        Returns:
            What was done.

        Raises:
            StyleCliError: this was done too often already.
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
