"""The one error that a user of the program can cause."""

import difflib
import re
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


def first_line(error: BaseException) -> str:
    """The first line of an error's text; the name of its class if the text is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


# Other words of the field for what can be chosen: the first of each is how it is called here.
_SYNONYMS = (
    ("cuda", "gpu", "nvidia", "rocm"),
    ("mps", "metal", "apple"),
    ("in", "instance", "instance norm"),
    ("bn", "batch", "batch norm"),
    ("none", "no", "off"),
    ("residual", "johnson", "resnet"),
    ("pyramid", "ulyanov", "texture nets"),
    ("float32", "fp32", "f32", "full"),
    ("bfloat16", "bf16", "half", "fp16", "float16"),
    ("vgg16", "vgg"),
    ("torch", "pytorch"),
)


def choose_from(given: str, known: Iterable[str]) -> str:
    """A hint for a word that is not among the known ones: the nearest, then all of them."""
    names = sorted(known)
    near = _nearest(given, names)
    verb = "there are" if len(names) > 1 else "there is"
    return (f"did you mean {near}? " if near else "") + f"{verb}: {', '.join(names) or 'none'}"


def _nearest(given: str, names: list[str]) -> str:
    """The name that a word stands for, or is most like; empty if it is like none."""
    word, meant = _letters(given), {_letters(name): name for name in reversed(names)}
    for name, *others in _SYNONYMS:
        if name in names:
            meant |= dict.fromkeys(map(_letters, others), name)
    cutoff = 0.5 if len(word) < 4 else 0.6  # half of a word of two letters is the other one
    if word in meant:
        return meant[word]
    near = difflib.get_close_matches(given, names, n=1, cutoff=cutoff)
    near += [meant[one] for one in difflib.get_close_matches(word, meant, n=1, cutoff=cutoff)]
    return near[0] if near else ""


def _letters(text: str) -> str:
    """A word without what is often written in another way: case, spaces, hyphens."""
    return re.sub(r"[\W_]", "", text.lower())
