"""What a person sees while something goes on: how fast, how long, and never nothing."""

import re

import pytest

from stylecli.console import Reporter, Watch, format_rate
from stylecli.events import Notice, Pixels, Progress, Step
from terminals import show_on_terminal


@pytest.mark.parametrize(
    ("count", "seconds", "noun", "words"),
    [
        (24, 12, "", "2.0 a second"),
        (1, 4.1, "", "4.1 s each"),
        (48, 2, "frames", "24.0 frames a second"),
        (1, 4, "frames", "0.2 frames a second"),
        (1, 0, "", "1000.0 a second"),
    ],
)
def test_a_speed_in_words(count, seconds, noun, words):
    assert format_rate(count, seconds, noun) == words


def test_steps_of_a_training_and_of_gatys_are_shown_alike(capsys):
    losses = {"content": 1400.0, "style": 2000.0, "total": 3400.0}
    words = "objective 3,400: content 1,400, style 2,000"
    with Reporter() as reporter:
        watch = Watch(reporter, "training")
        watch(Notice("a line"))
        watch(Progress(0.5, "reading photos"))
        watch(Step(7, 0.25, losses, 8.06, 125.0))
        watch = Watch(reporter, "optimizing", count=10)
        watch(Pixels(0, 0.0, losses, None))
        watch(Pixels(2, 0.2, losses, None))
    assert capsys.readouterr().err.splitlines() == [
        "a line",
        "preparing  50%  reading photos",
        f"training  25%  step 7  about 2 minutes left  8.1 photos a second  {words}",
        f"optimizing  20%  step 2 of 10  less than 10 seconds left  {words}",
    ]


def test_events_hold_the_same_numbers(capsys):
    losses = {"total": 2.0}
    with Reporter(as_json=True) as reporter:
        Watch(reporter)(Pixels(3, 0.5, losses, lambda: None))
        Watch(reporter)(Step(3, 0.5, losses, 1.5, 9.0))
    first, second = capsys.readouterr().out.splitlines()
    assert first == '{"event": "step", "step": 3, "progress": 0.5, "losses": {"total": 2.0}}'
    assert second.endswith('"photos_per_second": 1.5, "seconds_left": 9.0}')


def test_a_bar_is_one_line_of_a_narrow_terminal_and_moves_by_itself():
    """Also while something is done that tells nothing."""
    code = (
        "import time; from stylecli.console import Reporter\n"
        "with Reporter() as reporter:\n"
        "    reporter.advance('preparing', 0.0, 'loading ' + 'a long name ' * 20)\n"
        "    time.sleep(1.6)\n"
    )
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", show_on_terminal("-c", code))
    lines = [line for line in re.split(r"[\r\n]+", text) if line.startswith("preparing")]
    assert {len(line) for line in lines} == {80}
    assert {"0:00:00", "0:00:01"} <= {word for line in lines for word in line.split()}


def test_a_dumb_terminal_gets_lines_as_a_pipe_does():
    """On a real terminal of that kind, no bar can be drawn."""
    code = (
        "from stylecli.console import Reporter\n"
        "with Reporter() as reporter:\n"
        "    for done in range(1, 11): reporter.advance('painting', done / 10, f'{done}/10')\n"
    )
    assert "painting  50%  5/10" in show_on_terminal("-c", code, term="dumb")


def test_a_second_task_of_one_title_is_shown_as_the_first(capsys):
    """The arms of a comparison are all `training`."""
    with Reporter() as reporter:
        for arm in ("one", "two"):
            for done in range(1, 11):
                reporter.advance("training", done / 10, arm)
    shown = capsys.readouterr().err
    assert (shown.count("one"), shown.count("two")) == (10, 10)


def test_a_command_that_is_stopped_at_once_shows_the_cursor_again():
    code = (
        "import os, signal; from stylecli.console import Reporter, watch_for_stop\n"
        "with Reporter() as reporter, watch_for_stop():\n"
        "    reporter.advance('painting', 0.5, '1/2')\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    shown = show_on_terminal("-c", code, code=130)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
