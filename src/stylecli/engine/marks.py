"""The model that made a picture, in its EXIF, so that a later run can say what it skips."""

from contextlib import suppress
from pathlib import Path

from PIL import Image

from stylecli.files.images import opened
from stylecli.files.metadata import MAX_EXIF_BYTES

_SOFTWARE = 0x0131  # the EXIF tag
_PREFIX = "stylecli "


def marked(exif: bytes, model: str) -> bytes:
    """EXIF that also names the model; unchanged, if it is damaged or has no room for that."""
    with suppress(Exception):  # Pillow raises many kinds of error on damaged tags
        tags = Image.Exif()
        tags.load(exif)
        tags[_SOFTWARE] = _PREFIX + _ascii(model)
        content = tags.tobytes()
        return content if len(content) <= MAX_EXIF_BYTES else exif
    return exif


def other_model(path: Path, model: str) -> str:
    """The model that a picture names in its EXIF, if it is another one; otherwise nothing."""
    tags = Image.Exif()
    with suppress(Exception), opened(path) as image:
        if image.format == "TIFF":
            tags = image.getexif()
        else:
            tags.load(image.info.get("exif", b""))  # this reads the header of the file alone
    text = str(tags.get(_SOFTWARE, ""))
    other = text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else ""
    return "" if other == _ascii(model) else other


def _ascii(text: str) -> str:
    """A text in ASCII, as EXIF requires."""
    return text.encode("ascii", "replace").decode()
