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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from threading import Lock
from typing import Any

import psutil

from stylecli.collection.own import add_model
from stylecli.config import CompareConfig, TrainConfig
from stylecli.core.model_files import find_model, user_models
from stylecli.core.tensor_files import SUFFIX
from stylecli.engine import Result
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice
from stylecli.files.formats import ending_for
from stylecli.files.images import read_picture
from stylecli.files.jobs import Job
from stylecli.files.pictures import Picture, encode_jpeg
from stylecli.options import command_line
from stylecli.page.photos import Look, Photo, PhotoService, rename_in, result_name
from stylecli.page.refusals import RefusedError
from stylecli.page.styles import clean_title, id_of, keep_title, plain_name
from stylecli.page.workers import Workers
from stylecli.training.files import TrainFiles

_MOST = 50  # jobs that are kept, with their results
_MOST_OPEN = 12  # of these, how many may wait or run
_PARTS = 1000  # of a training or a comparison
_POLITE = 1.0  # seconds that a film waits at most for small pictures, after each frame
_NICE = 5  # so that photos are painted quickly while a training runs
_MOST_MINUTES = 24 * 60.0


@dataclass
class BackgroundJob:
    """A job that waits, runs or has ended.

    Attributes:
        folder: for its files.
        tab: the tab of the browser with which it stops; None if it goes on without.
        id: what the page calls it.
        told: what the page is told of it.
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
    told: dict[str, Any] = field(default_factory=lambda: {"state": "waiting"})
    stopping: bool = False
    result: Path | None = None
    name: str = ""
    preview: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.told["state"] in ("done", "stopped", "failed")

    def tell(self, **values: object) -> None:
        """Tell the page something new."""
        self.told = {**self.told, **values}

    def advance(self, done: float, total: float, **more: object) -> None:
        """Tell how much is done, and about how long the rest takes."""
        left = (time.monotonic() - self.began) * (total - done) / done if done else None
        values = {} if left is None else {"seconds_left": round(left, 1)}
        self.tell(done=done, total=total, **{**values, **more})

    def stop(self, *, at_once: bool = False) -> None:
        """Ask it to stop.

        Args:
            at_once: kill its process, which has no time to write what it has so far.
        """
        asked_before, self.stopping = self.stopping, True
        if self.process is not None and at_once:
            self.process.kill()
        elif self.process is not None and not asked_before:  # asked twice, it would end at once
            self.process.terminate()
        elif self.told["state"] == "waiting":
            self.tell(state="stopped")

    def run(self, do: "Callable[[BackgroundJob], bool]") -> None:
        """Do it in the present thread, and tell how it ended.

        Args:
            do: does it, and returns whether it came to its end.
        """
        if self.stopping:
            self.tell(state="stopped")
            return
        self.began = time.monotonic()
        self.tell(state="running")
        try:
            state = "done" if do(self) else "stopped"
        except StyleCliError as error:
            self.tell(state="failed", error=error.message, hint=error.hint)
        except Exception as error:
            traceback.print_exc()
            self.tell(state="failed", error=f"a bug of stylecli: {error!r}", hint="")
        else:
            self.tell(state=state, name=self.name)


class BackgroundJobs:
    """All jobs of a run: one film or ZIP at a time, and one training or comparison.

    Args:
        service: the photos and the networks.
        small: paints small pictures, for which films make way.
    """

    def __init__(self, service: PhotoService, small: Workers) -> None:
        self._service, self._small = service, small
        self._painting, self._processes = Workers(), Workers()
        self._all: dict[str, BackgroundJob] = {}
        self._adding = Lock()

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
            job.stop(at_once=True)

    def _new(self, tab: str | None, name: str = "") -> BackgroundJob:
        """A new job, with a folder of its own; the results of old jobs are dropped.

        Raises:
            RefusedError: too much waits.
        """
        there = list(self._all.values())  # a copy: other threads add to it
        if sum(not one.has_ended for one in there) >= _MOST_OPEN:
            raise RefusedError(429, f"{_MOST_OPEN} jobs wait already", "wait, or stop some of them")
        ended = [one for one in there if one.has_ended]
        for old in ended[: max(0, len(there) - _MOST + 1)]:
            self._all.pop(old.id, None)
            shutil.rmtree(old.folder, ignore_errors=True)
        folder = self._service.new_path("")
        folder.mkdir()
        return BackgroundJob(folder, tab, name=name)

    def _begin(
        self, workers: Workers, job: BackgroundJob, do: Callable[[BackgroundJob], bool]
    ) -> BackgroundJob:
        self._all[job.id] = job
        workers.submit(lambda: job.run(do))
        return job

    def begin_film(self, photo: Photo, look: Look, tab: str) -> BackgroundJob:
        """Paint a film.

        Raises:
            RefusedError: it is a photo, or too much waits.
        """
        if not photo.is_film:
            raise RefusedError(400, f"{photo.name} is not a film", "paint it as a photo")
        job = self._new(tab, name=result_name(photo, look))
        return self._begin(self._painting, job, lambda job: self._paint_film(job, photo, look))

    def _paint_film(self, job: BackgroundJob, photo: Photo, look: Look) -> bool:
        def report(event: Result | Frames | Notice) -> None:
            if isinstance(event, Frames):
                job.advance(min(event.done, event.count), event.count)
                self._small.wait_until_idle(_POLITE)

        target = job.folder / f"painted{ending_for(photo.path)}"
        stylizer = self._service.network(look.chosen)
        jobs = [Job(photo.path, target)]
        results = stylizer.run_jobs(jobs, report, lambda: job.stopping, look.config)
        if results and results[0].error:
            raise rename_in(StyleCliError(results[0].error), photo.path, photo.name)
        job.result = target if results else None
        return bool(results)

    def begin_zip(self, photos: Sequence[Photo], look: Look, tab: str) -> BackgroundJob:
        """Paint photos at full size into one ZIP; one that fails is left out, and named.

        Raises:
            RefusedError: there is none, one is a film, or too much waits.
        """
        if not photos:
            raise RefusedError(400, "no photo was chosen", "choose one or more")
        if films := [one.name for one in photos if one.is_film]:
            raise RefusedError(400, f"{films[0]} is a film", "paint it alone")
        job = self._new(tab, name=f"{look.chosen.label}.zip")
        return self._begin(self._painting, job, lambda job: self._zip(job, photos, look))

    def _zip(self, job: BackgroundJob, photos: Sequence[Photo], look: Look) -> bool:
        path, names, faults = job.folder / "painted.zip", set[str](), list[StyleCliError]()
        try:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
                for done, photo in enumerate(photos):
                    if job.stopping:
                        return False
                    job.advance(done, len(photos))
                    self._small.wait_until_idle(_POLITE)
                    try:
                        self._add_painted(archive, photo, look, names)
                    except StyleCliError as error:
                        faults.append(error)
        except OSError as error:
            raise StyleCliError(f"cannot write the ZIP: {error.strerror or error}") from error
        if not names:
            raise faults[0]
        missing = "; ".join(fault.message for fault in faults)
        job.advance(len(photos), len(photos), **({"error": missing} if missing else {}))
        job.result = path
        return True

    def _add_painted(
        self, archive: zipfile.ZipFile, photo: Photo, look: Look, names: set[str]
    ) -> None:
        """Add a painted photo to an archive, under a name that is free in there."""
        painted = self._service.paint_full(photo, look)
        name = PurePath(result_name(photo, look))
        wanted = _find_free_name(
            name.stem, lambda stem: f"{stem}{name.suffix}".lower() in names, "-"
        )
        names.add(f"{wanted}{name.suffix}".lower())
        archive.writestr(f"{wanted}{name.suffix}", painted)

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
        length = _parse_minutes(minutes)
        try:
            read_picture(painting)
        except StyleCliError as error:
            raise rename_in(error, painting, given) from error
        title = clean_title(name) or clean_title(PurePath(given).stem)
        job = self._new(None)
        painting = painting.rename(job.folder / f"{plain_name(title)}{painting.suffix}")
        return self._begin(
            self._processes, job, lambda job: self._train(job, painting, given, title, length)
        )

    def _train(
        self, job: BackgroundJob, painting: Path, given: str, title: str, minutes: float
    ) -> bool:
        files = TrainFiles(painting.with_suffix(SUFFIX))
        job.preview = files.preview
        config = TrainConfig(styles=(painting,), minutes=minutes, output=files.model)
        try:
            self._run_process(job, command_line("train", config))
        except StyleCliError as error:
            raise rename_in(error, painting, given) from error
        for trained in (files.model, files.so_far):
            if trained.is_file():
                self._add_trained(job, trained, title)
                return trained == files.model
        return False

    def _add_trained(self, job: BackgroundJob, trained: Path, title: str) -> None:
        """Add a model to the user's, under a name that is free."""
        with self._adding:
            name = _find_free_name(plain_name(title), _is_taken, "-")
            added = add_model(str(trained), name).path
        number = name.removeprefix(plain_name(title)).replace("-", " ")
        with suppress(StyleCliError):  # the page then shows its name
            keep_title(added, title + number)
        job.result, job.name = added, added.name
        job.tell(style=id_of(added))

    def begin_comparison(
        self, norms: Sequence[str], archs: Sequence[str], tab: str
    ) -> BackgroundJob:
        """Run the experiment of the paper on the bundled photos.

        Raises:
            StyleCliError: a norm or a generator is not known, or too much waits.
        """
        chosen: dict[str, Any] = {"norms": tuple(norms), "archs": tuple(archs)}
        config = CompareConfig(**chosen)
        config.check()
        job = self._new(tab, name="report.html")
        config = replace(config, out=job.folder / "comparison")
        return self._begin(self._processes, job, lambda job: self._compare(job, config))

    def _compare(self, job: BackgroundJob, config: CompareConfig) -> bool:
        self._run_process(job, command_line("compare", config))
        report = config.out / "report.html"
        if not report.is_file():
            return False
        job.result = report
        job.tell(report=f"/api/jobs/{job.id}/report/")
        return True

    def _run_process(self, job: BackgroundJob, words: str) -> None:
        """Run a command of this program, and follow the events that it writes.

        If this server is killed, the command ends at its next event, which has no reader any more.

        Raises:
            StyleCliError: the command failed; as it says.
        """
        command = [sys.executable, "-m", *shlex.split(words), "--json", "--quiet"]
        with (
            tempfile.TemporaryFile(dir=job.folder) as said,
            subprocess.Popen(
                command,
                cwd=job.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
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
                said.seek(0)
                raise _as_error(said.read().decode(errors="replace"), code)

    def preview(self, job: BackgroundJob) -> bytes:
        """The newest preview of a training as a JPEG.

        Raises:
            RefusedError: there is none yet.
        """
        if job.preview is None or not job.preview.is_file():
            raise RefusedError(404, "there is no preview yet", "wait some seconds")
        return encode_jpeg(Picture(read_picture(job.preview).rgb))


def _follow(job: BackgroundJob, event: dict[str, Any]) -> None:
    """Tell how far a command is, by an event that it writes."""
    more: dict[str, object] = {}
    if event["event"] == "step":
        more = {"step": event["step"], "objective": event["losses"]["total"], "note": ""}
        if "seconds_left" in event:
            more["seconds_left"] = round(event["seconds_left"], 1)
    elif event["event"] == "progress":
        more = {"note": event["note"]}
    if job.preview is not None and job.preview.is_file():
        more["preview"] = job.preview.stat().st_mtime  # another one, another preview
    if "progress" in event:
        job.advance(round(event["progress"] * _PARTS), _PARTS, **more)
    elif more:
        job.tell(**more)


def _parse_minutes(given: str) -> float:
    """Parse how long a training may take.

    Raises:
        RefusedError: it is not a number, or out of range.
    """
    try:
        length = float(given)
    except ValueError:
        raise RefusedError(400, f"minutes is {given!r}", "it is a number") from None
    if not 0 < length <= _MOST_MINUTES:
        raise RefusedError(
            400, f"{given} minutes are out of range", "choose more than 0 and at most 1440"
        )
    return length


def _find_free_name(name: str, is_taken: Callable[[str], bool], mark: str) -> str:
    """Find a name that is not taken: itself, or with a number behind it."""
    numbered = (f"{name}{mark}{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if not is_taken(one))


def _is_taken(name: str) -> bool:
    """Whether a model or a style has a name already."""
    if (user_models() / f"{name}{SUFFIX}").exists():
        return True
    try:
        find_model(name)
    except StyleCliError:
        return False
    return True


def _as_error(said: str, code: int) -> StyleCliError:
    """The error that a command has shown."""
    lines = [line.partition(": ") for line in said.splitlines()]
    error = [text for title, _, text in lines if title == "error"]
    hint = [text for title, _, text in lines if title == "hint"]
    return StyleCliError(
        error[-1] if error else f"the process ended with the code {code}",
        hint=hint[-1] if hint else "",
    )
