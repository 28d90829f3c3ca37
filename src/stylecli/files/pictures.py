"""Pictures in memory: from and to Pillow's images, scaled, cropped and mixed."""

import base64
import os
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from stylecli.errors import StyleCliError
from stylecli.files.colors import Alpha, Rgb, on_gray, rgb_and_alpha
from stylecli.files.formats import WITHOUT_ALPHA
from stylecli.files.metadata import Metadata

_ORIENTATION = 0x0112  # the EXIF tag
_LARGEST_SQUARE = 320  # px
_MOST_IN_THUMBNAIL = 20  # images: of hundreds it would be longer than what a model file may hold


@dataclass(frozen=True)
class Picture:
    """A decoded image, upright, in sRGB.

    Where it is transparent, it is gray, so that hidden colors do not enter its statistics.
    """

    rgb: Rgb  # (H, W, 3), 0..255
    alpha: Alpha | None = None  # (H, W), 0..255; None for an opaque image
    metadata: Metadata = Metadata()  # to be saved with the result


def as_picture(image: Any) -> Picture:
    """An image in memory as a picture: one of Pillow's, turned upright, in sRGB; or an array.

    Args:
        image: any of Pillow's; or (H, W, 3) in 0..255, uint8, which is kept as it is.

    Raises:
        StyleCliError: a path, an array of another shape or type, or something else.
    """
    if isinstance(image, Image.Image):
        rgb, alpha = rgb_and_alpha(turn_upright(image))
        return Picture(rgb, alpha, Metadata.of(image))
    if isinstance(image, str | os.PathLike):
        raise StyleCliError(
            f"{os.fspath(image)!r} is a path, not an image", hint="pass Image.open(path) of Pillow"
        )
    if not isinstance(image, np.ndarray):
        raise StyleCliError(
            f"a {type(image).__name__} is not an image",
            hint="pass one of Pillow's, or an array of uint8",
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise StyleCliError(
            f"an array of {image.dtype}, {image.shape}, is not an image",
            hint="pass uint8 of (height, width, 3), RGB",
        )
    return Picture(image)


def turn_upright(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF says; as it is if its EXIF is damaged."""
    tiff_tags = getattr(image, "tag_v2", None)  # needed later: they say how pixels are stored
    try:
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image  # Pillow would copy it
        turned = ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises many kinds of error on damaged EXIF
        return image
    if tiff_tags:
        turned.tag_v2 = tiff_tags  # type: ignore[attr-defined]
    return turned


def as_image(picture: Picture, format_: str) -> Image.Image:
    """A picture for Pillow to encode, with transparency where the format has it."""
    image = Image.fromarray(picture.rgb)
    if picture.alpha is None:
        return image
    image.putalpha(Image.fromarray(picture.alpha))
    return on_gray(image) if format_ in WITHOUT_ALPHA else image


def shrink(picture: Picture, long_side: int | None) -> Picture:
    """A picture scaled down to a long side in px, if there is such a limit and it is larger."""
    height, width = picture.rgb.shape[:2]
    if long_side is None or long_side >= max(height, width):
        return picture
    scale = long_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Pillow weights the colors of an RGBA image by their opacity, so that hidden ones do not show.
    rgb, alpha = rgb_and_alpha(as_image(picture, "PNG").resize(size, Image.Resampling.LANCZOS))
    return replace(picture, rgb=rgb, alpha=alpha)


def mix(photo: Rgb, painted: Rgb, strength: float, *, preserve_color: bool) -> Rgb:
    """A mixture of a photo and its stylization.

    Args:
        photo: (H, W, 3) in 0..255.
        painted: the same size.
        strength: 1 is the stylization, 0 the photo.
        preserve_color: take only the luma of the stylization; the chroma is the photo's.
    """
    if preserve_color:
        _, blue, red = Image.fromarray(photo).convert("YCbCr").split()
        luma = Image.fromarray(painted).convert("L")
        painted = np.asarray(Image.merge("YCbCr", (luma, blue, red)).convert("RGB"))
    if strength == 1:
        return painted
    return np.asarray(Image.blend(Image.fromarray(photo), Image.fromarray(painted), strength))


def resize(rgb: Rgb, short_side: int) -> Rgb:
    """An image scaled to a short side in px, up or down."""
    height, width = rgb.shape[:2]
    scale = short_side / min(height, width)
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def center_square(rgb: Rgb, side: int) -> Rgb:
    """The middle (side, side, 3) of an image."""
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    return rgb[top : top + side, left : left + side]


def crop_to_size(rgb: Rgb, top: float, left: float, side: float, size: int) -> Rgb:
    """The square of ``side`` px at (top, left), in fractions of pixels, as (size, size, 3)."""
    box = (left, top, left + side, top + side)
    image = Image.fromarray(rgb)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, box=box))


def thumbnail(*images: Rgb, side: int = 96) -> str:
    """The middle squares of the first 20 images, side by side: a JPEG in base64, for JSON."""
    squares = [center_square(resize(rgb, side), side) for rgb in images[:_MOST_IN_THUMBNAIL]]
    encoded = encode_jpeg(Picture(np.concatenate(squares, axis=1)), quality=85)
    return base64.b64encode(encoded).decode()


def read_thumbnail(text: str) -> list[Rgb]:
    """The squares of a :func:`thumbnail`; [] if the text, perhaps a stranger's, is not one."""
    try:
        stored = base64.b64decode(text, validate=True)
        with Image.open(BytesIO(stored), formats=["JPEG"]) as image:
            side, count = image.height, image.width // image.height
            if side > _LARGEST_SQUARE or count > _MOST_IN_THUMBNAIL:
                return []
            rgb = np.asarray(image.convert("RGB"))
    except Exception:  # base64 and Pillow raise many kinds of error on damaged ones
        return []
    return [rgb[:, i * side : (i + 1) * side] for i in range(count)]


def data_uri(rgb: Rgb) -> str:
    """An image (H, W, 3) in 0..255 as an address that holds it, for a page in HTML."""
    encoded = encode_jpeg(Picture(rgb), subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"


def encode_jpeg(picture: Picture, quality: int = 90, **options: int) -> bytes:
    """A picture as the bytes of a JPEG, on gray where it is transparent.

    Args:
        picture: what is encoded.
        quality: 1 to 100.
        options: further ones of Pillow's.
    """
    buffer = BytesIO()
    as_image(picture, "JPEG").save(buffer, format="JPEG", quality=quality, **options)
    return buffer.getvalue()
