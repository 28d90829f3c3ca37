"""Conversion to 8-bit sRGB: bit depths, color profiles, transparency, HDR."""

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

PQ, HLG = 16, 18  # the numbers that ITU-T H.273 gives these transfer functions

_WHITE = 203.0  # cd/m2, of HDR's white (ITU-R BT.2408); highlights are brighter
_PEAK = 10.0  # times white: the light that becomes the brightest color
_KNEE = 0.3  # of white: up to here, light stays as it is
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886

_TO_BT709 = np.array(  # from the primaries of BT.2020; ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)


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
        image = _convert_to_8_bits(image)
    if not image.has_transparency_data:
        return _to_array(_to_srgb(image)), None
    rgba = image.convert("RGBA")
    rgba.info.pop("transparency", None)
    opaque = rgba.convert("RGB")
    opaque.info = image.info
    alpha = np.asarray(rgba.getchannel("A"))
    return without_hidden(_to_array(_to_srgb(opaque)), alpha), alpha


def _to_array(image: Image.Image) -> Rgb:
    """An RGB image as (H, W, 3), through the file format of bare pixels.

    ``np.asarray`` takes twice the memory and the time: Pillow joins parts of the image for it.
    """
    buffer = BytesIO()
    image.save(buffer, "PPM")
    pixels = np.frombuffer(buffer.getbuffer(), np.uint8)[-3 * image.width * image.height :]
    return pixels.reshape(image.height, image.width, 3)


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


def _convert_to_8_bits(image: Image.Image) -> Image.Image:
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
        image = _apply_profile(profile, image) or image
    return image if image.mode == "RGB" else image.convert("RGB")


def _apply_profile(profile: bytes, image: Image.Image) -> Image.Image | None:
    """An image as sRGB; None if the profile is broken, or for another mode."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        return ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


@lru_cache(maxsize=16)
def _is_srgb(profile: bytes) -> bool:
    """Whether a profile moves no color by more than one level of 255, so that none is converted."""
    levels = np.arange(0, 256, 15)
    colors = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, len(levels), 3)
    converted = _apply_profile(profile, Image.fromarray(colors.astype(np.uint8)))
    return converted is not None and bool(np.abs(colors - np.asarray(converted)).max() <= 1)


def tone_map(rgb: npt.NDArray[np.uint16], transfer: int) -> Rgb:
    """HDR colors without HDR: white stays white, and highlights are compressed.

    Args:
        rgb: (H, W, 3) in 0..65535, with the primaries of BT.2020.
        transfer: :data:`PQ` or :data:`HLG`.

    Returns:
        (H, W, 3) in 0..255, with the primaries and for the displays of BT.709.
    """
    light = _light_of(transfer)[np.moveaxis(rgb, -1, 0)]  # (3, H, W); 1 is white
    light = np.tensordot(_TO_BT709, light, 1)
    brightest = light.max(axis=0)
    light *= _compress(brightest) / np.maximum(brightest, 1e-6)
    return np.ascontiguousarray(np.moveaxis(_encode(light), 0, -1))  # (H, W, 3)


def _encode(light: npt.NDArray[np.float32]) -> Rgb:
    """Light as levels for a display: by a table, as a power of each pixel takes long.

    The table goes by the square root, which is fine enough for the darkest levels.
    """
    levels = _levels()
    root = np.sqrt(light.clip(0, 1)) * (len(levels) - 1) + 0.5
    encoded: Rgb = levels[root.astype(np.uint16)]
    return encoded


def _compress(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Light from 0 to the peak, as 0 to 1: a Moebius transform above the knee, smooth there.

    It is the curve "mobius" of ffmpeg's filter tonemap.
    """
    a = -(_KNEE**2) * (_PEAK - 1) / (_KNEE**2 - 2 * _KNEE + _PEAK)
    b = (_KNEE**2 - 2 * _KNEE * _PEAK + _PEAK) / (_PEAK - 1)
    scale = (b * b + 2 * b * _KNEE + _KNEE**2) / (b - a)
    above = np.maximum(light, _KNEE)
    return np.where(light <= _KNEE, light, scale * (above + a) / (above + b))


@lru_cache
def _levels() -> Rgb:
    """The level of each of 16384 square roots of light."""
    roots = np.linspace(0, 1, 1 << 14)
    return (255 * roots ** (2 / _DISPLAY_GAMMA)).round().astype(np.uint8)


@lru_cache
def _light_of(transfer: int) -> npt.NDArray[np.float32]:
    """The light of each of 65536 levels."""
    return _pq_light() if transfer == PQ else _hlg_light()


def _pq_light() -> npt.NDArray[np.float32]:
    """SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = np.linspace(0, 1, 65536) ** (1 / m2)
    light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return (light * (10_000 / _WHITE)).astype(np.float32)


def _hlg_light() -> npt.NDArray[np.float32]:
    """ARIB STD-B67 on the reference display of ITU-R BT.2100.

    That display has 1000 cd/m2 and a system gamma of 1.2. The gamma is applied to each color, as
    the library zimg does; BT.2100 applies it to the luminance, which makes pure colors paler.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    level = np.linspace(0, 1, 65536)
    scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)
    return (scene**1.2 * (1000 / _WHITE)).astype(np.float32)
