"""Names of models and of styles."""

import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from stylecli.errors import StyleCliError


def style_name(style_image: Path) -> str:
    """The name of a style: that of the image file, in lower case, with hyphens."""
    return _hyphenated(style_image.stem) or "style"


def _hyphenated(text: str) -> str:
    """A text in lower case, without accents; all but letters and digits become a hyphen."""
    lower = unicodedata.normalize(
        "NFKD", text
    ).lower()  # NFKD first: a bold A of mathematics has no small form
    plain = unicodedata.normalize("NFKD", lower)
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", letters)).strip("-")


def match_name(given: str, names: Iterable[str]) -> str | None:
    """The one of some names that is meant: ``Udnie`` and ``The Scream`` are good enough.

    A name as it is comes first; then the first that differs in case, accents, spaces, hyphens or
    underscores only. None if there is none.
    """
    known = list(names)
    if given in known:
        return given
    plain = _hyphenated(given)
    return next((name for name in known if plain and _hyphenated(name) == plain), None)


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
        raise StyleCliError(f"{name!r} is not a name for a model", hint=hint)
    return name
