"""Checks of the metadata in a file, which may come from a stranger, before any of it is used."""

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_MAX_NAME = 255  # characters; the name of a file cannot be longer
MAX_STYLES = 1000
MAX_WIDTH = 512
_LARGEST = 1e300
_MAX_THUMBNAIL = 2**20  # characters
_LEAST_SIDE, _LARGEST_SIDE = 64, 2**14  # px, of a painting that is learned
# Unicode's categories of control characters; of halves of a surrogate pair, which stand for bytes
# of a file's name that are not text; and of separators of lines and of paragraphs.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Check = Callable[[Any], bool]


def parse(text: str) -> dict[str, Any]:
    """The JSON object in a text, all its numbers finite.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, holds a number that is not finite,
            or is not an object.
    """
    try:
        values = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("its description is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("its description is not a JSON object")
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
    """Whether it is a string that can be shown: neither empty nor long, no control characters."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and not has_controls(value)


def is_control(char: str) -> bool:
    """Whether a character commands a terminal, or changes the order of the others, when printed."""
    return char in _REORDERING or unicodedata.category(char) in _CONTROLS


def has_controls(text: str) -> bool:
    """Whether a text holds a character that is not to be printed."""
    return any(map(is_control, text))


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 0, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and not a bool."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -_LARGEST < value < _LARGEST  # a larger integer may not fit into a float


def is_list(value: Any, check: Check) -> bool:
    """Whether it is a list whose elements all pass a check."""
    return isinstance(value, list) and all(map(check, value))


def is_table(value: Any, check: Check) -> bool:
    """Whether it is a dictionary whose keys are names, and whose values all pass a check."""
    return isinstance(value, dict) and all(is_name(k) and check(v) for k, v in value.items())


def are_styles(value: Any) -> bool:
    """Whether it is a list of names, all different."""
    return is_list(value, is_name) and len(set(value)) == len(value) <= MAX_STYLES


def _is_training(value: Any) -> bool:
    """Whether it is a table whose entries that the program computes with have the right type.

    A training may store any other entries.
    """
    checks: dict[str, Check] = {
        "curve": lambda curve: is_list(curve, lambda p: are_losses(p) and "step" in p),
        "paintings": lambda names: is_list(names, is_text),  # files may have any name
        "scales": are_scales,
        "style_layers": lambda names: is_list(names, is_name),
        "style_size": lambda side: is_count(side) and _LEAST_SIDE <= side <= _LARGEST_SIDE,
        **dict.fromkeys(("content_layer", "loss_padding", "loss_net", "paintings_sha"), is_text),
        **dict.fromkeys(("content_weight", "style_weight", "tv_weight"), is_number),
    }
    known: Iterable[str] = checks.keys() & value.keys() if isinstance(value, dict) else ()
    return is_table(value, lambda _: True) and all(checks[name](value[name]) for name in known)


def are_scales(value: Any) -> bool:
    """Whether it is what :meth:`stylecli.core.objective.Scales.as_json` gives."""
    numbers = is_table(value, lambda one: is_list(one, is_number))
    return numbers and value.keys() == {"style", "tv"} and len(value["tv"]) == 1


def are_losses(value: Any) -> bool:
    """Whether it is a dictionary of numbers, with a total among them."""
    return is_table(value, is_number) and "total" in value


# The checks of a model's description, after defaults have been filled in.
MODEL: dict[str, Check] = {
    "name": is_name,
    "training": _is_training,
    "losses": lambda value: is_table(value, is_number),
    "styles": are_styles,
    "thumbnail": lambda value: is_text(value) and len(value) <= _MAX_THUMBNAIL,
    "license": is_text,
    "format_version": is_count,
}
