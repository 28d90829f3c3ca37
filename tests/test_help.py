"""The help of every command: whole at any width, without colors where there are to be none."""

import os
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from itertools import pairwise

import pytest
from typer.main import get_command

from stylecli.cli import app

TOP = get_command(app)
COMMANDS = TOP.list_commands(None)


@cache
def help_of(command: str, width: int) -> list[str]:
    """The lines of a command's help, at a width."""
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(StringIO()) as shown,
        pytest.raises(SystemExit) as ended,
    ):
        patch.setenv("COLUMNS", str(width))
        app([*command.split(), "--help"])
    assert not ended.value.code
    return shown.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_whole_and_no_line_too_long_at_any_width(command, width):
    lines = help_of(command, width)
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    for option in TOP.get_command(None, command).params:
        if option.param_type_name == "option":
            assert {*option.opts} <= words


def test_the_help_names_every_command():
    rows = [line.split()[1:2] for line in help_of("", 80) if line.startswith("│")]
    assert [row for row in rows if row[0] in COMMANDS] == [[name] for name in COMMANDS]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_paragraphs_fill_the_lines(command):
    """A line break of a docstring is none of the help, so that no line is half empty."""
    lines = help_of(command, 80)
    prose = lines[3 : next(number for number, line in enumerate(lines) if "─" in line)]
    for line, following in pairwise(prose):
        if line.strip() and following.strip():
            assert len(line.rstrip()) + len(" ") + len(following.split()[0]) >= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_only_plain_words_name_what_an_argument_is(command):
    """Typer would show the names of Python's functions and variables."""
    usage = "".join(help_of(command, 80)[1:2])
    assert not [word for word in usage.split("]", 1)[1].split() if word.islower()]


@pytest.mark.parametrize(
    "setting",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}, {}],
    ids=lambda setting: "".join(setting),
)
def test_in_a_pipe_there_is_neither_a_color_nor_an_escape(setting):
    done = subprocess.run(
        [sys.executable, "-m", "stylecli", "train", "--help"],
        capture_output=True,
        env={**os.environ, "COLUMNS": "80", **setting},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"--style-weight" in done.stdout
    assert b"\x1b" not in done.stdout
    assert b"\\u" not in done.stdout  # what a terminal's encoding lacks


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gatys a.jpg udnie b.png -o c.png", "two outputs were given: b.png and --output c.png"),
        ("gatys a.jpg udnie", "no output was given"),
        ("export udnie", "no output was given"),
        ("sheet a.jpg b.png --output c.png", "two outputs were given: b.png and --output c.png"),
        ("stylize a.jpg", "only a.jpg was given, not an input and an output"),
    ],
)
def test_an_output_is_the_last_argument_or_named(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        app(words.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}\n")
