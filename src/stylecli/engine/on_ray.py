"""Files through the workers of a Ray cluster; imported only for a run with ``--ray``.

Each worker is a Ray actor that holds one :class:`Stylizer`. Ray starts a lost one again where there
is room, but does not repeat its files: for a photo that takes all memory, this would never end. Its
files without a result are given out again here, each alone, up to three times in all.
"""

import logging
import os
import platform
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from multiprocessing.pool import ThreadPool
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from stylecli.config import RunConfig, StylizeConfig
from stylecli.core.backend import use_one_heap
from stylecli.engine.pipeline import Result
from stylecli.engine.stylizer import Stylizer, full_name
from stylecli.errors import StyleCliError, first_line
from stylecli.events import Frames, Notice
from stylecli.files.atomic import remove_leftovers
from stylecli.files.jobs import Job
from stylecli.files.stores import STANDARD_STREAM

_TRIES = 3  # workers that may be lost with one file in hand
_GROUP = 16  # photos that a worker is given at once: it decodes some while it paints others
_PATIENCE = 600.0  # seconds without a worker at work: to start machines takes minutes
_ANSWER = 20.0  # seconds in which a cluster has to answer
_GO_ON = "what is done stays done: run the same command to go on"

Event = Result | Frames | Notice


class Workers:
    """Stylizers on a Ray cluster, with the attributes of a :class:`Stylizer` that runs use.

    Args:
        config: names the model, the cluster, and how many workers there are. A worker takes a GPU,
            if the cluster has some or the device is ``cuda``; otherwise all cores of a machine.

    Raises:
        StyleCliError: Ray is not installed; no such model; or one GPU was chosen of several.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config, self._address = config, config.ray or "auto"
        self.description = f"{full_name(config.model, config.style)} on Ray ({self._address})"
        if config.device.startswith("cuda:"):
            raise StyleCliError(
                f"--device {config.device} is one GPU, and with --ray each worker gets its own",
                hint="pass --device cuda",
            )
        os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "^"  # print no message, as of lost workers
        os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
        os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or Ray would begin again after the end
        try:
            import ray  # noqa: F401
        except ImportError:
            raise StyleCliError(
                "--ray was given, and Ray is not installed", hint="pip install 'stylecli[ray]'"
            ) from None

    def run_jobs(
        self,
        jobs: Sequence[Job],
        report: Callable[[Event], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
        config: StylizeConfig | None = None,
    ) -> list[Result]:
        """As :meth:`Stylizer.run_jobs`; files are reported in the order in which they end.

        A file whose worker was lost several times is in the results as one that failed.

        Raises:
            StyleCliError: a job is of standard input or output; a setting is bad; no cluster is at
                the address; a worker cannot open the model; or no machine has room for one.
        """
        import ray

        config = config or self._config
        config.check()
        if any(STANDARD_STREAM in (job.source, job.target) for job in jobs):
            raise StyleCliError("--ray and - cannot be used together", hint="name both files")
        with _connection(self._address, should_stop):
            if should_stop():
                return []
            share, room = _share_and_room(self._config.device)
            count = self._config.workers or room
            # A second call can stop a worker during the first.
            options = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 2, **share}
            actor = ray.remote(**options)(_Worker)
            groups = _group(jobs, size=min(_GROUP, max(1, len(jobs) // (4 * count))))
            given = self._config.arguments, config, Path.cwd()
            workers = [actor.remote(*given) for _ in range(min(count, len(groups)))]
            results = _Run(groups, report, should_stop).run(workers)
            for folder in {job.target.parent for job in jobs if isinstance(job.target, Path)}:
                remove_leftovers(folder)  # of lost workers
        return [results[job] for job in jobs if job in results]


def _group(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Jobs to give out at once: videos go alone and first, as they take longest."""
    videos = [[job] for job in jobs if job.is_video]
    photos = [job for job in jobs if not job.is_video]
    return videos + [photos[i : i + size] for i in range(0, len(photos), size)]


class _Run:
    """A run over files, on the side of the process that started it."""

    def __init__(
        self,
        groups: list[list[Job]],
        report: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._waiting = deque(groups)
        self._report, self._should_stop = report, should_stop
        self._stopped = False
        # The events of each call, to its worker and its group. The first group of a worker is
        # empty: one that has no room, or cannot open the model, holds no file back.
        self._calls: dict[Any, tuple[Any, list[Job]]] = {}
        self._losses: Counter[Job] = Counter()  # of workers with the job in hand
        self._results: dict[Job, Result] = {}

    def run(self, workers: list[Any]) -> dict[Job, Result]:
        """Give out groups until each job has a result, or nothing is in work after a stop.

        Args:
            workers: of Ray. This list is emptied: Ray ends one that nothing refers to any more.

        Raises:
            StyleCliError: a worker cannot begin, or none has been at work for too long.
        """
        import ray

        while workers:
            self._call(workers.pop(), [])
        at_work = time.monotonic()
        while self._is_at_work() or (self._waiting and not self._stopped):
            if self._should_stop():
                self._stop()
            ray.wait(list(self._calls), timeout=0.1)  # for the first of them
            for events in ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)[0]:
                self._hear(events)
            if self._is_at_work():
                at_work = time.monotonic()
            elif time.monotonic() - at_work > _PATIENCE:
                raise StyleCliError(
                    f"no machine had room for a Ray worker in {_PATIENCE:.0f} seconds",
                    hint=f"`ray status` shows what is free; {_GO_ON}",
                    exit_code=1,
                )
        return self._results

    def _is_at_work(self) -> bool:
        return any(group for _, group in self._calls.values())

    def _stop(self) -> None:
        """Begin nothing more; workers finish the photos that they have begun."""
        if not self._stopped:
            self._stopped = True
            for worker, _ in self._calls.values():
                worker.stop.remote()

    def _call(self, worker: Any, group: list[Job]) -> None:
        """Give a worker a group; Ray repeats only the call with an empty one after a loss."""
        method = worker.stylize.options(max_task_retries=0) if group else worker.stylize
        self._calls[method.remote(group)] = worker, group

    def _hear(self, events: Any) -> None:
        """Take the next event of a call; at its end, give the worker another group."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        worker, group = self._calls[events]
        try:
            self._take(ray.get(next(events)))
        except StopIteration:
            del self._calls[events]
            if any(job not in self._results for job in group):  # it stopped, as a disk is full
                self._stop()
            if self._waiting and not self._stopped:
                self._call(worker, self._waiting.popleft())
        except RayTaskError as error:  # it was raised by the worker
            raise error.cause from error
        except RayError as error:
            del self._calls[events]
            if not group:  # after a loss, Ray would have repeated the call
                reason = str(error).strip().rpartition("\n")[2]
                hint = "every machine needs this version of stylecli, and the same version of Ray"
                raise StyleCliError(f"a Ray worker cannot begin: {reason}", hint=hint) from error
            self._give_again(group)
            self._call(worker, [])

    def _give_again(self, group: list[Job]) -> None:
        """Give out again what a lost worker has not done, each file alone; or report a failure."""
        for job in [job for job in group if job not in self._results]:
            self._losses[job] += 1
            if self._losses[job] < _TRIES:
                self._waiting.append([job])
            else:
                reason = f"the process that painted it was lost {_TRIES} times (out of memory?)"
                self._take(Result(job, 0.0, f"{job.source}: {reason}"))

    def _take(self, event: Event) -> None:
        if isinstance(event, Result):
            self._results[event.job] = event
        self._report(event)


class _Worker:
    """A stylizer in a process of Ray.

    Args:
        arguments: of the :class:`Stylizer`.
        config: how to read, paint and write.
        folder: to work in, so that relative paths mean what they mean where the run began.
    """

    def __init__(self, arguments: dict[str, Any], config: StylizeConfig, folder: Path) -> None:
        self._arguments, self._config, self._folder = arguments, config, folder
        self._stopped = False

    @cached_property
    def _stylizer(self) -> Stylizer:
        try:
            os.chdir(self._folder)
            use_one_heap()
            return Stylizer(**self._arguments)
        except Exception as error:
            same = "files and folders have to be at the same place on every machine"
            hint = getattr(error, "hint", same)
            raise StyleCliError(f"{error} (on {platform.node()})", hint=hint) from None

    def stop(self) -> None:
        """Finish the photos in work, and begin no other."""
        self._stopped = True

    def stylize(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """The events of jobs, as they come.

        Raises:
            StyleCliError: the model, the device or the folder is not there.
        """
        run_jobs = self._stylizer.run_jobs
        events: SimpleQueue[Event | None] = SimpleQueue()
        with ThreadPoolExecutor(1) as thread:
            end = thread.submit(run_jobs, jobs, events.put, lambda: self._stopped, self._config)
            end.add_done_callback(lambda _: events.put(None))
            while event := events.get():  # Ray needs a generator that it can send values to
                yield event
        end.result()


@contextmanager
def _connection(address: str, should_stop: Callable[[], bool]) -> Iterator[None]:
    """A connection to a cluster; there may be none after a stop.

    Raises:
        StyleCliError: there is no cluster at the address, or Ray has failed.
    """
    import ray
    from ray.exceptions import RayError

    # Where no cluster answers, Ray blocks its thread for minutes and ignores signals. The end of
    # this process does not wait for a thread of this kind of pool.
    options = {"log_to_driver": False, "logging_level": logging.CRITICAL + 1}
    connecting = ThreadPool(1).apply_async(ray.init, [address], options)
    until = time.monotonic() + _ANSWER
    with _no_stderr():
        while not (connecting.ready() or should_stop() or time.monotonic() > until):
            connecting.wait(0.1)
    try:
        if connecting.ready():
            connecting.get()
        elif not should_stop():
            raise TimeoutError(f"no cluster has answered in {_ANSWER:.0f} seconds")
    except Exception as error:  # of many kinds
        hint = "`ray status` shows the cluster of this machine; `ray start` makes or joins one"
        text = f"no connection to Ray ({address}): {first_line(error)}"
        raise StyleCliError(text, hint=hint) from error
    try:
        yield
    except RayError as error:
        text = f"Ray gave up: {first_line(error)}"
        raise StyleCliError(text, hint=_GO_ON, exit_code=1) from error
    finally:
        ray.shutdown()


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Nothing reaches standard error: Ray's C++ says there that no cluster answers."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _share_and_room(device: str) -> tuple[dict[str, float], int]:
    """What a worker takes of a machine, and how many workers the cluster has room for, at least 1.

    A worker takes a GPU; or, if there are none, all cores of the smallest machine: one process uses
    all cores, and a picture's last bits depend on their number.
    """
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    if device == "cuda" or (device == "auto" and gpus):
        return {"num_cpus": 1, "num_gpus": 1}, max(1, gpus)
    cores = [machine["CPU"] for machine in machines if machine.get("CPU")]
    share = min(cores, default=1)
    return {"num_cpus": share}, max(1, sum(int(count // share) for count in cores))
