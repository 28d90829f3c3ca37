"""The architectures of the generators, by name; each is one module, and one line here."""

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
        StyleCliError: the spec names what there is not, or has a bad width.
    """
    spec.check(ARCHITECTURES)
    return ARCHITECTURES[spec.arch]
