"""What a person sees on stderr while a command runs, and what a machine reads on stdout."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from stylecli.errors import StyleCliError

console = Console(stderr=True, highlight=False, soft_wrap=True)


def show_error(error: StyleCliError) -> None:
    """One line for what went wrong, one for what to do."""
    console.print(Text.assemble(("error: ", "bold red"), error.message))
    if error.hint:
        console.print(Text.assemble(("hint: ", "bold cyan"), error.hint))


@contextmanager
def stoppable(quiet: bool = False) -> Iterator[Callable[[], bool]]:
    """A function that tells whether it is time to stop in good order: Ctrl-C was pressed.

    SIGTERM and SIGHUP, of a closed terminal, say the same.

    Pressed twice, it ends the process at once; what was being written is left out.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:  # not by an exception, which would wait for every thread's work to end
            console.print("stopped at once")
            os._exit(130)
        asked = True
        if not quiet:
            console.print("stopping … (once more to stop at once)")

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is a closed terminal; Windows has none
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def duration(seconds: float) -> str:
    """Seconds as ``1:05:09``, ``5:09`` or ``0:09``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Reporter:
    """Says how a command gets on: a bar on a terminal, lines elsewhere, or JSON on stdout.

    Args:
        quiet: say nothing.
        as_json: write events to stdout, a JSON object a line, and no bar.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=quiet or as_json or not console.is_terminal,
            transient=True,
        )
        self._task: TaskID | None = None
        self._told = 0.0
        self._title = ""

    def __enter__(self) -> "Reporter":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line for the person."""
        if not self.quiet:
            console.print(Text(text))

    def event(self, **values: Any) -> None:
        """A line for the machine."""
        if self.as_json:
            print(json.dumps(values), flush=True)

    def advance(self, title: str, progress: float, note: str) -> None:
        """Move the bar to a progress of 0 to 1; without a terminal, a line every tenth."""
        if title != self._title:
            self._title, self._told = title, 0.0
        if self._progress.disable:
            if progress - self._told >= 0.1 and not self.as_json:
                self._told = progress
                self.say(f"{title} {progress:4.0%}  {note}")
            return
        if self._task is None:
            self._task = self._progress.add_task(title, total=1.0, note=note)
        self._progress.update(self._task, completed=progress, note=note, description=title)
