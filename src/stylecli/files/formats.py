"""The formats of files: which suffix stands for which, and what each format of images can hold."""

from functools import lru_cache
from pathlib import Path

from stylecli.errors import StyleCliError
from stylecli.files.urls import Place

_FORMATS = {
    **{".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"},
    **{".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".gif": "GIF"},
    **{".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF"},
}
USUAL_ENDINGS = frozenset(_FORMATS)
_FORMATS |= {".jfif": "JPEG", ".jpe": "JPEG", ".jfi": "JPEG", ".jif": "JPEG"}
_FORMATS |= {".dib": "BMP", ".hif": "HEIF"}
READABLE = frozenset(_FORMATS)
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
WITHOUT_ALPHA = frozenset({"JPEG", "BMP"})
WITH_QUALITY = frozenset({"JPEG", "WEBP", "AVIF", "HEIF"})
# TIFF is left out: its EXIF tags also describe how its pixels are stored.
WITH_EXIF = frozenset({"JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF"})
WITH_XMP = frozenset({"JPEG", "WEBP", "AVIF", "HEIF"})  # as an option of Pillow's
MAX_PIXELS = 200_000_000  # of an image, unless a call says otherwise
MAX_SIDES = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}  # px


class ImageError(StyleCliError):
    """An image or a video cannot be read or written; a run over files goes on with the next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


def is_video(path: Place) -> bool:
    """Whether a file is a video by its suffix."""
    return path.suffix.lower() in VIDEOS


def format_for(path: Place) -> str:
    """Pillow's name of the format that a suffix asks for.

    Raises:
        ImageError: nothing is written with that suffix.
    """
    if path.suffix.lower() not in _FORMATS:
        known = ", ".join(sorted(_FORMATS))
        raise ImageError(f"cannot write {path}: unknown suffix", hint=f"use one of {known}")
    return _FORMATS[path.suffix.lower()]


def formats_to_try(path: Path, head: bytes) -> list[str]:
    """The formats that a file may be read as, the one of its suffix first.

    Pillow recognizes a format by the file's content. It knows many more formats than these, and
    some of those run programs, such as Ghostscript.

    Args:
        path: the file, for its suffix.
        head: its first bytes, at least 8.
    """
    by_suffix = _FORMATS.get(path.suffix.lower(), "JPEG")
    formats = sorted(set(_FORMATS.values()) - {"HEIF"}, key=lambda name: name != by_suffix)
    if path.suffix.lower() == ".dib":  # a BMP, perhaps without the head of its file
        formats.append("DIB")
    may_be_heif = head[4:8] == b"ftyp"  # so does AVIF begin
    return [*formats, "HEIF"] if may_be_heif and has_heif() else formats


def is_missing_heif(path: Path) -> bool:
    """Whether a file is HEIC by its suffix, and the plug-in for that is not installed."""
    return _FORMATS.get(path.suffix.lower()) == "HEIF" and not has_heif()


@lru_cache(maxsize=1)
def has_heif() -> bool:
    """Whether Pillow's optional plug-in for HEIC is installed; if so, Pillow is told of it."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def all_formats() -> str:
    """The names of all formats, for a message."""
    return ", ".join(sorted(set(_FORMATS.values())))
