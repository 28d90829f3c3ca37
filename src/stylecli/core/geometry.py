"""Sizes inside the generators, without torch: what they pad to, and how much memory they take."""

from stylecli.core.architectures import ARCHITECTURES


def inner_size(arch: str, height: int, width: int) -> tuple[int, int]:
    """The height and width of a photo inside, where it is padded at the bottom and right."""
    multiple, least = ARCHITECTURES[arch].multiple, ARCHITECTURES[arch].least
    inner = [max(least, -(-side // multiple) * multiple) for side in (height, width)]
    return inner[0], inner[1]


def pads_by_reflection(arch: str, height: int, width: int) -> bool:
    """Whether that padding mirrors the photo; one that is too small has its edge repeated."""
    down, across = inner_size(arch, height, width)
    return down - height < height and across - width < width


def plain_bytes(arch: str, width: int, pixels: int, itemsize: int) -> int:
    """About how much memory one pass over an image of so many pixels takes, at its peak.

    Args:
        arch: of the generator.
        width: of the generator.
        pixels: of the image.
        itemsize: bytes of a number.
    """
    return pixels * width * ARCHITECTURES[arch].peak * itemsize
