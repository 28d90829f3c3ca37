"""The normalization layers of the generators, by name: the paper's one question."""

from collections.abc import Callable

from torch import nn

from stylecli.errors import StyleCliError, choose_from


def _instance_norm(channels: int) -> nn.Module:
    # No running statistics: with them, .eval() would silently stop normalizing each image by
    # itself. The paper applies the norm "in training and at test time".
    return nn.InstanceNorm2d(channels, eps=1e-5, affine=True, track_running_stats=False)


def _batch_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-5)


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "in": _instance_norm,
    "bn": _batch_norm,
    "none": _no_norm,
}


def build_norm(name: str, channels: int) -> nn.Module:
    """The layer that normalizes ``channels`` feature maps.

    ``in``: each image by its own mean and variance, in training and at test time (Ulyanov et
    al. 2017, eq. 4). ``bn``: by the batch's in training, by running statistics in ``.eval()``.
    ``none``: not at all.

    Raises:
        StyleCliError: there is no norm of that name.
    """
    if name not in NORMS:
        raise StyleCliError(f"unknown norm {name!r}", hint=choose_from(name, NORMS))
    return NORMS[name](channels)
