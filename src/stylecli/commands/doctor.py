"""``stylecli doctor``."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from stylecli.commands.shared import command
from stylecli.console import Reporter, escape_controls, write_out


@command
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Say it as one JSON object.")] = False,
) -> None:
    """Say what is installed, what would be chosen, and what is broken: for bug reports.

    The home folder is shown as ~, and the user's name as USER. The exit code is 0 even if
    something is broken.

    Examples:
        stylecli doctor
        stylecli doctor --json
    """
    from stylecli.doctor import examine

    with Reporter() as reporter:
        reporter.advance("examining", 0.0, "what is installed")
        facts = examine()
    lines = [json.dumps(facts, indent=2)] if as_json else map(escape_controls, _lines(facts))
    write_out("".join(f"{line}\n" for line in lines))


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """Write a line for each section, and below it one for each fact."""
    for section, values in facts.items():
        yield section
        if isinstance(values, dict):
            yield from (f"  {name}: {_text(value)}" for name, value in values.items())
        else:
            yield from (f"  {_text(value)}" for value in values or ["none"])


def _text(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
