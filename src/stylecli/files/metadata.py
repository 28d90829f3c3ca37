"""What a file holds about its photo beside the pixels: EXIF, XMP, IPTC, comments, resolution."""

import math
import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat

from PIL import Image, PngImagePlugin, TiffImagePlugin

# TIFF is left out: its EXIF tags also describe how its pixels are stored.
_WITH_EXIF = frozenset({"JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF"})
_MOST_EXIF = 65_533  # more does not fit into a segment of a JPEG
_MOST_XMP, _MOST_IPTC, _MOST_COMMENT = 65_504, 65_506, 65_533  # likewise
_MAX_BLOCK = 2**20  # bytes of a block of any other kind; a photo's own have some kilobytes

# Tags of TIFF and EXIF.
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
_XMP, _IPTC, _EXIF_IFD, _GPS_IFD = 0x02BC, 0x83BB, 0x8769, 0x8825
# In a TIFF, only these are about the photo: the others describe how its pixels are stored.
_ABOUT_PHOTO = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C),  # name, camera, date, artist
    *(0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),  # rating, copyright, Windows
)
_PHOTOSHOP_IPTC = 0x0404  # a resource of Photoshop's, in which a JPEG holds IPTC
# Texts of PNG that hold blocks: these are kept as blocks, or describe other pixels.
_NOT_TEXTS = re.compile(r"XML:com\.adobe\.xmp|Raw profile type (exif|APP1|xmp|icc|icm)")
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|\s*>)\s*)\d+""")


@dataclass(frozen=True)
class Metadata:
    """What a file holds about its photo; all of it is sound, and of limited size."""

    exif: bytes = b""  # with its head, Exif; its orientation is already applied and reset
    xmp: bytes = b""  # a packet of XML, whose orientation is reset likewise
    iptc: bytes = b""  # records of IPTC-IIM
    comment: bytes = b""  # of a JPEG or a GIF
    dpi: tuple[float, float] | None = None  # pixels an inch, across and down
    texts: tuple[tuple[str, str], ...] = ()  # names and texts of a PNG

    @classmethod
    def of(cls, image: Image.Image) -> "Metadata":
        """Those of an image that Pillow has decoded, without blocks that are damaged."""
        found: dict[str, Any] = {}
        for name, read in _READERS.items():
            with suppress(Exception):  # Pillow raises many kinds of error on damaged blocks
                found[name] = read(image)
        return cls(**found)

    def options(self, format_: str) -> dict[str, Any]:
        """Pillow's options that write what a format can hold.

        Args:
            format_: Pillow's name of the format.
        """
        options: dict[str, Any]
        if format_ == "PNG":
            options = {"exif": self.exif, "dpi": self.dpi, "pnginfo": self._png_texts()}
        elif format_ == "TIFF":
            options = {"exif": self._tiff_tags(), "dpi": self.dpi}
        elif format_ == "JPEG":
            options = {
                "exif": self.exif,
                "xmp": self.xmp if len(self.xmp) <= _MOST_XMP else b"",
                "extra": _segment_of(self.iptc) if len(self.iptc) <= _MOST_IPTC else b"",
                "comment": self.comment if len(self.comment) <= _MOST_COMMENT else b"",
                "dpi": self.dpi,
            }
        elif format_ in ("GIF", "BMP"):
            options = {"comment": self.comment, "dpi": self.dpi}
        else:
            options = {"exif": self._exif_with_dpi(), "xmp": self.xmp}
        return {name: value for name, value in options.items() if value}

    def _png_texts(self) -> PngImagePlugin.PngInfo | None:
        texts = PngImagePlugin.PngInfo()
        if self.xmp:
            texts.add_itxt("XML:com.adobe.xmp", self.xmp.decode())
        of_comment = [("Comment", _decode(self.comment))] if self.comment else []
        for name, text in dict([*of_comment, *self.texts]).items():
            with suppress(UnicodeError, ValueError):  # a name that a PNG cannot hold
                texts.add_text(name, text, zip=len(text) > 1000)
        return texts if texts.chunks else None

    def _tiff_tags(self) -> bytes:
        """What a TIFF holds of all this, as EXIF."""
        tags = Image.Exif()
        with suppress(Exception):  # Pillow raises many kinds of error on damaged tags
            whole = Image.Exif()
            whole.load(self.exif)
            tags = _about_photo(whole)
        if self.xmp:
            tags[_XMP] = self.xmp
        if self.iptc:
            tags[_IPTC] = self.iptc
        return tags.tobytes()

    def _exif_with_dpi(self) -> bytes:
        """EXIF with the resolution, for formats that hold it nowhere else."""
        if self.dpi is None:
            return self.exif
        across, down = self.dpi
        tags = {_X_RESOLUTION: across, _Y_RESOLUTION: down, _RESOLUTION_UNIT: 2}
        return set_tags(self.exif, tags)


def set_tags(exif: bytes, tags: Mapping[int, object]) -> bytes:
    """EXIF with other values of some tags; as it is if it is damaged or has no room for them."""
    with suppress(Exception):  # Pillow raises many kinds of error on damaged tags
        changed = Image.Exif()
        changed.load(exif)
        changed.update(tags)
        content = changed.tobytes()
        return content if len(content) <= _MOST_EXIF else exif
    return exif


def _exif_of(image: Image.Image) -> bytes:
    if image.format == "TIFF":
        exif = _about_photo(image.getexif())
    elif image.format in _WITH_EXIF:
        exif = deepcopy(image.getexif())  # the frames of an animation share one
        exif.pop(_ORIENTATION, None)
    else:
        return b""
    is_empty = not (exif or exif.get_ifd(_EXIF_IFD) or exif.get_ifd(_GPS_IFD))
    content = b"" if is_empty else exif.tobytes()
    return content if len(content) <= _MOST_EXIF else b""


def _about_photo(tags: Image.Exif) -> Image.Exif:
    """Those tags that are about the photo."""
    kept = Image.Exif()
    for tag in _ABOUT_PHOTO:
        if tag in tags:
            kept[tag] = tags[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        if values := tags.get_ifd(tag):
            kept.get_ifd(tag).update(values)
    return kept


def _xmp_of(image: Image.Image) -> bytes:
    """The packet, if it is sound XML in UTF-8 that declares nothing of its own."""
    xmp: bytes = image.info.get("xmp", b"").rstrip(b"\0")
    if not xmp or len(xmp) > _MAX_BLOCK or b"<!DOCTYPE" in xmp:
        return b""
    xmp.decode()
    expat.ParserCreate().Parse(xmp, True)
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _iptc_of(image: Image.Image) -> bytes:
    """The records, if they are sound."""
    iptc = image.info.get("photoshop", {}).get(_PHOTOSHOP_IPTC, b"")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        iptc = image.tag_v2._tagdata.get(_IPTC, b"")  # its type may say whole numbers
    end = 0
    while iptc[end : end + 1] == b"\x1c":
        (length,) = struct.unpack_from(">H", iptc, end + 3)
        end += 5 + length
    return bytes(iptc[:end]) if end <= min(len(iptc), _MAX_BLOCK) else b""


def _segment_of(iptc: bytes) -> bytes:
    """The segment of a JPEG that holds IPTC; empty for none."""
    if not iptc:
        return b""
    padded = iptc + bytes(len(iptc) % 2)
    head = b"Photoshop 3.0\0" + struct.pack(">4sHHL", b"8BIM", _PHOTOSHOP_IPTC, 0, len(iptc))
    return struct.pack(">HH", 0xFFED, 2 + len(head) + len(padded)) + head + padded


def _comment_of(image: Image.Image) -> bytes:
    comment = image.info.get("comment", b"")
    if image.format == "PNG":
        comment = image.info.get("Comment", "").encode()
    return comment if isinstance(comment, bytes) and len(comment) <= _MAX_BLOCK else b""


def _decode(comment: bytes) -> str:
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin1")


def _dpi_of(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get("dpi")
    if dpi is None and image.format in _WITH_EXIF:
        exif = image.getexif()
        per_inch = {2: 1.0, 3: 2.54}[exif.get(_RESOLUTION_UNIT, 2)]
        dpi = [per_inch * float(exif[tag]) for tag in (_X_RESOLUTION, _Y_RESOLUTION)]
    across, down = map(float, dpi or (0, 0))
    sound = all(math.isfinite(one) and 1 <= one <= 65_535 for one in (across, down))
    return (across, down) if sound else None


def _texts_of(image: Image.Image) -> tuple[tuple[str, str], ...]:
    """The texts of a PNG, as many as fit into the limit, in their order."""
    texts, room = [], _MAX_BLOCK
    for name, text in image.info.items() if image.format == "PNG" else ():
        if not isinstance(name, str) or not isinstance(text, str):
            continue
        if not _NOT_TEXTS.fullmatch(name) and len(text) <= room:
            texts.append((name, text))
            room -= len(text)
    return tuple(texts)


_READERS = {
    "exif": _exif_of,
    "xmp": _xmp_of,
    "iptc": _iptc_of,
    "comment": _comment_of,
    "dpi": _dpi_of,
    "texts": _texts_of,
}
