"""Files through the workers of a Ray cluster; imported only for a run with ``--ray``.

Each worker is a Ray actor that holds one :class:`Stylizer`. A free worker gets a group of jobs and
reports on them while it works. Ray neither restarts a worker nor repeats a call: for a photo that
takes all memory, it would do so without end. Here, the jobs of a lost worker are given out again,
each alone, up to three times in all; a job whose file has been written in the meantime is done.
"""

import logging
import os
import platform
import secrets
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from stylecli.config import RunConfig, StylizeConfig
from stylecli.core.backend import use_one_heap
from stylecli.engine.pipeline import Result
from stylecli.engine.stylizer import Stylizer, full_name
from stylecli.errors import StyleCliError, first_line
from stylecli.events import Frames, Notice
from stylecli.files.atomic import private_folder, remove_leftovers
from stylecli.files.jobs import Job
from stylecli.files.stores import STANDARD_STREAM, Place

_TRIES = 3  # workers that may fail or be lost with one file in hand
_STARTS = 10  # workers that may be lost in a row before they can work, as machines may come and go
_GROUP = 16  # photos that a worker is given at once: it decodes some while it paints others
_EVERY = 0.5  # seconds between the reports of a worker at work
_SILENCE = 600.0  # seconds without a report of any worker: to start machines takes minutes
_ANSWER = 20.0  # seconds in which a cluster has to answer
_START = 120.0  # seconds in which a cluster of this machine has to start
_GO_ON = "what is done stays done: run the same command to go on"

Event = Result | Frames | Notice


def parse_pool(text: str) -> tuple[int, int]:
    """The least and the most workers, from text such as ``2:8``; or ``4``, which is ``4:4``.

    Raises:
        StyleCliError: it is not such a text.
    """
    least, colon, most = text.partition(":")
    most = most if colon else least
    if least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most):
        return int(least), int(most)
    hint = "such as 2:8, at least two and at most eight; or 4"
    raise StyleCliError(f"--workers {text} is not a number of workers", hint=hint)


class Workers:
    """Stylizers on a Ray cluster, with the attributes of a :class:`Stylizer` that runs use.

    Args:
        config: names the model, the cluster, and how many workers there are. A worker takes a GPU,
            if the cluster has some or the device is ``cuda``; otherwise all cores of a machine.

    Raises:
        StyleCliError: Ray is not installed; no such model; a bad number of workers; or one GPU was
            chosen of several.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config, self._address = config, config.ray or "auto"
        self._pool = parse_pool(config.workers) if config.workers else None
        self.description = f"{full_name(config.model, config.style)} on Ray ({self._address})"
        if config.device.startswith("cuda:"):
            raise StyleCliError(
                f"--device {config.device} is one GPU, and with --ray each worker gets its own",
                hint="pass --device cuda",
            )
        _import_ray(local=self._address == "local")

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
                the address; no worker can work; or none has reported anything for too long.
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
            # A second call can stop a worker during the first.
            actor = ray.remote(max_restarts=0, max_concurrency=2, **share)(_Worker)
            given = self._config.arguments, config, Path.cwd()
            run = _Run(actor, given, self._pool or (room, len(jobs)), report, should_stop)
            run.run(jobs, group_size=min(_GROUP, max(1, len(jobs) // (4 * room))))
            for folder in {job.target.parent for job in jobs if isinstance(job.target, Path)}:
                remove_leftovers(folder)  # of lost workers
        return [run.results[job] for job in jobs if job in run.results]


class _Run:
    """A run over files, on the side of the process that started it.

    Args:
        actor: Ray's class of workers.
        given: what a worker begins with.
        pool: the least and the most workers.
        report: called with each event that workers report.
        should_stop: whether to begin nothing more.
    """

    def __init__(
        self,
        actor: Any,
        given: tuple[dict[str, Any], StylizeConfig, Path],
        pool: tuple[int, int],
        report: Callable[[Event], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._actor, self._given, (self._least, self._most) = actor, given, pool
        self._report, self._should_stop = report, should_stop
        self._stopped = False
        self._waiting: deque[list[Job]] = deque()
        self._before: dict[Job, object] = {}  # the identity of what a job will replace
        self._failures: Counter[Job] = Counter()  # of workers with the job in hand
        self._failed_starts = 0  # in a row
        self._starting: dict[Any, Any] = {}  # the answer of each worker, to its handle
        self._working: dict[Any, tuple[Any, list[Job]]] = {}  # the reports of each, to both
        self.results: dict[Job, Result] = {}

    def run(self, jobs: Sequence[Job], group_size: int) -> None:
        """Give out jobs until each has a result, or until it is stopped and nothing is in work.

        Args:
            jobs: videos go alone and first, as they take longest.
            group_size: photos that a worker is given at once.
        """
        import ray

        self._before = {job: _identity(job.target) for job in jobs}
        videos = [[job] for job in jobs if job.is_video]
        photos = [job for job in jobs if not job.is_video]
        groups = [photos[i : i + group_size] for i in range(0, len(photos), group_size)]
        self._waiting.extend(videos + groups)
        heard = time.monotonic()
        while self._working or (self._waiting and not self._stopped):
            if self._should_stop():
                self._stop()
            self._add_workers()
            pending = [*self._starting, *self._working]
            if pending and ray.wait(pending, timeout=0.1)[0]:
                heard = time.monotonic()
                for one in ray.wait(pending, num_returns=len(pending), timeout=0)[0]:
                    if one in self._starting:
                        self._hear_start(one)
                    elif one in self._working:
                        self._hear(one)
            if time.monotonic() - heard > _SILENCE:
                done = f"{len(self.results)} of {len(jobs)} files are done"
                raise StyleCliError(
                    f"nothing was heard of any Ray worker for {_SILENCE:.0f} seconds; {done}",
                    hint=f"`ray status` tells whether a machine has room for one; {_GO_ON}",
                    exit_code=1,
                )

    def _stop(self) -> None:
        """Begin nothing more; workers finish the photos that they have begun."""
        if not self._stopped:
            self._stopped = True
            self._starting.clear()
            for worker, _ in self._working.values():
                worker.stop.remote()

    def _add_workers(self) -> None:
        """Ask for the least number of workers, and for one more than there is room for."""
        working = len(self._working)
        count = min(len(self._waiting), self._most - working, max(1, self._least - working))
        while len(self._starting) < count and not self._stopped:
            worker = self._actor.remote()
            self._starting[worker.begin.remote(*self._given)] = worker

    def _hear_start(self, can_work: Any) -> None:
        """Give a new worker its first group, or count that it could not start."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        worker = self._starting.pop(can_work)
        try:
            ray.get(can_work)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS and not self._working:
                reason = f"the last {_STARTS} workers were lost before they could work"
                hint = "a machine may have too little memory, or another version of stylecli"
                raise StyleCliError(f"{reason}: {first_line(error)}", hint=hint) from error
        else:
            self._failed_starts = 0
            self._give(worker)

    def _give(self, worker: Any) -> None:
        """Give a free worker the next group; without one, it ends."""
        while self._waiting and not self._stopped:
            group = self._waiting.popleft()
            for job in [job for job in group if self._failures[job]]:
                if _identity(job.target) != self._before[job]:  # by the worker that was lost
                    group.remove(job)
                    self._take(Result(job, 0.0))
            if group:
                events = worker.stylize.options(num_returns="streaming").remote(group)
                self._working[events] = worker, group
                return

    def _hear(self, events: Any) -> None:
        """Take the next events of a worker; at the end of a group, give it another one."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        worker, group = self._working[events]
        try:
            for event in ray.get(next(events)):
                self._take(event)
            return
        except StopIteration:
            if any(job not in self.results for job in group):  # it stopped, as a disk is full
                self._stop()
        except RayError as error:
            reason = f"the process that painted it was lost {_TRIES} times (out of memory?)"
            if isinstance(error, RayTaskError):  # unforeseen; any file of the group may be to blame
                reason = first_line(error.cause)
            else:
                worker = None
            self._give_again(group, reason)
        del self._working[events]
        if worker:
            self._give(worker)

    def _give_again(self, group: list[Job], reason: str) -> None:
        """Give out again what has no result, each file alone; or report why it failed."""
        for job in group:
            if job in self.results:
                continue
            self._failures[job] += 1
            if self._failures[job] == _TRIES:
                self._take(Result(job, 0.0, f"{job.source}: {reason}"))
            else:
                self._waiting.append([job])

    def _take(self, event: Event) -> None:
        if isinstance(event, Result):
            self.results[event.job] = event
        self._report(event)


class _Worker:
    """A stylizer in a process of Ray."""

    _stopped = False

    def begin(self, arguments: dict[str, Any], config: StylizeConfig, folder: Path) -> None:
        """Open the model.

        Args:
            arguments: of the :class:`Stylizer`.
            config: how to read, paint and write.
            folder: to work in, so that relative paths mean what they mean where the run began.

        Raises:
            StyleCliError: the model, the device or the folder is not there.
        """
        self._config = config
        try:
            os.chdir(folder)
            use_one_heap()
            self._stylizer = Stylizer(**arguments)
        except Exception as error:
            hint = "files and folders have to be at the same place on every machine"
            hint = error.hint if isinstance(error, StyleCliError) else hint
            raise StyleCliError(f"{error} (on {platform.node()})", hint=hint) from None

    def stop(self) -> None:
        """Finish the photos in work, and begin no other."""
        self._stopped = True

    def stylize(self, jobs: Sequence[Job]) -> Iterator[list[Event]]:
        """The events of jobs, in lists; an empty one shows that the worker lives."""
        events: SimpleQueue[Event] = SimpleQueue()
        with ThreadPoolExecutor(1) as thread:
            working = thread.submit(
                self._stylizer.run_jobs, jobs, events.put, lambda: self._stopped, self._config
            )
            while wait([working], timeout=_EVERY).not_done:
                yield [events.get() for _ in range(events.qsize())]
        yield [events.get() for _ in range(events.qsize())]
        working.result()


def _identity(place: Place) -> object:
    """What differs between a file and another that is written in its place; None without a file.

    For an object in a store it is None: after a worker was lost, a few are written twice, which
    takes less time than to ask the store for each.
    """
    with suppress(OSError):
        if isinstance(place, Path):
            status = place.stat()
            return status.st_ino, status.st_mtime_ns
    return None


def _import_ray(*, local: bool) -> None:
    """Import Ray for the first time, so that it shows nothing and sends nothing.

    Args:
        local: a cluster will be started, which listens on this machine alone, as Ray's clusters
            do on Windows and macOS.

    Raises:
        StyleCliError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or a thread of Ray's would begin again at the end
    if local:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        import ray  # noqa: F401
    except ImportError:
        raise StyleCliError(
            "--ray was given, and Ray is not installed", hint="pip install 'stylecli[ray]'"
        ) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL + 1)


@contextmanager
def _connection(address: str, should_stop: Callable[[], bool]) -> Iterator[None]:
    """A connection to a cluster; there may be none after a stop.

    A cluster that was started for it ends with it.

    Raises:
        StyleCliError: there is no cluster at the address, or Ray has failed.
    """
    from ray.exceptions import RayError

    with ExitStack() as stack:
        try:
            stack.enter_context(redirect_stdout(_WithoutRay(sys.stdout)))
            with _no_stderr():
                _connect(address, should_stop, stack)
        except Exception as error:  # of many kinds
            hint = "`ray status` shows the cluster of this machine; `ray start` makes or joins one"
            text = f"no connection to Ray ({address}): {first_line(error)}"
            raise StyleCliError(text, hint=hint) from error
        try:
            yield
        except RayError as error:
            text = f"Ray gave up: {first_line(error)}"
            raise StyleCliError(text, hint=_GO_ON, exit_code=1) from error


def _connect(address: str, should_stop: Callable[[], bool], stack: ExitStack) -> None:
    """Connect to a cluster until the end of a stack; return at once after a stop.

    A separate thread does it: where no cluster answers, Ray blocks its thread for minutes and
    ignores signals. The thread lives until the end: Linux ends with a thread what it has started.
    """
    import ray

    _require_listener(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
    more = stack.enter_context(_private_cluster()) if address == "local" else {}
    connecting: Future[None] = Future()
    over = threading.Event()

    def connect() -> None:
        try:
            ray.init(address, log_to_driver=False, configure_logging=False, **more)
        except Exception as error:
            connecting.set_exception(error)
        else:
            connecting.set_result(None)
            over.wait()
            ray.shutdown()

    thread = threading.Thread(target=connect, name="ray_connection", daemon=True)
    thread.start()
    limit = _START if address == "local" else _ANSWER
    until = time.monotonic() + limit
    while wait([connecting], timeout=0.1).not_done:
        if should_stop():
            return
        if time.monotonic() > until:
            raise TimeoutError(f"no cluster has answered in {limit:.0f} seconds")
    connecting.result()
    stack.callback(thread.join)
    stack.callback(over.set)


@contextmanager
def _private_cluster() -> Iterator[dict[str, Any]]:
    """What a new cluster is started with, such that its files are for this user alone.

    Its processes, but not its workers, have another home folder. Ray's server of usage statistics
    finds an empty description of the cluster there; without one, it asks each provider of clouds
    whether this is one of their machines, even if statistics are switched off.
    """
    home = os.environ.get("HOME", "")
    with private_folder() as folder:
        (folder / "ray_bootstrap_config.yaml").write_text("{}")
        os.environ |= {"RAY_TMPDIR": str(folder), "HOME": str(folder)}
        try:
            workers = {"env_vars": {"HOME": home}}
            yield {"include_dashboard": False, "runtime_env": workers}
        finally:
            os.environ["HOME"] = home


def _require_listener(address: str) -> None:
    """Raise OSError if nothing listens at an address."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()


class _WithoutRay:
    """A stream that drops what threads of Ray write, such as that a worker was lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        of_ray = threading.current_thread().name.startswith("ray_")
        return len(text) if of_ray else int(self._stream.write(text))


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Nothing reaches standard error: Ray's C++ announces there that it logs nothing."""
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

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    machines = [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]
    if device == "cuda" or (device == "auto" and any(gpus for _, gpus in machines)):
        room = sum(int(min(cpus, gpus)) for cpus, gpus in machines)
        return {"num_cpus": 1, "num_gpus": 1}, max(1, room)
    share = min((cpus for cpus, _ in machines if cpus), default=1.0)
    room = sum(int(cpus // share) for cpus, _ in machines)
    return {"num_cpus": share, "num_gpus": 0}, max(1, room)
