"""The formats of files: which suffix stands for which, and what each format of images can hold."""

from functools import lru_cache
from pathlib import Path

from stylecli.errors import StyleCliError
from stylecli.files.stores import Place

_FORMATS = {
    **{".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"},
    **{".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".gif": "GIF"},
    **{".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF"},
}
USUAL_ENDINGS = frozenset(_FORMATS)
_FORMATS |= {".jfif": "JPEG", ".jpe": "JPEG", ".jfi": "JPEG", ".jif": "JPEG"}
_FORMATS |= {".dib": "BMP", ".hif": "HEIF"}
READABLE = frozenset(_FORMATS)
WRITABLE_VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm"})
VIDEOS = WRITABLE_VIDEOS | {
    *(".qt", ".3gp", ".3g2", ".f4v", ".flv", ".wmv", ".asf", ".ogv", ".ogm", ".dv", ".mxf"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg", ".mpe", ".mpv", ".m2v", ".vob"),
    *(".avi", ".divx"),
}
USUAL_VIDEO = ".mp4"  # in place of a container that is not written
_MAY_BE_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF", "TIFF"})
_ANIMATIONS = frozenset({".gif", ".apng", ".webp"})  # what --format turns a film into
WITHOUT_ALPHA = frozenset({"JPEG", "BMP"})
WITH_QUALITY = frozenset({"JPEG", "WEBP", "AVIF", "HEIF"})
MAX_PIXELS = 200_000_000  # of an image, unless a call says otherwise
_BRANDS_OF_IMAGES = frozenset({b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"hevc"})
_STARTS_OF_VIDEOS = b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"0&\xb2u\x8ef\xcf\x11", b"FLV\1", b"OggS"
MAX_SIDES = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}  # px


class ImageError(StyleCliError):
    """An image or a video cannot be read or written; a run over files goes on with the next."""


def is_video(path: Place) -> bool:
    """Whether a file is a video by its suffix."""
    return path.suffix.lower() in VIDEOS


def keeps_alpha(path: Place) -> bool:
    """Whether a film of that suffix, or an image of many frames, keeps transparency."""
    return not is_video(path) or path.suffix.lower() == ".webm"


def may_be_animated(path: Place) -> bool:
    """Whether an image may have many frames by its suffix; standard input has none, and may."""
    return not path.suffix or _FORMATS.get(path.suffix.lower()) in _MAY_BE_ANIMATED


def is_video_by_content(head: bytes) -> bool:
    """Whether a file without a name is a film, by its first 400 bytes.

    The marks are those of Matroska, MP4 and its kin, AVI, transport streams (with packets of 188
    bytes, or 4 more), program streams, ASF, FLV and Ogg.
    """
    if head[4:8] == b"ftyp":
        return head[8:12] not in _BRANDS_OF_IMAGES
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    packets = any(head[at::step][:2] == b"GG" for at, step in ((0, 188), (4, 192)))
    return packets or head.startswith(_STARTS_OF_VIDEOS)


def ending_for(source: Place, format: str | None = None) -> str:
    """The ending of what becomes of a file.

    Films and animations turn into one another; a photo never becomes a film, and a film is not
    turned into a format that is mostly one of photos.

    Args:
        source: the file.
        format: the ending that is asked for, with or without a dot; None keeps that of the file.
    """
    own = source.suffix
    wanted = own if format is None else f".{format.lower().lstrip('.')}"
    if not is_video(source):
        is_animation = own.lower() in ("", ".gif", ".apng")  # standard input may be one
        return own if wanted.lower() in VIDEOS and not is_animation else wanted
    if wanted.lower() not in VIDEOS | _ANIMATIONS:
        wanted = own
    return wanted if wanted.lower() in WRITABLE_VIDEOS | _ANIMATIONS else USUAL_VIDEO


def can_become(source: Place, target: Place) -> bool:
    """Whether a file can be turned into another by their suffixes."""
    if is_video(source) == is_video(target):
        return True
    return may_be_animated(target if is_video(source) else source)


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


@lru_cache(maxsize=1)
def has_heif() -> bool:
    """Whether Pillow's optional plug-in for HEIC is installed; if so, it is registered."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def explain_unreadable(path: Path) -> str:
    """Why a file is none of the formats that are read."""
    if _FORMATS.get(path.suffix.lower()) == "HEIF" and not has_heif():
        return f"{path} needs: pip install 'stylecli[heic]'"
    known = ", ".join(sorted(set(_FORMATS.values())))
    return f"{path} is not an image that can be read: damaged, or none of {known}"
