"""Names of models and of styles."""

import os
import re
import sys
import unicodedata
from pathlib import Path

from stylecli.errors import StyleCliError


def style_name(style_image: Path) -> str:
    """The name of a style: that of the image file, in lower case, with hyphens."""
    plain = unicodedata.normalize("NFKD", style_image.stem.lower())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", letters)).strip("-") or "style"


def shorten_name(name: str, most: int = 80) -> str:
    """A name of at most so many bytes, as file systems count them, cut between two characters."""
    return os.fsencode(name)[:most].decode(sys.getfilesystemencoding(), "ignore")


def require_name(name: str) -> str:
    """The name itself, if a model may be called so.

    Raises:
        StyleCliError: it is not in lower case with hyphens; the hint says how it would be.
    """
    if name != style_name(Path(f"{name}.pth")):
        hint = f"lower case, with hyphens: {style_name(Path(name))}"
        raise StyleCliError(f"{name!r} is no name of a model", hint=hint)
    return name
