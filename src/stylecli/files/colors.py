"""Conversion to 8-bit sRGB: bit depths, color profiles, transparency."""

from functools import lru_cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from stylecli.errors import StyleCliError

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
Alpha = npt.NDArray[np.uint8]  # (H, W)

_GRAY = 128
_SAMPLE_FORMAT = 339  # a tag of TIFF; its value 1 means whole numbers without a sign
_RANGES = (255.0, 65_535.0, 2.0**31 - 1, 2.0**32 - 1)
_MIN_SHARE_OF_RANGE = 1 / 16  # a range is believed if the brightest pixel reaches this share of it


def _srgb_profile() -> bytes:
    """An sRGB profile whose bytes are the same in every run.

    The library stores the current time in it, which is replaced here.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes.fromhex("07e8 0001 0001 0000 0000 0000")  # 2024-01-01, midnight
    profile[84:100] = bytes(16)  # its checksum counts the date; zeros mean that there is none
    return bytes(profile)


SRGB = _srgb_profile()
_SRGB = ImageCms.ImageCmsProfile(BytesIO(SRGB))


def rgb_and_alpha(image: Image.Image) -> tuple[Rgb, Alpha | None]:
    """An image of any mode as sRGB (H, W, 3), and its transparency (H, W) if it has any.

    Raises:
        StyleCliError: the pixels are numbers whose range is not evident.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return np.asarray(_to_srgb(image)), None
    rgba = image.convert("RGBA")
    rgba.info.pop("transparency", None)
    opaque = rgba.convert("RGB")
    opaque.info = image.info
    alpha = np.asarray(rgba.getchannel("A"))
    return without_hidden(np.asarray(_to_srgb(opaque)), alpha), alpha


def without_hidden(rgb: Rgb, alpha: Alpha) -> Rgb:
    """An image with gray in place of colors that are fully transparent.

    Hidden colors would enter the statistics of an image, by which instance norm normalizes.
    Colors that are half transparent stay: mixed with gray, soft edges would get a fringe.
    """
    return np.where((alpha == 0)[..., None], np.uint8(_GRAY), rgb)


def on_gray(image: Image.Image) -> Image.Image:
    """An RGBA image as RGB, in front of gray, for a format without transparency."""
    ground = Image.new("RGBA", image.size, (_GRAY, _GRAY, _GRAY, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A grayscale image of 16 or 32 bits, or of floating-point numbers, as 8 bits.

    Pillow's own conversion clips: 16 bits become white, and 0 to 1 becomes black.
    """
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", None)  # of a TIFF, whose numbers usually have no sign
    if image.mode == "I" and tags and tags.get(_SAMPLE_FORMAT, (1,)) == (1,):
        values = values.view(np.uint32)
    most = 65_535.0 if image.mode.startswith("I;16") else _range_of(values, image.mode)
    gray = (values / most * 255).clip(0, 255).round().astype(np.uint8)
    eight = Image.fromarray(gray)
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        eight.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    if profile := image.info.get("icc_profile"):
        eight.info["icc_profile"] = profile
    return eight


def _range_of(values: npt.NDArray[np.generic], mode: str) -> float:
    """The largest value that pixels can have, guessed from the values that they have."""
    low, high = float(values.min()), float(values.max())
    ranges = (1.0, *_RANGES[:2]) if mode == "F" else _RANGES
    most = next((most for most in ranges if high <= most), 0.0)
    if low >= 0 and (most == ranges[0] or high >= _MIN_SHARE_OF_RANGE * most > 0):
        return most
    expected = "0 to 1, to 255 or to 65535" if mode == "F" else "0 to 255, to 65535 or to 2^32"
    raise StyleCliError(
        f"its pixels are numbers from {low:g} to {high:g}, expected {expected}",
        hint="convert it to 8 or 16 bits first",
    )


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and not (image.mode == "RGB" and _is_srgb(profile)):
        if image.mode not in ("RGB", "L", "CMYK"):
            image = image.convert("RGB")
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
            assert converted is not None
            return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # the profile is broken, or for another mode: convert without it
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _is_srgb(profile: bytes) -> bool:
    """Whether a profile moves no color by more than one level of 255, so that none is converted."""
    levels = np.arange(0, 256, 15)
    colors = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, len(levels), 3)
    image = Image.fromarray(colors.astype(np.uint8))
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return False
    return bool(np.abs(colors - np.asarray(converted).astype(int)).max() <= 1)
