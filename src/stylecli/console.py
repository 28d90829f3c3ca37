"""What a person sees on stderr while a command runs, and what a machine reads on stdout.

Everything that is printed goes through here: a file's name or a model's metadata may hold
characters that command a terminal, and both streams may be closed, full or without a reader.
"""

import io
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from stylecli.core.tensor_files import is_control
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Pixels, Progress, Step

if TYPE_CHECKING:  # most runs need nothing of it, and its import takes a twentieth of a start
    from rich.console import Console
    from rich.progress import Progress as Bar


def escape_controls(text: str) -> str:
    r"""A text with each character that commands a terminal, or reorders a line, as ``\x1b``."""
    return "".join(
        char.encode("unicode_escape").decode() if is_control(char) else char for char in text
    )


class _Unfailing(io.TextIOWrapper):
    """A text stream that drops what cannot be written."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _occupy_if_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY)


def open_standard_streams() -> None:
    """Replace stderr by a stream that never fails, and let failures to write to stdout be seen.

    A closed stream gets a null device that is opened for reading where it should be written, and
    the other way round. Otherwise the next file that is opened would take the number of the stream,
    and would be written to by mistake.
    """
    for number in range(3):
        _occupy_if_closed(number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may hold any character
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    # Unbuffered: a buffer refuses to be used again from a signal's handler that interrupts it.
    raw = open(2, "wb", buffering=0, closefd=False)  # noqa: SIM115
    sys.stderr = _Unfailing(raw, encoding=encoding, errors="backslashreplace", write_through=True)


def report_output_failure(error: OSError) -> int:
    """The exit code after a failure to write to standard output; an error is also shown."""
    with suppress(OSError, ValueError):  # what is still buffered cannot be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # as in `stylecli … | head`: the reader has enough
        return 128 + signal.SIGPIPE if hasattr(signal, "SIGPIPE") else 1
    show_error(StyleCliError(f"cannot write to standard output: {error.strerror or error}"))
    return 1


def write_out(text: str) -> None:
    """Write lines to standard output; if that fails, end the command."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise SystemExit(report_output_failure(error)) from error


def print_table(rows: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> None:
    """A table to stdout: folded to a terminal's width, each row on one line in a pipe."""
    from rich.console import Console  # only here: see above
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=bool(heads), padding=(0, 2, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(Text(escape_controls(head)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape_controls(text)) for text in row))
    terminal = sys.stdout.isatty()
    drawn = io.StringIO()
    Console(file=drawn, force_terminal=terminal, width=None if terminal else 10_000).print(table)
    write_out(drawn.getvalue())


@cache
def _rich() -> "Console":
    """What draws colors and bars on standard error, and lines above a bar."""
    from rich.console import Console  # only here: see above

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _write_line(text: str, title: str = "", style: str = "") -> None:
    """Write a line to standard error; it may begin with a title in a style of rich's."""
    if title or "rich.progress" in sys.modules:  # there may be a bar
        from rich.text import Text  # only here: see above

        _rich().print(Text.assemble((title, style), escape_controls(text)))
    else:
        sys.stderr.write(escape_controls(text) + "\n")


def show_error(error: StyleCliError) -> None:
    """One line for what went wrong, one for what to do."""
    _write_line(error.message, "error: ", "bold red")
    if error.hint:
        _write_line(error.hint, "hint: ", "bold cyan")


@contextmanager
def watch_for_stop(quiet: bool = False) -> Iterator[Callable[[], bool]]:
    """A function that returns whether the user asked to stop, by Ctrl-C, SIGTERM or SIGHUP.

    The command then finishes what it has begun. Asked a second time, the process ends at once, and
    the file that is being written is lost.
    """
    asked = threading.Event()

    def ask() -> None:
        if asked.is_set():  # not by an exception, which would wait for every thread's work to end
            try:
                _write_line("stopped at once")
                if "rich.progress" in sys.modules:  # its bar hides the cursor
                    _rich().show_cursor(True)
            finally:
                os._exit(130)
        asked.set()
        if not quiet:
            _write_line("stopping … (once more to stop at once)")

    with _handle_signals(ask):
        yield asked.is_set


@contextmanager
def _handle_signals(handle: Callable[[], None]) -> Iterator[None]:
    """Call a function for each signal that asks to stop.

    These are SIGINT, which is Ctrl-C, SIGTERM and SIGHUP. One stays ignored if a shell or nohup
    started this process so. A separate thread calls the function: the main thread may be in a
    library for minutes, as when it waits for other processes of a training.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP")  # SIGHUP, of a closed terminal, is not there on Windows
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    handled = [n for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    ours, of_python = socket.socketpair()

    def listen() -> None:
        while got := ours.recv(1):  # Python writes the number of each signal there
            if got[0] in handled:
                handle()

    of_python.setblocking(False)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(of_python.fileno(), warn_on_full_buffer=False)
    before = {n: signal.signal(n, lambda *_: None) for n in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        of_python.close()
        thread.join()
        ours.close()


def format_duration(seconds: float) -> str:
    """Seconds as ``1:05:09``, ``5:09`` or ``0:09``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_time_left(seconds: float) -> str:
    """An estimate in words, such as ``about 3 minutes left``."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if (count := round(seconds / length)) >= 2:
            return f"about {count} {unit}s left"
    if seconds > 10:
        return f"about {math.ceil(seconds / 10) * 10} seconds left"
    return "less than 10 seconds left" if seconds > 0 else "nearly done"


def format_rate(count: float, seconds: float, noun: str = "") -> str:
    """A speed in words, such as ``2.0 a second``, ``24.0 frames a second`` or ``4.1 s each``."""
    speed = count / max(seconds, 1e-3)
    if noun or speed >= 0.95:
        return f"{speed:.1f}{noun and ' '}{noun} a second"
    return f"{1 / speed:.1f} s each"


class Reporter:
    """Shows the progress of a command: a bar on a terminal, lines elsewhere, or JSON on stdout.

    Args:
        quiet: show nothing.
        as_json: write events to stdout, a JSON object a line, and no bar.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self._bar: Bar | None = None
        self._shown = 0.0
        self._title = ""

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Show a line to the user."""
        if not self.quiet:
            _write_line(text)

    def notice(self, text: str) -> None:
        """Show a line that is an event too."""
        self.say(text)
        self.event(event="notice", text=text)

    def event(self, **values: Any) -> None:
        """Write an event as a line of JSON, if that was asked for."""
        if self.as_json:
            write_out(json.dumps(values) + "\n")

    def advance(self, title: str, progress: float, note: str) -> None:
        """Move the bar to a progress of 0 to 1; without a terminal, a line for every tenth."""
        if self.quiet or self.as_json:
            return
        title, note = escape_controls(title), escape_controls(note)
        if title != self._title or progress < self._shown:  # another, of the same title
            self._title, self._shown = title, 0.0
        if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            self._draw(title, progress, note)
        elif progress - self._shown > 0.0999:
            self._shown = progress
            self.say(f"{title} {progress:4.0%}  {note}")

    def _draw(self, title: str, progress: float, note: str) -> None:
        if self._bar is None and progress < 1:
            self._bar = _start_bar(title)
        if self._bar:
            (task,) = self._bar.task_ids
            self._bar.update(task, completed=progress, note=note, description=title)


class Watch:
    """Shows the events of a long computation as they come.

    Args:
        reporter: shows it.
        steps: what the steps are, such as ``training``.
        rest: what all else is, such as ``preparing``.
        count: of all steps, if it is known.
    """

    def __init__(
        self, reporter: Reporter, steps: str = "", rest: str = "preparing", count: int = 0
    ) -> None:
        self._reporter, self._steps, self._rest, self._count = reporter, steps, rest, count
        self._begun = 0.0

    def __call__(self, event: "Step | Pixels | Notice | Progress") -> None:
        """Show an event."""
        if isinstance(event, Notice):
            self._reporter.notice(event.text)
        elif isinstance(event, Progress):
            self._reporter.event(event="progress", progress=event.progress, note=event.note)
            self._reporter.advance(self._rest, event.progress, event.note)
        else:
            self._show_step(event)

    def _show_step(self, event: "Step | Pixels") -> None:
        self._begun = self._begun or time.monotonic()  # before the first step, others were done
        values = {name: value for name, value in vars(event).items() if name != "best"}
        self._reporter.event(event="step", **values)
        parts = [f"step {event.step}" + (f" of {self._count}" if self._count else "")]
        if isinstance(event, Step):
            parts += [
                format_time_left(event.seconds_left),
                f"{event.photos_per_second:.1f} photos a second",
            ]
        elif event.step:
            parts.append(
                format_time_left((time.monotonic() - self._begun) * (1 / event.progress - 1))
            )
        self._reporter.advance(
            self._steps, event.progress, "  ".join([*parts, _objective(event.losses)])
        )


def _objective(losses: Mapping[str, float]) -> str:
    """The objective and its terms, such as ``objective 3,400: content 1,400, style 2,000``."""
    terms = [f"{name} {value:,.0f}" for name, value in losses.items() if name != "total"]
    return f"objective {losses['total']:,.0f}: {', '.join(terms)}"


def _start_bar(title: str) -> "Bar":
    """A bar at the bottom of the screen, of one task."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column  # only here: see above

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        TimeElapsedColumn(),  # it moves even if nothing else does
        TextColumn(
            "{task.fields[note]}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        console=_rich(),
        transient=True,
        expand=True,
    )
    bar.add_task(title, total=1.0, note="")
    bar.start()
    return bar
