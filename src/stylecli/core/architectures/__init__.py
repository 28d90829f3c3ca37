"""The architectures of the generators: each is a module here, and a name in ``spec.Arch``."""

from importlib import import_module
from typing import get_args

from stylecli.core.architectures.layers import Architecture
from stylecli.core.spec import Arch, GeneratorSpec

ARCHITECTURES: dict[str, Architecture] = {
    name: import_module(f"{__name__}.{name}").ARCHITECTURE for name in get_args(Arch)
}


def architecture_of(spec: GeneratorSpec) -> Architecture:
    """The architecture that a spec names.

    Raises:
        StyleCliError: the spec names what there is not, or has a bad width.
    """
    spec.check()
    return ARCHITECTURES[spec.arch]


def inner_size(arch: str, height: int, width: int) -> tuple[int, int]:
    """The height and width to which a photo is padded, at the bottom and the right."""
    multiple, least = ARCHITECTURES[arch].multiple, ARCHITECTURES[arch].least
    inner = [max(least, -(-side // multiple) * multiple) for side in (height, width)]
    return inner[0], inner[1]


def pads_by_reflection(arch: str, height: int, width: int) -> bool:
    """Whether that padding mirrors the photo; the edge of one that is too small is repeated."""
    down, across = inner_size(arch, height, width)
    return down - height < height and across - width < width


def plain_bytes(arch: str, width: int, pixels: int, itemsize: int) -> int:
    """About how many bytes of memory one pass over an image takes, at its peak.

    Args:
        arch: the generator's architecture.
        width: the generator's width.
        pixels: how many the image has.
        itemsize: bytes of a number.
    """
    return pixels * width * ARCHITECTURES[arch].peak * itemsize
