"""The optimizer of a generator: Muon and Adam together, or Adam alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from stylecli.core.spec import Optimizer

# Ratio of the learning rates, found by trial: a step of Muon has a fixed length.
_MUON_TO_ADAM = 10.0
_COLORS = 3
# What torch's optimizers keep of each parameter.
_MOMENTS: dict[type, tuple[str, ...]] = {
    torch.optim.Adam: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.Muon: ("momentum_buffer",),
}


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
        self._parameters = list(parameters)

    def zero_grad(self) -> None:
        """Delete all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

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

    def _list_moments(self) -> set[str]:
        """The names in :meth:`state` after a step; before the first step there are none."""
        return {
            f"{place}.{index}.{name}"
            for place, optimizer in enumerate(self._optimizers)
            for index in range(len(optimizer.param_groups[0]["params"]))
            for name in _MOMENTS[type(optimizer)]
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from moments that :meth:`state` gave; the optimizer changes them from now on.

        Raises:
            ValueError: moments are missing, or too many, or of another shape.
        """
        if state.keys() not in (set(), self._list_moments()):
            raise ValueError("the moments of some weights are missing, or there are too many")
        for place, optimizer in enumerate(self._optimizers):
            moments: dict[int, dict[str, Any]] = {}
            for key, value in state.items():
                first, second, name = key.split(".")
                if int(first) == place:
                    moments.setdefault(int(second), {})[name] = value
            parameters = optimizer.param_groups[0]["params"]
            for index, one in moments.items():
                if any(value.shape not in ((), parameters[index].shape) for value in one.values()):
                    raise ValueError("moments have another shape than their weights")
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _is_hidden(parameter: nn.Parameter) -> bool:
    """Whether it is a convolution between feature maps."""
    return parameter.ndim == 4 and min(parameter.shape[:2]) > _COLORS
