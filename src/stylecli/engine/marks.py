"""Which model made a picture: a line of its EXIF, so that a later run can say what it skips."""

from contextlib import suppress
from pathlib import Path

from PIL import Image

from stylecli.files.images import opened

_SOFTWARE = 0x0131
_PREFIX = "stylecli "
_MAX_BYTES = 65_533  # a JPEG's segment holds no more


def marked(exif: bytes, model: str) -> bytes:
    """EXIF that also names the model; as it was, if there is no room in it."""
    with suppress(Exception):  # Pillow raises many kinds on tags that are damaged
        tags = Image.Exif()
        tags.load(exif)
        tags[_SOFTWARE] = _PREFIX + _ascii(model)
        content = tags.tobytes()
        return content if len(content) <= _MAX_BYTES else exif
    return exif


def other_model(path: Path, model: str) -> str:
    """The model that a picture names as its own, if it is another one; else nothing."""
    tags = Image.Exif()
    with suppress(Exception), opened(path) as image:
        tags.load(image.info.get("exif", b""))  # from the head alone
    text = str(tags.get(_SOFTWARE, ""))
    other = text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else ""
    return "" if other == _ascii(model) else other


def _ascii(text: str) -> str:
    """As EXIF can hold it."""
    return text.encode("ascii", "replace").decode()
