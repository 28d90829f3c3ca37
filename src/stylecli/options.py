"""The options of commands: each is a field of a frozen config class, with all that is known of it.

Such a field is ``steps: int | None = option(None, "Train for …", least=1)``. From the fields come
what a command accepts and its help shows, what is checked, what is stored as JSON, and the command
line that is printed.
"""

import inspect
import json
import math
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from stylecli.errors import StyleCliError, choose_from

T = TypeVar("T")
_KINDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """What a field says of an option; from ``name`` on, what the field itself shows of it."""

    help: str
    panel: str = ""  # the title under which the help shows it; by default that of its class
    flag: str = ""  # its name on the command line; by default as the field's: --batch-size
    short: str = ""  # a second name, of one letter, such as -o
    argument: str = ""  # what the help calls it, if it is given by its place and not by a name
    metavar: str = ""  # what the help calls a value; "" is typer's word for the type
    least: float = -math.inf  # a number is at least that
    above: float = -math.inf  # a number is more than that
    most: float = math.inf  # a number is at most that
    word: str = ""  # a text that may stand in the place of a number
    offered: tuple[str, ...] = ()  # values that a shell offers, beside which there are others
    completes: str = ""  # it offers these too: "models", or the "styles" of the model before
    instead_of: str = ""  # a field that cannot have a value too

    name: str = ""
    type: Any = None  # of one value, without the None of an optional one
    several: bool = False  # whether a value is a tuple
    optional: bool = False  # whether it may be None
    default: Any = None

    @property
    def choices(self) -> tuple[str, ...]:
        """The names to choose from; () if it is not a choice."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    def convert(self, value: Any) -> Any:
        """A value of JSON or of the command line as the field has it: tuples, paths."""
        if self.several and isinstance(value, list | tuple):
            return tuple(map(self.convert, value))
        return Path(value) if self.type is Path and isinstance(value, str) else value

    def check(self, value: Any) -> None:
        """Raise StyleCliError if a value is not valid."""
        if (value is None and self.optional) or (self.word and value == self.word):
            return
        if isinstance(value, tuple) != self.several:
            raise self._describe_type(value)
        values = value if self.several else (value,)
        if self.default and not values:
            raise StyleCliError(f"{self.flag} was given no value", hint="name one at least")
        for one in values:
            self._check_type(one)
            if self.choices and one not in self.choices:
                hint = choose_from(one, self.choices)
                raise StyleCliError(f"unknown {self.flag} {one!r}", hint=hint)
            if self.type in (int, float):
                self._check_range(one)
        if self.choices and len(set(values)) < len(values):
            given = ",".join(values)
            raise StyleCliError(f"{self.flag} {given}: one was given twice", hint="once is enough")

    def _check_type(self, value: Any) -> None:
        """From Python, and from a damaged checkpoint, anything may come."""
        expected = str if self.choices else self.type
        accepted = (int, float) if expected is float else expected
        if not isinstance(value, accepted) or isinstance(value, bool) != (expected is bool):
            raise self._describe_type(value)

    def _check_range(self, number: float) -> None:
        if self.least <= number <= self.most and self.above < number < math.inf:
            return
        bounds = {"at least": self.least, "more than": self.above, "at most": self.most}
        known = [f"{words} {bound}" for words, bound in bounds.items() if math.isfinite(bound)]
        hint = f"it is {' and '.join(known) or 'a finite number'}"
        raise StyleCliError(f"{self.flag} {number} is out of range", hint=hint)

    def _describe_type(self, value: Any) -> StyleCliError:
        kind = _KINDS[str if self.choices else self.type]
        expected = f"a tuple (each {kind})" if self.several else kind
        return StyleCliError(f"{self.flag} takes {expected}, not {value!r}", hint="see --help")


def option(default: T, help_: str, **more: Any) -> T:
    """A field of a config class.

    Args:
        default: its default.
        help_: its help text.
        more: other attributes of :class:`Option`, up to ``instead_of``.
    """
    return field(default=default, metadata={"option": Option(help=help_, **more)})


def options_of(config: type[Any]) -> list[Option]:
    """The options of a config class, its own before those of its base classes."""
    hints = get_type_hints(config)
    left = {one.name: one for one in fields(config)}
    options = []
    for home in config.__mro__:
        for name in filter(left.__contains__, inspect.get_annotations(home)):
            one, hint = left.pop(name), hints[name]
            several, optional = get_origin(hint) is tuple, NoneType in get_args(hint)
            if several or get_origin(hint) in (Union, UnionType):  # of a number and a word, that
                hint = next(kind for kind in get_args(hint) if kind is not NoneType)
            given: Option = one.metadata["option"]
            known = {"name": name, "type": hint, "several": several, "optional": optional}
            panel = given.panel or getattr(home, "panel", "")
            flag = given.flag or f"--{name.replace('_', '-')}"
            options.append(replace(given, **known, default=one.default, panel=panel, flag=flag))
    return options


class Config:
    """What config classes share: their fields are options.

    Args:
        panel: the title under which the help shows the options that a class adds.
    """

    panel = ""

    def __init_subclass__(cls, panel: str = "") -> None:
        cls.panel = panel or cls.panel

    def check(self) -> None:
        """Raise StyleCliError if a value is of another type, unknown or out of range."""
        options = {one.name: one for one in options_of(type(self))}
        for one in options.values():
            one.check(getattr(self, one.name))
            other = options.get(one.instead_of)
            if other and None not in (getattr(self, one.name), getattr(self, other.name)):
                both = f"both {one.flag} and {other.flag} were given"
                raise StyleCliError(both, hint="choose one of them")

    def values_of(self, base: type[Any]) -> dict[str, Any]:
        """The values of those fields that a base class has too, by their names."""
        return {one.name: getattr(self, one.name) for one in fields(base)}


def as_json(config: object) -> dict[str, Any]:
    """The values of a config as JSON can hold them: paths as text, tuples as lists."""
    values = {one.name: getattr(config, one.name) for one in options_of(type(config))}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def from_json(config: type[T], values: Mapping[str, Any]) -> T:
    """The config that :func:`as_json` was given; values of other types stay as they are."""
    return config(**{one.name: one.convert(values[one.name]) for one in options_of(config)})


def command_line(command: str, config: object, always: Collection[str] = ()) -> str:
    """The words that run a command of stylecli with a config.

    Args:
        command: its name.
        config: its options; those that have their default are left out.
        always: names of fields that are not left out.
    """
    places: list[str] = []
    words: list[str] = []
    for one in options_of(type(config)):
        value = getattr(config, one.name)
        if one.argument:
            places += [f"./{path}" if str(path).startswith("-") else str(path) for path in value]
        elif value != one.default or one.name in always:
            words.append(one.flag)
            words += [] if value is True else [",".join(value) if one.several else str(value)]
    return shlex.join(["stylecli", command, *places, *words])
