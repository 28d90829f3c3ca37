"""Options are fields of config classes; everything said of them is derived, without torch."""

import inspect
import json
import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from stylecli import options
from stylecli.commands.signature import options_from
from stylecli.errors import StyleCliError
from stylecli.options import as_json, command_line, from_json, option, options_of


@dataclass(frozen=True)
class Base(options.Config, panel="Base"):
    weight: float = option(1.0, "A weight.", least=0)
    seed: int = option(0, "A seed.", least=0, most=9)


@dataclass(frozen=True)
class Config(Base, panel="Own"):
    files: tuple[Path, ...] = option((), "Files.", argument="FILE")
    out: Path | None = option(None, "Output. [default: none]", short="-o")
    kind: Literal["round", "square"] = option("round", "Its shape.", panel="Elsewhere")
    kinds: tuple[Literal["in", "bn"], ...] = option(("in",), "Several.", flag="--each")
    names: tuple[str, ...] = option(("a", "b"), "Names.")
    steps: int | None = option(None, "Steps.", least=1, instead_of="minutes")
    minutes: float | None = option(None, "Minutes.", above=0)
    fast: bool = option(False, "Quickly.")
    seed: int = option(3, "Another seed.")


FULL = Config(
    weight=0.5,
    seed=5,
    files=(Path("-a b.png"), Path("c.png")),
    out=Path("-x"),
    kind="square",
    kinds=("bn", "in"),
    names=("b",),
    minutes=1.5,
    fast=True,
)


def application() -> tuple[typer.Typer, list[dict[str, object]]]:
    """A command with these options and one of its own, and what it was called with."""
    app, calls = typer.Typer(), []

    @app.command()
    @options_from(Config)
    def run(given: dict[str, object], own: bool = False) -> None:
        calls.append({**given, "own": own})

    return app, calls


def test_own_options_come_first_in_the_order_of_the_class():
    names = [one.name for one in options_of(Config)]
    own = ["files", "out", "kind", "kinds", "names", "steps", "minutes", "fast", "seed"]
    assert names == [*own, "weight"]
    panels = {one.name: one.panel for one in options_of(Config)}
    assert (panels["weight"], panels["seed"], panels["kind"]) == ("Base", "Own", "Elsewhere")


def test_the_defaults_and_a_full_config_are_accepted():
    Config().check()
    FULL.check()
    replace(FULL, weight=2).check()  # a whole number is a number


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"weight": -0.5}, "--weight -0.5 is out of range", "it is at least 0"),
        ({"weight": math.nan}, "--weight nan is out of range", "it is at least 0"),
        ({"weight": math.inf}, "--weight inf is out of range", "it is at least 0"),
        ({"weight": "1"}, "--weight takes a number, not '1'", "see --help"),
        ({"weight": True}, "--weight takes a number, not True", "see --help"),
        ({"minutes": 0.0}, "--minutes 0.0 is out of range", "it is more than 0"),
        ({"minutes": None, "steps": 0}, "--steps 0 is out of range", "it is at least 1"),
        ({"steps": 2}, "both --steps and --minutes were given", "choose one of them"),
        (
            {"minutes": None, "steps": -(10**400)},
            f"--steps {-(10**400)} is out of range",
            "it is a",
        ),
        ({"seed": 1.0}, "--seed takes a whole number, not 1.0", "see --help"),
        ({"seed": None}, "--seed takes a whole number, not None", "see --help"),
        ({"kind": "sqare"}, "unknown --kind 'sqare'", "did you mean square? there are: round, s"),
        ({"kind": 3}, "--kind takes a text, not 3", "see --help"),
        ({"kinds": ("bn", "im")}, "unknown --each 'im'", "did you mean in?"),
        ({"kinds": ("bn", "bn")}, "--each bn,bn: one was given twice", "once is enough"),
        ({"kinds": ([],)}, "--each takes a tuple (each a text), not []", "see --help"),
        ({"kinds": ()}, "--each was given no value", "name one at least"),
        ({"names": "a"}, "--names takes a tuple (each a text), not 'a'", "see --help"),
        ({"names": (1,)}, "--names takes a tuple (each a text), not 1", "see --help"),
        ({"files": ("a.png",)}, "--files takes a tuple (each a path), not 'a.png'", "see --help"),
        ({"out": "a.png"}, "--out takes a path, not 'a.png'", "see --help"),
        ({"fast": 1}, "--fast takes True or False, not 1", "see --help"),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_clear_line(changes, message, hint):
    with pytest.raises(StyleCliError) as caught:
        replace(FULL, **changes).check()
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint)
    assert caught.value.exit_code == 2


def test_a_bound_on_both_sides_is_told_with_both():
    with pytest.raises(StyleCliError) as caught:
        Base(seed=10).check()
    assert caught.value.hint == "it is at least 0 and at most 9"


def test_json_holds_paths_as_text_and_tuples_as_lists():
    stored = as_json(FULL)
    assert stored["files"] == ["-a b.png", "c.png"]
    assert stored["out"] == "-x"
    assert stored["kinds"] == ["bn", "in"]
    assert stored["steps"] is None
    assert as_json(Config())["out"] is None


@pytest.mark.parametrize("config", [FULL, Config()])
def test_what_was_stored_as_json_comes_back(config):
    assert from_json(Config, json.loads(json.dumps(as_json(config)))) == config


def test_damaged_json_is_found_by_the_check():
    with pytest.raises(StyleCliError, match="--files takes a tuple"):
        from_json(Config, {**as_json(FULL), "files": [3]}).check()


def test_a_command_gets_only_what_was_given_and_its_own_parameters():
    app, calls = application()
    result = CliRunner().invoke(app, ["--seed", "3", "--own"])
    assert result.exit_code == 0, result.output
    assert calls == [{"seed": 3, "own": True}]


def test_the_printed_command_gives_the_same_config_again():
    app, calls = application()
    words = shlex.split(command_line("run", FULL))
    assert words[:2] == ["stylecli", "run"]
    assert CliRunner().invoke(app, words[2:]).exit_code == 0
    own = calls[0].pop("own")
    assert own is False
    again = Config(**calls[0])
    assert replace(again, files=FULL.files) == FULL
    assert again.files == (Path("./-a b.png"), Path("c.png"))


def test_defaults_are_not_printed_unless_they_always_are():
    assert command_line("run", Config()) == "stylecli run"
    assert command_line("run", Config(), always=("kinds",)) == "stylecli run --each in"


def test_help_shows_panels_choices_and_defaults():
    app, _ = application()
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80", "TERM": "dumb"}).output
    for text in ("Own", "Base", "Elsewhere", "round|square", "in,bn", "-o", "[default: none]"):
        assert text in shown
    assert "default: 3" in shown
    assert "FILE" in shown


def test_typer_reads_the_signature_in_the_place_of_given():
    @options_from(Base)
    def run(first: str, given: dict[str, object], last: int = 1) -> None: ...

    assert list(inspect.signature(run).parameters) == ["context", "first", "weight", "seed", "last"]
