"""The architectures of the generators by name: each is a module of its own, and a line here."""

from stylecli.core.architectures import pyramid, residual
from stylecli.core.architectures.layers import Architecture
from stylecli.core.spec import GeneratorSpec

ARCHITECTURES: dict[str, Architecture] = {
    "residual": residual.ARCHITECTURE,
    "pyramid": pyramid.ARCHITECTURE,
}


def architecture_of(spec: GeneratorSpec) -> Architecture:
    """The architecture that a spec names.

    Raises:
        StyleCliError: a name in the spec is unknown, or its width is out of range.
    """
    spec.check(ARCHITECTURES)
    return ARCHITECTURES[spec.arch]
