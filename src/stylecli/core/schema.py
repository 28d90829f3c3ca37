"""What a file may say of itself: a file from a stranger is checked before anything believes it."""

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_MAX_NAME = 255  # characters; so long is a file's name at most
_MAX_STYLES = 1000
MAX_WIDTH = 512
_LARGEST = 1e300
_MAX_THUMBNAIL = 2**20  # characters
_INVISIBLE = ("Cc", "Zl", "Zp")  # Unicode's control characters and its line and paragraph breaks
_TURNS_TEXT_ROUND = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Check = Callable[[Any], bool]


def parse(text: str) -> dict[str, Any]:
    """The JSON object in a text, all its numbers finite.

    Raises:
        ValueError: it is no JSON, is nested too deeply, holds a number that is not finite, or is
            no object.
    """
    try:
        values = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("its description is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("its description is no JSON object")
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is not finite")
    return number


def bad_fields(values: Mapping[str, Any], checks: Mapping[str, Check]) -> list[str]:
    """The names of the fields that are missing or are not as their check wants them."""
    return [name for name, check in checks.items() if name not in values or not check(values[name])]


def is_text(value: Any) -> bool:
    """Whether it is a string."""
    return isinstance(value, str)


def is_name(value: Any) -> bool:
    """Whether it is a string that can be shown: not empty, not long, no control characters."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and not has_controls(value)


def has_controls(text: str) -> bool:
    """Whether a terminal would do something else with a text than show it."""
    return any(
        unicodedata.category(letter) in _INVISIBLE or letter in _TURNS_TEXT_ROUND for letter in text
    )


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 0; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    """Whether it is a finite number; a bool is none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -_LARGEST < value < _LARGEST  # an integer may be too large for a float


def is_list(value: Any, check: Check) -> bool:
    """Whether it is a list of what passes a check."""
    return isinstance(value, list) and all(map(check, value))


def is_table(value: Any, check: Check) -> bool:
    """Whether it is a dictionary of names to what passes a check."""
    return isinstance(value, dict) and all(is_name(k) and check(v) for k, v in value.items())


def are_styles(value: Any) -> bool:
    """Whether it is a list of names, all different."""
    return is_list(value, is_name) and len(set(value)) == len(value) <= _MAX_STYLES


def _is_training(value: Any) -> bool:
    """A training tells what it likes, but what others compute with has its type."""
    checks: dict[str, Check] = {
        "curve": lambda curve: is_list(curve, lambda p: are_losses(p) and "step" in p),
        "paintings": lambda names: is_list(names, is_text),  # files may have any name
    }
    known: Iterable[str] = checks.keys() & value.keys() if isinstance(value, dict) else ()
    return is_table(value, lambda _: True) and all(checks[name](value[name]) for name in known)


def are_losses(value: Any) -> bool:
    """Whether it is a dictionary of numbers, with a total among them."""
    return is_table(value, is_number) and "total" in value


# Of a model's description; what is missing has a default.
MODEL: dict[str, Check] = {
    **dict.fromkeys(("name", "arch", "norm", "output", "noise", "upsampling"), is_name),
    "activation": is_name,
    "width": lambda value: is_count(value) and 1 <= value <= MAX_WIDTH,
    "training": _is_training,
    "losses": lambda value: is_table(value, is_number),
    "styles": are_styles,
    "thumbnail": lambda value: is_text(value) and len(value) <= _MAX_THUMBNAIL,
    "license": is_text,
    "format_version": is_count,
}
