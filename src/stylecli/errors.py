"""The one error that a user of the program can cause."""

import difflib
from collections.abc import Iterable


class StyleCliError(Exception):
    """Something that the user can put right.

    Args:
        message: one line: what was given and what was expected.
        hint: one line: what to do now.
        exit_code: the exit status of the command; 2 is usage or set-up.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code


def choose_from(given: str, known: Iterable[str]) -> str:
    """A hint for a word that is not among the known ones: the nearest, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.5)
    verb = "there are" if len(names) > 1 else "there is"
    return (f"did you mean {near[0]}? " if near else "") + f"{verb}: {', '.join(names) or 'none'}"
