"""Files through the workers of a Ray cluster; imported only if the command is told to use one.

Ray Data gives groups of jobs to workers, each of which holds one :class:`Stylizer`, and streams
back what they tell. What is done is what is there: a job whose worker was lost is given out again,
alone, and it is not begun again if its file has been written in the meantime.
"""

import pickle
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from stylecli.config import StylizeConfig
from stylecli.engine.pipeline import Result
from stylecli.engine.ray_cluster import connected, free_room, import_ray, share_of_worker
from stylecli.engine.ray_worker import End, Event, Halt, Task, Unfit, Worker, identity
from stylecli.engine.stylizer import full_name
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.atomic import remove_leftovers
from stylecli.files.door import STANDARD_STREAM
from stylecli.files.jobs import Job

if TYPE_CHECKING:
    from ray.data import ActorPoolStrategy, Dataset

_TRIES = 3  # a file whose worker is lost each time is given up after so many
_GROUP = 16  # photos that a worker is given at once: it decodes some while it paints others
_SILENCE = 600.0  # seconds: to start machines takes minutes; a worker at work is heard all along
_END_OF_WORKERS = 10.0  # seconds, at most
_GO_ON = "what is done stays done: run the same command to go on"


@dataclass(frozen=True)
class Pool:
    """How many workers there may be.

    Attributes:
        least: from the start on.
        most: at any time; None is as many as the cluster has room for.
    """

    least: int = 1
    most: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Pool":
        """From text such as ``2:8``; or ``4``, which is ``4:4``.

        Raises:
            StyleCliError: it is no such text.
        """
        least, _, most = text.partition(":")
        most = most if ":" in text else least
        if least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most):
            return cls(int(least), int(most))
        hint = "such as 2:8, at least two and at most eight; or 4"
        raise StyleCliError(f"--workers {text} is not a number of workers", hint=hint)


class Workers:
    """Stylizers on a Ray cluster, with the face of one.

    Args:
        arguments: of the :class:`Stylizer` in each worker.
        address: of the cluster, such as ``10.0.0.1:6379``; empty is the one that ``RAY_ADDRESS``
            names, or that runs on this machine; if there is none, one is started for the run.
        pool: how many workers; None is as many as the cluster has room for. A worker takes a GPU,
            if the cluster has some or the device is ``cuda``; otherwise all cores of a machine.

    Raises:
        StyleCliError: Ray is not installed; no such model; or one GPU was chosen of several.
    """

    def __init__(
        self, arguments: Sequence[Any], address: str = "", pool: Pool | None = None
    ) -> None:
        self._arguments, self._address, self._pool = tuple(arguments), address, pool
        model, style, self._device = arguments[:3]
        self.description = f"{full_name(model, style)} on Ray" + (
            f" at {address}" if address else ""
        )
        if self._device.startswith("cuda:"):
            raise StyleCliError(
                f"--device {self._device} is one GPU, and with --ray each worker gets its own",
                hint="pass --device cuda",
            )
        import_ray()

    def run_jobs(
        self,
        jobs: Sequence[Job],
        report: Callable[[Event], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
        config: StylizeConfig | None = None,
    ) -> list[Result]:
        """As :meth:`Stylizer.run_jobs`, but that files are reported in the order of their ends.

        A file whose worker was lost several times is in the results as one that failed. What is in
        work at a stop is lost.

        Raises:
            StyleCliError: standard input or output; a bad setting; there is no cluster at the
                address; no worker can work; or nothing was heard of any for too long.
        """
        config = config or StylizeConfig()
        config.check()
        if any(STANDARD_STREAM in (job.source, job.target) for job in jobs):
            raise StyleCliError("--ray and - cannot be used together", hint="name both files")
        run = _Run([(job, identity(job.target)) for job in jobs], report, should_stop)
        try:
            with connected(self._address):
                self._run(run, config)
        finally:
            folders = {job.target.parent for job in jobs if isinstance(job.target, Path)}
            _sweep(folders, patience=_END_OF_WORKERS if run.left() else 0.0)
        return [run.results[job] for job in jobs if job in run.results]

    def _run(self, run: "_Run", config: StylizeConfig) -> None:
        """Give out what has no result, in rounds: first in groups, and then each file alone."""
        rounds, lost = 0, 0
        while (left := run.left()) and lost < _TRIES and not run.stopped():
            before = len(run.results)
            end = run.listen(self._dataset(left, config, alone=rounds > 0))
            rounds += 1
            if end and not end.error:
                lost += 1  # what has no result was begun, and its worker did not come back
            elif end and len(run.results) == before:
                raise StyleCliError(f"Ray gave up: {end.error}", hint=_GO_ON, exit_code=1)
        if not run.stopped():
            for job, _ in run.left():
                reason = f"the process that painted it was lost {_TRIES} times (out of memory?)"
                run.take(Result(job, 0.0, f"{job.source}: {reason}"))

    def _dataset(self, tasks: Sequence[Task], config: StylizeConfig, *, alone: bool) -> "Dataset":
        """What workers tell of tasks, as rows that come when they are told."""
        from ray.data import from_items

        share = share_of_worker(self._device)
        room = free_room(share)
        groups = _groups(tasks, 1 if alone else min(_GROUP, max(1, len(tasks) // (4 * room))))
        items = [{"group": pickle.dumps(group)} for group in groups]
        return from_items(items, override_num_blocks=len(items)).map_batches(
            Worker,
            fn_constructor_args=(self._arguments, config, Path.cwd()),
            batch_size=1,
            compute=self._strategy(len(groups), room, alone=alone),
            # Ray would try for ever. Workers themselves may begin again without end: a pool would
            # count one that does not as its own, and wait for it.
            max_task_retries=0,
            **share,
        )

    def _strategy(self, groups: int, room: int, *, alone: bool) -> "ActorPoolStrategy":
        """A pool of workers; where files go alone, no file waits at a worker that may be lost."""
        from ray.data import ActorPoolStrategy

        pool = self._pool or Pool(room)
        most = min(pool.most or groups, groups)
        if alone:
            return ActorPoolStrategy(
                size=min(most, max(pool.least, room)), max_tasks_in_flight_per_actor=1
            )
        return ActorPoolStrategy(min_size=min(pool.least, most), max_size=most)


class _Run:
    """What is known of a run where it was started."""

    def __init__(
        self,
        tasks: Sequence[Task],
        report: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.tasks, self._report, self._should_stop = tasks, report, should_stop
        self.results: dict[Job, Result] = {}
        self._halted = False

    def left(self) -> list[Task]:
        """What has no result."""
        return [task for task in self.tasks if task[0] not in self.results]

    def stopped(self) -> bool:
        """Whether to begin nothing more."""
        return self._halted or self._should_stop()

    def listen(self, dataset: "Dataset") -> End | None:
        """Take what workers tell, until there is no more of it, or None if it is stopped before.

        Raises:
            StyleCliError: a worker cannot work, or nothing was heard for too long.
        """
        events: SimpleQueue[object] = SimpleQueue()
        threading.Thread(target=_feed, args=(dataset, events), daemon=True).start()
        heard = time.monotonic()
        while not self.stopped():
            try:
                event = events.get(timeout=0.1)
            except Empty:
                self._require_heard(time.monotonic() - heard)
                continue
            heard = time.monotonic()
            if isinstance(event, End):
                return event
            self.take(event)
        return None

    def take(self, event: object) -> None:
        """Take one thing that a worker told."""
        if isinstance(event, Unfit):
            raise StyleCliError(event.message, hint=event.hint)
        if isinstance(event, Halt):
            self._halted = True
        elif isinstance(event, Result):
            if event.job not in self.results:
                self.results[event.job] = event
                self._report(event)
        elif isinstance(event, Frames | Notice):
            self._report(event)

    def _require_heard(self, seconds: float) -> None:
        if seconds > _SILENCE:
            done = f"{len(self.results)} of {len(self.tasks)} files are done"
            raise StyleCliError(
                f"nothing was heard of any Ray worker for {seconds:.0f} seconds; {done}",
                hint=f"`ray status` tells whether a machine has room for one; {_GO_ON}",
                exit_code=1,
            )


def _feed(dataset: "Dataset", events: SimpleQueue[object]) -> None:
    """Put the events of each row into a queue, and then the end."""
    try:
        for row in dataset.iter_rows():
            for event in pickle.loads(row["events"]):
                events.put(event)
        events.put(End())
    except Exception as error:  # of many kinds, from Ray
        lines = str(error).strip().splitlines() or [type(error).__name__]
        events.put(End(lines[-1]))


def _sweep(folders: set[Path], patience: float) -> None:
    """Remove what lost workers have left; those of a stopped run end a moment after it."""
    until = time.monotonic() + patience
    while (in_use := {one for one in folders if not remove_leftovers(one)}) and (
        time.monotonic() < until
    ):
        folders = in_use
        time.sleep(0.1)


def _groups(tasks: Sequence[Task], size: int) -> list[list[Task]]:
    """Videos one by one, first, as they take longest; then photos, so many at once."""
    videos = [[task] for task in tasks if task[0].is_video]
    photos = [task for task in tasks if not task[0].is_video]
    return videos + [photos[first : first + size] for first in range(0, len(photos), size)]
