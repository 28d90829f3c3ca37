"""What runs in the processes of a Ray cluster, and what they tell."""

import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from stylecli.config import StylizeConfig
from stylecli.engine.pipeline import Result
from stylecli.engine.stylizer import Stylizer
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.images import set_pillow_limit
from stylecli.files.jobs import Job
from stylecli.files.urls import Place, Url

_BEAT = 5.0  # seconds after which a worker at work tells that it lives
_GATHER = 0.3  # seconds for which what is to be told waits for more
_FRAMES = 1.0  # seconds between two of the frames that are told of

Event = Result | Frames | Notice
Identity = tuple[int, int] | None
Task = tuple[Job, Identity]  # what was there, before the run, where the job will write


@dataclass(frozen=True)
class Beat:
    """A worker lives, and has nothing to tell."""


@dataclass(frozen=True)
class Halt:
    """A worker gave up files that it was given, as a disk is full."""


@dataclass(frozen=True)
class Unfit:
    """A worker cannot work: the model, the device or the folder is not there."""

    message: str
    hint: str


@dataclass(frozen=True)
class End:
    """Ray has no further rows; or, with an error, it has given up."""

    error: str = ""


class Worker:
    """A stylizer in a process of Ray: made once, and called for each group.

    Args:
        arguments: of the :class:`Stylizer`.
        config: how to read, paint and write.
        folder: to work in, so that relative paths mean what they mean where the run was started.
    """

    def __init__(self, arguments: Sequence[Any], config: StylizeConfig, folder: Path) -> None:
        self._config = config
        self._stylizer: Stylizer | None = None
        try:
            os.chdir(folder)
            set_pillow_limit(config.max_pixels)
            self._stylizer = Stylizer(*arguments)
        except StyleCliError as error:
            self._unfit = Unfit(f"{error.message} (on {_host()})", error.hint)
        except Exception as error:
            hint = "the photos and this folder have to be at the same place on every machine"
            self._unfit = Unfit(f"a worker on {_host()} cannot begin: {error}", hint)

    def __call__(self, batch: dict[str, Sequence[bytes]]) -> Iterator[dict[str, list[bytes]]]:
        """Rows, each of a list of things to tell.

        Ray takes about ten rows a second, and lets a worker wait meanwhile.
        """
        for group in batch["group"]:
            for events in self._events(pickle.loads(group)):
                yield {"events": [pickle.dumps(events)]}

    def _events(self, tasks: list[Task]) -> Iterator[list[object]]:
        if self._stylizer is None:
            yield [self._unfit]
            return
        told: SimpleQueue[object] = SimpleQueue()
        with ThreadPoolExecutor(1) as thread:
            working = thread.submit(self._work, tasks, self._stylizer, told.put)
            working.add_done_callback(lambda _: told.put(End()))
            is_end = False
            while not is_end:
                events = _told(told)
                if is_end := isinstance(events[-1], End):
                    events.pop()
                if events:
                    yield events

    def _work(self, tasks: list[Task], stylizer: Stylizer, tell: Callable[[object], None]) -> None:
        """Stylize a group; a file that an earlier try has written is done."""
        jobs = []
        for job, before in tasks:
            if identity(job.target) != before:
                tell(Result(job, 0.0))
            else:
                jobs.append(job)
        try:
            results = stylizer.run_jobs(jobs, _rarely(tell), config=self._config)
        except Exception as error:  # unforeseen; in a group, nobody knows by which file
            if len(jobs) == 1:
                tell(Result(jobs[0], 0.0, f"{jobs[0].source}: {error or type(error).__name__}"))
        else:
            if len(results) < len(jobs):
                tell(Halt())


def _told(told: SimpleQueue[object]) -> list[object]:
    """The next thing to be told, and what follows it at once; the end is the last."""
    try:
        events = [told.get(timeout=_BEAT)]
    except Empty:
        return [Beat()]
    until = time.monotonic() + _GATHER
    with suppress(Empty):
        while not isinstance(events[-1], End):
            events.append(told.get(timeout=max(0.0, until - time.monotonic())))
    return events


def _rarely(tell: Callable[[object], None]) -> Callable[[Event], None]:
    """Tell all but most of the frames."""
    last = 0.0

    def report(event: Event) -> None:
        nonlocal last
        if isinstance(event, Frames):
            if time.monotonic() - last < _FRAMES:
                return
            last = time.monotonic()
        tell(event)

    return report


def identity(path: Place) -> Identity:
    """What tells a file from another that is written in its place; None if there is none.

    Of an object in a store it is None: to ask for each would take longer than the few that are
    written twice, after a worker was lost.
    """
    if isinstance(path, Url):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else "a machine"
