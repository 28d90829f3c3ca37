"""Jobs that take longer than a request: films, many photos, trainings, comparisons."""

import itertools
import json
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import psutil

from stylecli.collection import add_model
from stylecli.config import CompareConfig, TrainConfig
from stylecli.core.model_files import find_model
from stylecli.core.tensor_files import SUFFIX
from stylecli.engine import Result
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.formats import ending_for
from stylecli.files.images import read_picture
from stylecli.files.jobs import Job
from stylecli.options import as_json, command_line, from_json
from stylecli.page.photos import Look, Photo, PhotoService, parse_setting, result_name
from stylecli.page.refusals import RefusedError, say_name
from stylecli.page.styles import clean_title, find_free_name, keep_title, plain_name, style_of
from stylecli.page.workers import Urgency, Workers
from stylecli.training.outputs import TrainFiles

_MOST = 50  # jobs that wait, run, or are kept with their results
_POLITE = 1.0  # seconds that a film waits at most for small pictures, after each frame
_NICE = 5  # so that photos are painted quickly while a training runs


@dataclass
class BackgroundJob:
    """A job that waits, runs or has ended.

    Attributes:
        folder: for its files.
        tab: the tab of the browser with which it stops; None if it goes on without.
        id: what the page calls it.
        status: what the page shows of it: its state, how far it is, and why it failed.
        stopping: whether it is to stop.
        result: the file to download.
        name: what the download is called.
        preview: the newest preview of a training.
        process: the command that does it, while it runs.
        began: when, in seconds of the system's clock.
    """

    folder: Path
    tab: str | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    status: dict[str, Any] = field(default_factory=lambda: {"state": "waiting"})
    stopping: bool = False
    result: Path | None = None
    name: str = ""
    preview: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0

    def update(self, **values: object) -> None:
        """Add to its status, or change it."""
        self.status = {**self.status, **values}

    def advance(self, done: float, total: float, **more: object) -> None:
        """Note how much is done, and about how long the rest takes."""
        if done:
            left = (time.monotonic() - self.began) * (total - done) / done
            more = {"seconds_left": round(left, 1), **more}
        self.update(done=done, total=total, **more)

    def stop(self) -> None:
        """Ask it to stop; a command still writes what it has so far."""
        asked_before, self.stopping = self.stopping, True
        if self.status["state"] == "waiting":
            self.update(state="stopped")
        elif self.process is not None and not asked_before:  # asked twice, it would end at once
            self.process.terminate()

    def run(self, do: Callable[..., bool], *given: object) -> None:
        """Do it in the present thread, and note how it ended.

        Args:
            do: is called with the job and what is given; returns whether it came to its end.
            given: to be passed on.
        """
        if self.stopping:
            return
        self.began = time.monotonic()
        self.update(state="running")
        try:
            state = "done" if do(self, *given) else "stopped"
        except StyleCliError as error:
            self.update(state="failed", error=error.message, hint=error.hint)
        except Exception as error:
            traceback.print_exc()
            self.update(state="failed", error=f"a bug of stylecli: {error!r}", hint="")
        else:
            self.update(state=state, name=self.name)


class BackgroundJobs:
    """All jobs of a run: one film or ZIP at a time, and one training or comparison.

    Args:
        service: the photos and the networks; films and ZIPs make way for its painters.
    """

    def __init__(self, service: PhotoService) -> None:
        self._service = service
        self._films, self._processes = Workers(), Workers()
        self._all: dict[str, BackgroundJob] = {}

    def find(self, number: str) -> BackgroundJob:
        """A job by its id.

        Raises:
            RefusedError: there is none.
        """
        if number not in self._all:
            raise RefusedError(404, "this job is not here any more", "begin it again")
        return self._all[number]

    def stop_tab(self, tab: str) -> None:
        """Stop the jobs of a tab that is closed."""
        for job in list(self._all.values()):
            if job.tab == tab:
                job.stop()

    def stop_all(self) -> None:
        """Stop all jobs at once."""
        for job in list(self._all.values()):
            job.stopping = True
            if job.process is not None:
                job.process.kill()

    def _new(self, tab: str | None, name: str = "") -> BackgroundJob:
        """A new job, with a folder of its own; the results of the oldest are dropped.

        Raises:
            RefusedError: too much waits.
        """
        there = list(self._all.values())  # a copy: other threads add to it
        ended = [one for one in there if one.status["state"] in ("done", "stopped", "failed")]
        if len(there) - len(ended) >= _MOST:
            raise RefusedError(429, f"{_MOST} jobs wait already", "wait, or stop some of them")
        for old in ended[: max(0, len(there) - _MOST + 1)]:
            self._all.pop(old.id, None)
            shutil.rmtree(old.folder, ignore_errors=True)
        job = BackgroundJob(self._service.new_path(""), tab, name=name)
        job.folder.mkdir()
        self._all[job.id] = job
        return job

    def begin_painting(self, photos: Sequence[Photo], look: Look, tab: str) -> BackgroundJob:
        """Paint photos and films at full size; several of them into a ZIP.

        Raises:
            RefusedError: too much waits.
        """
        is_alone = len(photos) == 1
        name = result_name(photos[0], look) if is_alone else f"{look.style.id}.zip"
        job = self._new(tab, name)
        is_photo = is_alone and photos[0].kind == "photo"
        workers = self._service.painters if is_photo else self._films
        workers.submit(lambda: job.run(self._paint, photos, look), Urgency.FULL)
        return job

    def _paint(self, job: BackgroundJob, photos: Sequence[Photo], look: Look) -> bool:
        """Paint photos; of several, those that fail are left out, and named."""
        targets = [job.folder / f"{i}{ending_for(one.path)}" for i, one in enumerate(photos)]
        jobs = [Job(one.path, target) for one, target in zip(photos, targets, strict=True)]
        painted = itertools.count(1)

        def report(event: Result | Frames | Notice) -> None:
            if isinstance(event, Frames) and len(photos) == 1:
                job.advance(min(event.done, event.count), event.count)
            elif isinstance(event, Result) and len(photos) > 1:
                job.advance(next(painted), len(photos))
            else:
                return
            self._service.painters.wait_until_idle(_POLITE)

        network = self._service.network(look.style)
        results = network.run_jobs(jobs, report, lambda: job.stopping, look.config)
        if job.stopping:
            return False
        faults: list[str] = []
        files: list[tuple[Path, str]] = []
        for photo, target, one in zip(photos, targets, results, strict=False):
            if one.error:
                faults.append(one.error.replace(str(photo.path), photo.name))
            else:
                files.append((target, result_name(photo, look)))
        if not files or len(results) < len(photos):  # the disk is full
            raise StyleCliError(faults[-1])
        job.update(error="; ".join(faults))
        archive = job.folder / "painted.zip"
        job.result = _write_zip(archive, files) if len(photos) > 1 else targets[0]
        return True

    def begin_training(self, painting: Path, given: str, name: str, minutes: str) -> BackgroundJob:
        """Train a model of a painting, and add it to the user's, also if the tab is closed.

        Args:
            painting: its file.
            given: what the user calls that file.
            name: what the model is to be called; empty for the painting's name.
            minutes: how long, a number.

        Raises:
            StyleCliError: the painting cannot be read, the time is not one, or too much waits.
        """
        config = TrainConfig(styles=(painting,), minutes=parse_setting(minutes))
        config.check()
        with say_name(given, painting):
            read_picture(painting)
        title = clean_title(name) or clean_title(PurePath(given).stem)
        job = self._new(None)
        painting = painting.rename(job.folder / f"{plain_name(title)}{painting.suffix}")
        config = replace(config, styles=(painting,), output=painting.with_suffix(SUFFIX))
        self._processes.submit(lambda: job.run(self._train, config, given, title))
        return job

    def _train(self, job: BackgroundJob, config: TrainConfig, given: str, title: str) -> bool:
        files = TrainFiles.of(config)
        job.preview = files.preview
        with say_name(given, config.styles[0]):
            _run_process(job, command_line("train", config))
        for trained in (files.model, files.so_far):
            if trained.is_file():
                _add_trained(job, trained, title)
                return trained == files.model
        return False

    def begin_comparison(self, given: Mapping[str, object], tab: str) -> BackgroundJob:
        """Run the experiment of the paper on the bundled photos.

        Args:
            given: ``norms`` and ``archs``, of :class:`CompareConfig`.
            tab: which stops it when it is closed.

        Raises:
            StyleCliError: a norm or a generator is not known, or too much waits.
        """
        chosen = {name: given[name] for name in ("norms", "archs") if name in given}
        config = from_json(CompareConfig, as_json(CompareConfig()) | chosen)
        config.check()
        job = self._new(tab)
        config = replace(config, out=job.folder / "comparison")
        self._processes.submit(lambda: job.run(self._compare, config))
        return job

    def _compare(self, job: BackgroundJob, config: CompareConfig) -> bool:
        _run_process(job, command_line("compare", config))
        job.result = config.out / "report.html"
        return job.result.is_file()


def _write_zip(path: Path, files: Iterable[tuple[Path, str]]) -> Path:
    """Move files into an archive under their names, with a number where a name is taken."""
    taken = set[str]()
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for file, name in files:
                archive.write(file, _claim_name(PurePath(name), taken))
                file.unlink()
    except OSError as error:
        raise StyleCliError(f"cannot write the ZIP: {error.strerror or error}") from error
    return path


def _claim_name(name: PurePath, taken: set[str]) -> str:
    """Find a name that is free, also where upper and lower case are one, and take it."""
    stem = find_free_name(name.stem, lambda one: f"{one}{name.suffix}".lower() in taken)
    taken.add(f"{stem}{name.suffix}".lower())
    return f"{stem}{name.suffix}"


def _add_trained(job: BackgroundJob, trained: Path, title: str) -> None:
    """Add a model to the user's, under a name that is free."""
    name = find_free_name(plain_name(title), _is_taken)
    added = add_model(str(trained), name).path
    number = name.removeprefix(plain_name(title)).replace("-", " ")
    with suppress(StyleCliError):  # the page then shows its name
        keep_title(added, title + number)
    job.result, job.name = added, added.name
    job.update(style=style_of(added).id)


def _is_taken(name: str) -> bool:
    """Whether a model or a style has a name already."""
    with suppress(StyleCliError):
        return bool(find_model(name))
    return False


def _run_process(job: BackgroundJob, words: str) -> None:
    """Run a command of this program, and follow the events that it writes.

    If this server is killed, the command ends at its next event, which has no reader any more.

    Raises:
        StyleCliError: the command failed; as it says.
    """
    command = [sys.executable, "-m", *shlex.split(words), "--json", "--quiet"]
    with (
        tempfile.TemporaryFile(dir=job.folder) as errors,
        subprocess.Popen(
            command,
            cwd=job.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C in the server's terminal is not for it
        ) as process,
    ):
        job.process = process
        if job.stopping:
            process.terminate()
        with suppress(psutil.Error):
            psutil.Process(process.pid).nice(_NICE)
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(ValueError):
                _follow(job, json.loads(line))
        code = process.wait()
        job.process = None
        if code and not job.stopping:
            errors.seek(0)
            raise _as_error(errors.read().decode(errors="replace"), code)


def _follow(job: BackgroundJob, event: dict[str, Any]) -> None:
    """Note how far a command is, by an event that it writes."""
    if job.preview is not None and job.preview.is_file():
        job.update(preview=job.preview.stat().st_mtime)  # another one, another preview
    if event["event"] == "step":
        left, objective = event["seconds_left"], event["losses"]["total"]
        step = {"step": event["step"], "objective": objective, "note": "", "seconds_left": left}
        job.advance(event["progress"], 1, **step)
    elif event["event"] == "progress":
        job.advance(event["progress"], 1, note=event["note"])


def _as_error(text: str, code: int) -> StyleCliError:
    """The error that a command has shown last."""
    shown = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    message = shown.get("error", f"the process ended with the code {code}")
    return StyleCliError(message, hint=shown.get("hint", ""))
