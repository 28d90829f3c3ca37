"""One image in, one image out: the only place that opens or writes pictures."""

import base64
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from stylecli.errors import StyleCliError
from stylecli.files.atomic import CheckedFile, atomic_path
from stylecli.files.colors import SRGB, Alpha, on_gray, rgb_and_alpha, without_hidden
from stylecli.files.colors import Rgb as Rgb  # others import it from here
from stylecli.files.door import require_regular

_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"}
_FORMATS |= {".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".gif": "GIF"}
_FORMATS |= {".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF"}
READABLE = frozenset(_FORMATS)
STANDARD_STREAM = Path("-")
_NO_ALPHA = frozenset({"JPEG", "BMP"})
_ORIENTATION = 0x0112

# A TIFF's own tags describe its pixels.
KEEPS_EXIF = frozenset({"JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF"})
_HAS_QUALITY = frozenset({"JPEG", "WEBP", "AVIF", "HEIF"})
_MAX_SIDES = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}
_MAX_ASPECT = 8
_MAX_EXIF_BYTES = 65_533  # a JPEG's segment holds no more

warnings.filterwarnings("ignore", module=r"PIL\b")  # of odd files, which it reads all the same

# A megabyte by default, for each text and for a color profile; sound files have more.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


class ImageError(StyleCliError):
    """An image that cannot be read or written: its run goes on with the next one."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


@dataclass(frozen=True)
class Picture:
    """A decoded image, upright, in sRGB.

    Attributes:
        rgb: (H, W, 3), 0..255.
        alpha: (H, W), 0..255, or None for an opaque image. Where it is 0, ``rgb`` is
            gray, so that hidden colors do not enter an image's statistics.
        exif: to be saved with the result; its orientation is already applied and reset.
    """

    rgb: Rgb
    alpha: Alpha | None = None
    exif: bytes = b""


def read_picture(path: Path) -> Picture:
    """Decode an image as a person sees it: upright, in sRGB, its transparency apart.

    Raises:
        ImageError: the file cannot be opened, is no image, or is damaged.
    """
    with opened(path) as image:
        image.load()
        return as_picture(image)


def as_picture(image: Image.Image) -> Picture:
    """What Pillow has decoded, as a person sees it: upright, in sRGB, its transparency apart."""
    rgb, alpha = rgb_and_alpha(_upright(image))
    return Picture(rgb, alpha, _exif(image))


def read_rgb(path: Path, short_side: int) -> Rgb:
    """An image as (H, W, 3) in 0..255, scaled to a short side in px: for training.

    Raises:
        ImageError: as for :func:`read_picture`, or the image is a narrow strip.
    """
    # A JPEG decodes straight to a half, quarter or eighth, much faster.
    with opened(path) as image:
        image.draft("RGB", (2 * short_side, 2 * short_side))
        image.load()
        if max(image.size) > _MAX_ASPECT * min(image.size):
            raise ImageError(f"{path} is {image.width} x {image.height}: too narrow to train with")
        rgb, _ = rgb_and_alpha(_upright(image))
    return _resize(rgb, short_side)


def shrunk(picture: Picture, long_side: int) -> Picture:
    """A picture scaled down to a long side in px, if it is larger."""
    height, width = picture.rgb.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))

    # With transparency, each color counts as much as it is seen.
    small = as_image(picture, "PNG").resize(size, Image.Resampling.LANCZOS)
    if picture.alpha is None:
        return Picture(np.asarray(small), None, picture.exif)
    rgba = np.asarray(small)
    alpha = rgba[..., 3]
    return Picture(without_hidden(rgba[..., :3], alpha), alpha, picture.exif)


def mixed(photo: Rgb, painted: Rgb, strength: float, *, preserve_color: bool) -> Rgb:
    """A stylized photo as it is wanted, from the photo and its full stylization.

    Args:
        photo: (H, W, 3) in 0..255.
        painted: the same size.
        strength: 1 is the stylization, 0 the photo.
        preserve_color: take only its luma; the chroma is the photo's.
    """
    if preserve_color:
        _, blue, red = Image.fromarray(photo).convert("YCbCr").split()
        luma = Image.fromarray(painted).convert("L")
        painted = np.asarray(Image.merge("YCbCr", (luma, blue, red)).convert("RGB"))
    if strength == 1:
        return painted
    return np.asarray(Image.blend(Image.fromarray(photo), Image.fromarray(painted), strength))


def set_max_pixels(most: int) -> None:
    """Refuse images of more pixels from now on: a small file can unpack to a huge image."""
    Image.MAX_IMAGE_PIXELS = most // 2  # Pillow warns beyond this, and refuses beyond twice that
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


set_max_pixels(200_000_000)


def max_pixels() -> int:
    """How many pixels an image may have."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 0)


def read_short_side(path: Path) -> int:
    """The short side in px, from the header alone.

    Raises:
        ImageError: as for :func:`read_picture`.
    """
    with opened(path) as image:
        return min(image.size)


def write_picture(path: Path, picture: Picture, quality: int = 95, ending: str = "") -> None:
    """Encode an image, whole or not at all, in the format of its suffix, as sRGB.

    Transparency is kept where the format has it.

    Args:
        path: the file; ``-`` is standard output.
        picture: what to write.
        quality: 1 to 100, of formats that lose.
        ending: the suffix, where ``path`` is ``-``.

    Raises:
        ImageError: the suffix is unknown or the folder cannot be written.
    """
    format_ = format_for(Path(f"x{ending}") if ending else path)
    exif = {"exif": picture.exif} if picture.exif and format_ in KEEPS_EXIF else {}
    save_image(path, as_image(picture, format_), format_, quality, exif)


def as_image(picture: Picture, format_: str) -> Image.Image:
    """A picture for Pillow to encode, with transparency where the format has it."""
    image = Image.fromarray(picture.rgb)
    if picture.alpha is None:
        return image
    image.putalpha(Image.fromarray(picture.alpha))
    return on_gray(image) if format_ in _NO_ALPHA else image


def save_image(
    path: Path, image: Image.Image, format_: str, quality: int, more: dict[str, Any]
) -> None:
    """Encode an image as sRGB into a file, whole or not at all; or to standard output.

    Args:
        path: the file; its folder is made.
        image: RGB or RGBA.
        format_: Pillow's name of the format.
        quality: 1 to 100, of formats that lose.
        more: further options of Pillow's for this format.

    Raises:
        ImageError: it cannot be written.
    """
    options: dict[str, Any] = {"format": format_, "icc_profile": SRGB, **more}
    if format_ in _HAS_QUALITY:
        options["quality"] = quality
    if format_ == "JPEG":
        options["subsampling"] = 0
    most = _MAX_SIDES.get(format_)
    if most and max(image.size) > most:
        raise ImageError(
            f"cannot write {path}: it has {image.width} x {image.height} px, "
            f"and {format_} at most {most:,} px a side: write a .png, or scale it with --max-size"
        )
    if format_ == "HEIF" and not _has_heif():
        raise ImageError(f"cannot write {path}: it needs pip install 'stylecli[heic]'")
    try:
        if path == STANDARD_STREAM:
            _save_to_standard_output(image, options)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, CheckedFile(temporary) as file:
            image.save(file, **options)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror or error}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's encoders raise many kinds
        raise ImageError(f"cannot write {path}: {error}") from error


def _save_to_standard_output(image: Image.Image, options: dict[str, Any]) -> None:
    whole = BytesIO()  # some encoders seek, and a pipe cannot
    image.save(whole, **options)
    sys.stdout.buffer.write(whole.getvalue())
    sys.stdout.buffer.flush()


def format_for(path: Path) -> str:
    """Pillow's name of the format that a suffix asks for.

    Raises:
        ImageError: nothing is written with that suffix.
    """
    if path.suffix.lower() not in _FORMATS:
        known = ", ".join(sorted(_FORMATS))
        raise ImageError(f"cannot write {path}: unknown suffix", hint=f"use one of {known}")
    return _FORMATS[path.suffix.lower()]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into one line for a person."""
    try:
        yield
    except PermissionError:
        raise ImageError(f"no permission to read {path}") from None
    except UnidentifiedImageError:
        if _FORMATS.get(path.suffix.lower()) == "HEIF" and not _has_heif():
            raise ImageError(f"{path} needs: pip install 'stylecli[heic]'") from None
        known = ", ".join(sorted(set(_FORMATS.values())))
        raise ImageError(
            f"{path} is not an image that can be read: damaged, or none of {known}"
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path} has more than {max_pixels():,} pixels: "
            "scale it down, or stylize with --max-pixels"
        ) from None
    except (ImageError, MemoryError):
        raise
    except StyleCliError as error:
        raise ImageError(f"{path}: {error.message}", hint=error.hint) from error
    except Exception as error:  # on bad bytes, Pillow raises many kinds
        raise ImageError(f"{path} is damaged: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image file, its head read; ``-`` is standard input.

    Raises:
        ImageError: whatever goes wrong with the file while it is open.
    """
    with _explained(path):
        source = _standard_input() if path == STANDARD_STREAM else require_file(path)
        with Image.open(source, formats=_formats(path, source)) as image:
            yield image


def require_file(path: Path) -> Path:
    """The path itself, if it is a regular file.

    Raises:
        ImageError: as for :func:`stylecli.files.door.require_regular`.
    """
    try:
        return require_regular(path)
    except StyleCliError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        message = f"no such file: {path}" if missing else error.message
        raise ImageError(message, hint=error.hint) from error


def _standard_input() -> BytesIO:
    return BytesIO(sys.stdin.buffer.read())


def _formats(path: Path, source: BytesIO | Path) -> list[str]:
    """Those that are read, the one of the suffix first, of which Pillow loads the least.

    Pillow opens by content, and some of its other formats run programs, such as Ghostscript.
    """
    named = _FORMATS.get(path.suffix.lower(), "JPEG")
    formats = sorted(set(_FORMATS.values()) - {"HEIF"}, key=lambda name: name != named)
    return [*formats, "HEIF"] if _is_boxed(source) and _has_heif() else formats


def _is_boxed(source: BytesIO | Path) -> bool:
    """Whether a file begins as HEIC and AVIF do, whatever it is called."""
    if isinstance(source, BytesIO):
        return source.getvalue()[4:8] == b"ftyp"
    with source.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


@lru_cache(maxsize=1)
def _has_heif() -> bool:
    """Whether Pillow's optional plug-in for HEIC is there; if so, make it known to Pillow."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _upright(image: Image.Image) -> Image.Image:
    tags = getattr(image, "tag_v2", None)  # of TIFF: what its numbers are
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF does not make the picture unreadable
        return image
    if tags:
        upright.tag_v2 = tags  # type: ignore[attr-defined]
    return upright


def _exif(image: Image.Image) -> bytes:
    """What is to be saved again, without the orientation; nothing if it is damaged."""
    if image.format not in KEEPS_EXIF:
        return b""
    try:
        exif = deepcopy(image.getexif())  # the next frame of an animation has it too
        exif.pop(_ORIENTATION, None)
        content = exif.tobytes() if exif else b""
    except Exception:
        return b""
    return content if len(content) <= _MAX_EXIF_BYTES else b""


def center_square(rgb: Rgb, side: int) -> Rgb:
    """The middle (side, side, 3) of an image."""
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    return rgb[top : top + side, left : left + side]


def scaled_crop(rgb: Rgb, top: float, left: float, side: float, size: int) -> Rgb:
    """The square of ``side`` px at (top, left), in fractions of pixels, as (size, size, 3)."""
    box = (left, top, left + side, top + side)
    image = Image.fromarray(rgb)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box))


def thumbnail(*images: Rgb, side: int = 96) -> str:
    """The middle squares of images, side by side, as a JPEG in base64: to be stored in a text."""
    squares = [center_square(_resize(rgb, side), side) for rgb in images]
    buffer = BytesIO()
    Image.fromarray(np.concatenate(squares, axis=1)).save(buffer, format="JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _resize(rgb: Rgb, short_side: int) -> Rgb:
    height, width = rgb.shape[:2]
    scale = short_side / min(height, width)
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
