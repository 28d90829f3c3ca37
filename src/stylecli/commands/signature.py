"""The options of a command, built from the fields of its config; typer reads the signature."""

import functools
import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from stylecli.commands import completion
from stylecli.options import Option, options_of

Command = Callable[..., None]

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_NARROW = 14  # letters: longer lines of choices would leave the help texts too little room


def options_from(config: type[Any]) -> Callable[[Command], Command]:
    """A decorator that gives a command an option for each field of a config class.

    They take the place of the command's parameter ``given``, which receives the values that stand
    on the command line, by the names of the fields.
    """

    def decorate(command: Command) -> Command:
        options = {one.name: one for one in options_of(config)}

        @functools.wraps(command)
        def run(context: typer.Context, **values: Any) -> None:
            own = {name: value for name, value in values.items() if name not in options}
            command(given=read_options(context, config), **own)

        parameters = [inspect.Parameter("context", _KEYWORD, annotation=typer.Context)]
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            if parameter.name == "given":
                parameters += map(_make_parameter, options.values())
            else:
                parameters.append(parameter.replace(kind=_KEYWORD))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _make_parameter(option: Option) -> inspect.Parameter:
    """The parameter that typer reads for an option."""
    kind, default = str if option.choices else option.type, option.default
    if option.several and option.argument:
        kind, default = list[kind], None  # type: ignore[valid-type]
    elif option.several:
        kind, default = str, ",".join(default)
    elif option.argument:
        default = inspect.Parameter.empty
    annotation: Any = Annotated[kind | None if default is None else kind, _make_info(option)]
    return inspect.Parameter(option.name, _KEYWORD, default=default, annotation=annotation)


def _make_info(option: Option) -> Any:
    """The names and the help of an option, as typer wants them.

    The type of one that has choices stays ``str``: the config refuses a wrong choice, and names the
    nearest.
    """
    help_ = option.help.replace("[", r"\[")  # or rich takes [default: …] for a color
    if option.argument:
        return typer.Argument(metavar=option.argument, help=help_)
    known = option.choices + option.offered
    offer = completion.offer(known, option.completes, several=option.several)
    return typer.Option(
        *filter(None, [option.flag, option.short]),
        help=help_,
        rich_help_panel=option.panel,
        metavar=_describe_value(option),
        parser=partial(_parse_number, option.word) if option.word else None,
        autocompletion=offer if known or option.completes else None,
    )


def _describe_value(option: Option) -> str | None:
    """What the help calls a value; None is typer's word for its type."""
    if not option.choices:
        return option.metavar or None
    separator = "," if option.several else "|"
    line = separator.join(option.choices)
    return line if len(line) < _NARROW else f"{separator}\n".join(option.choices)


def _parse_number(word: str, text: str) -> float | str:
    """A number, or the word that may stand in its place."""
    try:
        return word if text == word else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor {word}") from None


def read_options(context: typer.Context, config: type[Any]) -> dict[str, Any]:
    """The fields of a config that stand on the command line: name to value."""
    values = {}
    for option in options_of(config):
        if _is_typed(context, option.name):
            value = context.params[option.name]
            if option.several and isinstance(value, str):
                value = value.replace(" ", "").split(",")
            values[option.name] = option.convert(value)
    return values


def _is_typed(context: typer.Context, name: str) -> bool:
    if context.params.get(name) in ((), []):  # typer 0.26 says of them too that they were given
        return False
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
