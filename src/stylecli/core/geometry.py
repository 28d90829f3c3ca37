"""What an architecture implies for a size of photo, without torch: padding and memory."""

from stylecli.core.architectures import ARCHITECTURES


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


def upsampled_taps(mode: str) -> list[list[list[float]]]:
    """Where a convolution of 3 taps finds its inputs in a row that was made twice as long.

    Args:
        mode: ``nearest`` or ``bilinear``.

    Returns:
        (2, 3, 3): for the first and the second of the two pixels that a pixel becomes, and for
        each tap, the weights of the pixel before, the pixel itself and the pixel after it.
    """
    if mode == "nearest":
        before, after = [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]
        return [[[1.0, 0.0, 0.0], before, after], [before, after, [0.0, 0.0, 1.0]]]
    before, after = [0.25, 0.75, 0.0], [0.0, 0.75, 0.25]
    return [[[0.75, 0.25, 0.0], before, after], [before, after, [0.0, 0.25, 0.75]]]
