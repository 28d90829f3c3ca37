"""The architectures of the generators: each is a module here, and a name in ``choices.Arch``."""

from importlib import import_module
from typing import get_args

from stylecli.core import choices
from stylecli.core.architectures.layers import Architecture
from stylecli.core.spec import GeneratorSpec

ARCHITECTURES: dict[str, Architecture] = {
    name: import_module(f"{__name__}.{name}").ARCHITECTURE for name in get_args(choices.Arch)
}


def architecture_of(spec: GeneratorSpec) -> Architecture:
    """The architecture that a spec names.

    Raises:
        StyleCliError: the spec names what there is not, or has a bad width.
    """
    spec.check()
    return ARCHITECTURES[spec.arch]
