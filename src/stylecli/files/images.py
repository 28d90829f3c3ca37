"""Image files: the only place that opens them and writes them."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from stylecli.errors import StyleCliError
from stylecli.files.atomic import CheckedFile, atomic_path, require_regular
from stylecli.files.colors import SRGB, Rgb, rgb_and_alpha
from stylecli.files.formats import (
    MAX_PIXELS,
    MAX_SIDES,
    WITH_QUALITY,
    ImageError,
    explain_unreadable,
    format_for,
    formats_to_try,
    has_heif,
)
from stylecli.files.pictures import Picture, as_image, as_picture, resize, turn_upright

_MAX_ASPECT = 8  # of a photo to train with


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode an image as a person sees it: upright, in sRGB, with transparency as a mask.

    Args:
        path: the file.
        max_pixels: an image of more is refused, as a small file can unpack to a huge image.

    Raises:
        ImageError: the file cannot be opened, is not an image, or is damaged.
    """
    with open_image(path, max_pixels) as image:
        image.load()
        return as_picture(image)


def read_rgb(path: Path, short_side: int) -> Rgb:
    """Decode an image to train with: (H, W, 3) in 0..255, scaled to a short side in px.

    Raises:
        ImageError: as for :func:`read_picture`, or the image is a narrow strip.
    """
    with open_image(path) as image:
        # A JPEG can be decoded at a half, a quarter or an eighth of its size, which is faster.
        image.draft("RGB", (2 * short_side, 2 * short_side))
        image.load()
        if max(image.size) > _MAX_ASPECT * min(image.size):
            raise ImageError(f"{path} is {image.width} x {image.height}: too narrow to train with")
        rgb, _ = rgb_and_alpha(turn_upright(image))
    return resize(rgb, short_side)


def read_short_side(path: Path) -> int:
    """The short side in px; only the header of the file is read.

    Raises:
        ImageError: as for :func:`read_picture`.
    """
    with open_image(path) as image:
        return min(image.size)


@contextmanager
def open_image(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """An image file of which only the header is read so far; the file is opened once.

    Raises:
        ImageError: anything goes wrong with the file while it is open; or it has more pixels.
    """
    with _as_image_error(path, max_pixels), require_file(path).open("rb") as file:
        head = file.read(16)
        with _identify(file, head, formats_to_try(path, head), max_pixels) as image:
            require_size(image.size, max_pixels)
            yield image


def require_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raise DecompressionBombError if an image, or a frame of one, has more pixels than it may."""
    if size[0] * size[1] > max_pixels:
        raise Image.DecompressionBombError


def _identify(file: BinaryIO, head: bytes, formats: Sequence[str], max_pixels: int) -> Image.Image:
    """The image in a file, as the first of some formats that recognizes it.

    Pillow's own way to open a file compares it with the limit of the whole process.

    Raises:
        UnidentifiedImageError: it is none of them.
        DecompressionBombError: it has more pixels, and its decoder would make room for them.
    """
    Image.preinit()
    for name in formats:
        if name not in Image.OPEN:
            Image.init()  # imports the less usual formats
        read, accepts = Image.OPEN[name]
        if accepts is None or accepts(head) is True:
            file.seek(0)
            with suppress(SyntaxError, IndexError, TypeError, struct.error):
                image: Image.Image = _limit(read, max_pixels)(file, "")
                return image
    raise UnidentifiedImageError


@lru_cache(maxsize=32)
def _limit(decoder: Any, max_pixels: int) -> Any:
    """One of Pillow's decoders with limits of its own in place of those of the process.

    Its methods that use such a limit are copied, and what they call for that is exchanged in the
    copies alone. A decoder that is a function, as that of JPEG, asks for none.
    """
    limits: dict[str, object] = {
        "_decompression_bomb_check": lambda size, **_: require_size(size, max_pixels),
        "PngStream": _Chunks,
    }
    names = limits | {"Image": SimpleNamespace(**vars(Image) | limits)}
    methods = {
        name: FunctionType(
            method.__code__,
            method.__globals__ | names,
            name,
            method.__defaults__,
            method.__closure__,
        )
        for owner in reversed(getattr(decoder, "__mro__", ()))
        for name, method in vars(owner).items()
        if isinstance(method, FunctionType) and limits.keys() & method.__code__.co_names
    }
    return type(decoder.__name__, (decoder,), methods) if methods else decoder


class _Chunks(PngImagePlugin.PngStream):
    """The chunks of a PNG; a text or a color profile above Pillow's limit is passed over."""

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        """What a chunk holds, once it is understood or passed over."""
        try:
            return super().call(cid, pos, length)
        except ValueError:
            if cid not in (b"iTXt", b"tEXt", b"zTXt", b"iCCP"):
                raise
            assert self.fp is not None
            self.fp.seek(pos)
            return self.fp.read(length)  # its checksum is compared with it


def require_file(path: Path) -> Path:
    """The path itself, if it is a regular file.

    Raises:
        ImageError: as for :func:`stylecli.files.atomic.require_regular`.
    """
    try:
        return require_regular(path)
    except StyleCliError as error:
        raise ImageError(error.message, hint=error.hint) from error


@contextmanager
def _as_image_error(path: Path, max_pixels: int) -> Iterator[None]:
    """Turn every error of reading a file into an ImageError of one line that names the file."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except PermissionError:
        raise ImageError(f"no permission to read {path}") from None
    except UnidentifiedImageError:
        raise ImageError(explain_unreadable(path)) from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path} has more than {max_pixels:,} pixels: scale it down, "
            "or stylize with --max-pixels"
        ) from None
    except StyleCliError as error:
        raise ImageError(f"{path}: {error.message}", hint=error.hint) from error
    except Exception as error:  # Pillow raises many kinds of error on damaged files
        raise ImageError(f"{path} is damaged: {error}") from error


def write_picture(path: Path, picture: Picture, quality: int = 95) -> None:
    """Encode an image as sRGB, in the format of its suffix.

    The file is written whole or not at all. Transparency is kept where the format has it.

    Args:
        path: the file.
        picture: what to write.
        quality: 1 to 100, for formats that lose detail.

    Raises:
        ImageError: the suffix is unknown or the folder cannot be written.
    """
    format_ = format_for(path)
    more = picture.metadata.options(format_)
    save_image(path, as_image(picture, format_), format_, quality, more)


def save_image(
    path: Path, image: Image.Image, format_: str, quality: int, more: dict[str, Any]
) -> None:
    """Encode an image as sRGB into a file, whole or not at all.

    Args:
        path: the file; its folder is made.
        image: RGB or RGBA.
        format_: Pillow's name of the format.
        quality: 1 to 100, for formats that lose detail.
        more: further options of Pillow's for this format.

    Raises:
        ImageError: it cannot be written.
    """
    _require_encodable(path, image, format_)
    options: dict[str, Any] = {"format": format_, "icc_profile": SRGB, **more}
    if format_ in WITH_QUALITY:
        options["quality"] = quality
    if format_ == "JPEG":
        options["subsampling"] = 0  # the full resolution of colors
    if format_ == "PNG":  # of a painting, runs alone give as small a file in a third of the time
        options["compress_type"] = zlib.Z_RLE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, CheckedFile(temporary) as file:
            image.save(file, **options)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's encoders raise many kinds of error
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot write {path}: {reason}") from error


def _require_encodable(path: Path, image: Image.Image, format_: str) -> None:
    most = MAX_SIDES.get(format_)
    if most and max(image.size) > most:
        raise ImageError(
            f"cannot write {path}: it has {image.width} x {image.height} px, "
            f"and {format_} at most {most:,} px a side: write a .png, or scale it with --max-size"
        )
    if format_ == "HEIF" and not has_heif():
        raise ImageError(f"cannot write {path}: it needs pip install 'stylecli[heic]'")
