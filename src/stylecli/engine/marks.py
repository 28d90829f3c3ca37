"""How a picture was made, in its EXIF: the model, and the settings that are not the default."""

from contextlib import suppress
from pathlib import Path

from PIL import Image

from stylecli.files.images import opened
from stylecli.files.metadata import MAX_EXIF_BYTES

_SOFTWARE = 0x0131  # the EXIF tag
_PREFIX = "stylecli "


def marked(exif: bytes, made_with: str) -> bytes:
    """EXIF that also says how a picture was made; unchanged, if it is damaged or has no room."""
    with suppress(Exception):  # Pillow raises many kinds of error on damaged tags
        tags = Image.Exif()
        tags.load(exif)
        tags[_SOFTWARE] = _PREFIX + _ascii(made_with)
        content = tags.tobytes()
        return content if len(content) <= MAX_EXIF_BYTES else exif
    return exif


def made_otherwise(path: Path, made_with: str) -> str:
    """What a picture says of how it was made, if that is something else; otherwise nothing."""
    tags = Image.Exif()
    with suppress(Exception), opened(path) as image:
        if image.format == "TIFF":
            tags = image.getexif()
        else:
            tags.load(image.info.get("exif", b""))  # this reads the header of the file alone
    text = str(tags.get(_SOFTWARE, ""))
    other = text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else ""
    return "" if other == _ascii(made_with) else other


def _ascii(text: str) -> str:
    """A text in ASCII, as EXIF requires."""
    return text.encode("ascii", "replace").decode()
