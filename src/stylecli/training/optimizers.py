"""What changes a generator's weights: its optimizer, and the guard that undoes what breaks them."""

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stylecli.core.generators import Generator
from stylecli.core.spec import Optimizer
from stylecli.errors import StyleCliError

# Ratio of the learning rates, found by trial: a step of Muon has a fixed length.
_MUON_TO_ADAM = 10.0
_COLORS = 3

State = dict[str, Tensor]  # ``weights.NAME`` of a generator, ``moments.NAME`` of its optimizer


def select(prefix: str, state: State) -> State:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


class GeneratorOptimizer:
    """Adam for all parameters; or Muon for those that are matrices, and Adam for the rest.

    Muon (Jordan et al. 2024) replaces the momentum of a weight matrix by the nearest matrix whose
    singular values are all one. The weights of a convolution are taken as a matrix, with a row for
    each output channel. Convolutions that read or write colors are left to Adam, and so are scales
    and shifts.

    Args:
        parameters: those parameters of the generator that are trained.
        name: ``muon`` or ``adam``.
        lr: Adam's learning rate; Muon's is ten times as large.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], name: Optimizer, lr: float) -> None:
        self._matrices = [p for p in parameters if name == "muon" and _is_hidden(p)]
        ids = {id(p) for p in self._matrices}
        rest = [p for p in parameters if id(p) not in ids]
        # torch's Muon takes matrices only, so it gets views of the same numbers as matrices.
        self._views = [nn.Parameter(p.data.view(len(p), -1)) for p in self._matrices]
        self._optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(rest, lr)]
        if self._views:
            rate = _MUON_TO_ADAM * lr
            self._optimizers.append(torch.optim.Muon(self._views, rate, weight_decay=0.0))
        self._rates = [optimizer.param_groups[0]["lr"] for optimizer in self._optimizers]

    def step(self, factor: float) -> None:
        """Take a step along the gradients, with ``factor`` times the learning rate."""
        for view, parameter in zip(self._views, self._matrices, strict=True):
            assert parameter.grad is not None
            view.grad = parameter.grad.flatten(1)
        for optimizer, rate in zip(self._optimizers, self._rates, strict=True):
            optimizer.param_groups[0]["lr"] = factor * rate
            optimizer.step()

    def state(self) -> dict[str, Any]:
        """The moments by name, not copied: ``0.5.exp_avg`` of optimizer 0 and its parameter 5."""
        return {
            f"{place}.{index}.{name}": value
            for place, optimizer in enumerate(self._optimizers)
            for index, moments in optimizer.state_dict()["state"].items()
            for name, value in moments.items()
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from moments that :meth:`state` gave; the optimizer changes them from now on."""
        for place, optimizer in enumerate(self._optimizers):
            moments = defaultdict[int, dict[str, Any]](dict)
            for key, value in select(f"{place}.", state).items():
                index, name = key.split(".")
                moments[int(index)][name] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _is_hidden(parameter: nn.Parameter) -> bool:
    """Whether it is a convolution between feature maps."""
    return parameter.ndim == 4 and min(parameter.shape[:2]) > _COLORS


_FIRST_STEPS = 10  # the losses of a new network leap for so long, without harm
_OUTLIER = 5  # times the usual loss
_MAX_OUTLIERS = 3  # in a row
_MAX_ROLLBACKS = 8


class Guard:
    """Watches a network while it is trained, and keeps the last state that is known to be good.

    Attributes:
        snapshot: the last state that is known to be good.
        recent: the losses of the last steps, the oldest first.
        rollbacks: how often it went back to that state; each time halves the learning rate.
        outliers: how many of the last batches in a row were odd.
        left_out: how many batches nothing was learned from.
    """

    def __init__(self, generator: Generator, optimizer: GeneratorOptimizer) -> None:
        self.generator, self.optimizer = generator, optimizer
        self.recent: deque[dict[str, float]] = deque(maxlen=50)
        self.rollbacks = self.outliers = self.left_out = 0
        self.take_snapshot()

    def take_snapshot(self) -> None:
        """Declare the present state good."""
        self.snapshot = deepcopy(self.state())

    def state(self) -> State:
        """The present state of network and optimizer, not copied."""
        parts = {"weights": self.generator.state_dict(), "moments": self.optimizer.state()}
        return {f"{part}.{name}": t for part, names in parts.items() for name, t in names.items()}

    def load(self, state: State) -> None:
        """Put network and optimizer into a state."""
        self.generator.load_state_dict(select("weights.", state))
        self.optimizer.load(deepcopy(select("moments.", state)))  # it changes what it is given

    def accept(self, losses: dict[str, float]) -> None:
        """Take note of a step that went well."""
        self.outliers = 0
        self.recent.append(losses)

    def is_outlier(self, total: float) -> bool:
        """Whether a loss is not finite, or far larger than the losses of the last steps."""
        if len(self.recent) < _FIRST_STEPS:
            return not math.isfinite(total)
        usual = float(np.mean([losses["total"] for losses in self.recent]))
        return not (math.isfinite(total) and total < _OUTLIER * usual)

    def refuse(self, total: float) -> str:
        """Leave a batch out, or roll back if the network itself is broken; return what was done.

        A single odd batch, such as one of empty white photos, does not mean that the network is
        broken. Several in a row do, and so does a loss that is not finite. No training recovers
        from that by itself.

        Raises:
            StyleCliError: as for :meth:`roll_back`.
        """
        self.outliers += 1
        if not math.isfinite(total) or self.outliers == _MAX_OUTLIERS:
            return self.roll_back()
        self.left_out += 1
        # The forward pass has changed running statistics; those of some steps before are as good.
        for name, buffer in self.generator.named_buffers():
            buffer.copy_(self.snapshot.get(f"weights.{name}", buffer))
        return f"these photos are left out: a loss of {total:,.0f}"

    def roll_back(self) -> str:
        """Go on from the last good state with half the learning rate; return what was done.

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
        self.outliers = 0
        self.left_out += 1  # the photos that broke it are not tried again
        return "the loss exploded: back to the last good weights, learning rate halved"
