"""``stylecli stylize``."""

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylecli.commands.shared import JSON, QUIET, command, path_or_url
from stylecli.commands.signature import options_from
from stylecli.config import ALL, RunConfig
from stylecli.console import (
    Reporter,
    format_duration,
    format_rate,
    format_time_left,
    show_error,
    watch_for_stop,
)
from stylecli.core.devices import Rank, count_tasks
from stylecli.core.model_files import find_model, match_name, read_info
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice, pluralize
from stylecli.files.atomic import require_writable
from stylecli.files.jobs import WHOLE, Job, Plan, Shard, into_folder, plan
from stylecli.files.stores import STANDARD_STREAM, Place

if TYPE_CHECKING:
    from stylecli.engine import Result, Stylizer
    from stylecli.engine.on_ray import Workers
    from stylecli.sheet import Choice

_IN_OUT = (
    "Photos, videos and folders; then the folder to write or, for one photo or video, the file. "
    "Each may be a URL, such as s3://bucket/photos; - is standard input or output."
)
_OUTPUT = typer.Option(
    "--output", "-o", metavar="OUT", help="The output, in place of OUT.", parser=path_or_url
)


@command
@options_from(RunConfig)
def stylize(
    paths: Annotated[
        list[Any], typer.Argument(metavar="IN... OUT", help=_IN_OUT, parser=path_or_url)
    ],
    *,
    output: Annotated[Any, _OUTPUT] = None,
    given: dict[str, Any],
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Stylize photos and videos with a trained model; what is already there is skipped.

    The exit code is 0 if all is done, 1 if files failed, 2 if the command cannot run so, and 130
    after Ctrl-C; the same command then goes on.

    Examples:
        stylecli stylize photo.jpg painted.jpg
        stylecli stylize photos/ painted/ --model udnie --preserve-color
    """
    config = RunConfig(**given)
    config.check()
    *inputs, out = [*paths, output] if output is not None else paths
    if not inputs:
        raise StyleCliError(
            f"only {out} was given, not an input and an output", hint="stylecli stylize IN... OUT"
        )
    passes = _plan_passes(config, inputs, out)
    _check_streams(passes, as_json)
    _refuse_other_settings(passes, out)
    with Reporter(quiet=quiet, as_json=as_json) as reporter, watch_for_stop(quiet) as should_stop:
        run = _Run(config, passes, reporter, should_stop)
        run.announce()
        if config.dry_run:
            run.say_plan()
            return
        run.paint()
        interrupted = should_stop()
    run.conclude(out)
    if run.left or run.failed:
        raise typer.Exit(130 if run.left and interrupted else 1)


@dataclass(frozen=True)
class _Pass:
    """The files of a run in one style."""

    config: RunConfig  # with the model of that style
    name: str  # of the model and the style
    made_with: str  # what the pictures say of how they were made
    plan: Plan


def _plan_passes(config: RunConfig, inputs: Sequence[Place], out: Place) -> list[_Pass]:
    """Plan the run in each style; if there are several, each has a folder below the output."""
    styles = _choose_styles(config)
    several = "" not in styles
    todo = plan(
        inputs,
        out,
        overwrite=config.overwrite or several,
        suffix=config.suffix,
        format=config.format,
        shard=_choose_part(config.shard),
    )
    if several and out in (STANDARD_STREAM, *(job.target for job in todo.jobs)):
        raise StyleCliError(
            f"{out} is one file, and --model {config.model} paints in several styles",
            hint="give a folder as the output: each style has a folder in it",
        )
    from stylecli.core.backend import use_one_heap  # NumPy and Pillow: a tenth of a second
    from stylecli.engine import describe_look, full_name

    use_one_heap()
    passes = []
    for folder, one in styles.items():
        name = full_name(one.model, one.style)  # a wrong one is an error even with nothing to do
        made_with = describe_look(name, one, one.seed)
        own = into_folder(todo, out, folder, overwrite=config.overwrite) if several else todo
        passes.append(_Pass(one, name, made_with, own))
    return passes


def _choose_styles(config: RunConfig) -> dict[str, RunConfig]:
    """Find the models that are named; each comes with the name of its folder, "" if it is alone.

    Raises:
        StyleCliError: there is no such model; one is named twice; or ``--style`` has no effect.
    """
    if config.model != ALL and not _is_list(config.model):
        return {"": config}
    if config.style is not None:
        raise StyleCliError(
            f"--style {config.style} is of one model, and --model {config.model} names several",
            hint="leave --style out",
        )
    from stylecli.sheet import all_styles  # imports Pillow

    styles: dict[str, RunConfig] = {}
    names = config.model.split(",")
    for choice in all_styles() if config.model == ALL else map(_find_style, names):
        folder = re.sub(r"[^\w ()-]", "-", choice.label)  # a file may hold a name with ../ in it
        if folder in styles:
            raise StyleCliError(f"{folder} is named twice in --model", hint="once is enough")
        styles[folder] = replace(config, model=str(choice.path), style=choice.style)
    return styles


def _is_list(model: str) -> bool:
    """Whether a text names several models: neither a file with a comma in its name nor a blend."""
    is_file = os.path.exists(model)  # noqa: PTH110 - false for a list too long for a name
    return "," in model and not is_file and not re.search(r":\s*[\d.]", model)


def _find_style(name: str) -> "Choice":
    from stylecli.sheet import Choice

    path = find_model(name.strip())
    info = read_info(path)
    style = match_name(name, info.styles)
    if style is None and len(info.styles) > 1:
        raise StyleCliError(
            f"{name} is a model of {len(info.styles)} styles",
            hint=f"name the styles in its place: {','.join(info.styles)}",
        )
    return Choice(path, style if len(info.styles) > 1 else None, style or info.name)


def _choose_part(shard: str | None) -> Shard:
    """The part of the files that --shard asks for.

    What a launcher has set is looked at only if it is asked for: a process with such variables may
    be the only one, and would then leave out most of the files.
    """
    if shard == "auto":
        rank = Rank.of_launcher(os.environ)
        return Shard(rank.number, rank.count)
    return Shard.parse(shard) if shard is not None else WHOLE


def _check_streams(passes: Sequence[_Pass], as_json: bool) -> None:
    """Raise StyleCliError if standard input or output cannot be used as was asked."""
    for job in passes[0].plan.jobs[:1]:
        if as_json and job.ending:
            raise StyleCliError("--json and the image would both go to standard output")
        if job.source == STANDARD_STREAM and sys.stdin is None:
            raise StyleCliError("- was given, and standard input is closed", hint="name a file")


def _refuse_other_settings(passes: Sequence[_Pass], out: Place) -> None:
    """Raise StyleCliError if the one file to write is there, made with other settings."""
    todo = passes[0].plan
    if todo.jobs or [job.target for job in todo.skipped] != [out] or not isinstance(out, Path):
        return
    from stylecli.engine.pipeline import find_other_settings

    if other := find_other_settings(out, passes[0].made_with):
        hint = "pass --overwrite, or another name"
        raise StyleCliError(f"{out} exists, made with {other}", hint=hint)


@dataclass
class _Run:
    """A run over files in one style or in several: what is shown of it, and when it stops."""

    config: RunConfig
    passes: Sequence[_Pass]
    reporter: Reporter
    should_stop: Callable[[], bool]
    results: "list[Result]" = field(default_factory=list)  # of finished files, the failed ones too
    frames: int = 0  # of films and animations, by now
    _begun: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)  # when the last file was finished

    @property
    def total(self) -> int:
        """How many files there are to stylize."""
        return sum(len(one.plan.jobs) for one in self.passes)

    @property
    def left(self) -> int:
        """How many of them were not begun, or were stopped."""
        return self.total - len(self.results)

    @property
    def failed(self) -> "list[Result]":
        """Those that failed."""
        return [result for result in self.results if result.error]

    def announce(self) -> None:
        """Say which part of the files this is, and which are there already."""
        shard = self.passes[0].plan.shard
        skipped = [job for one in self.passes for job in one.plan.skipped]
        if shard.count > 1:
            self.reporter.say(f"{shard}: {pluralize(self.total + len(skipped), 'file')}")
        elif (tasks := count_tasks(os.environ)) > 1 and not (self.config.shard or self.config.ray):
            self.reporter.say(
                f"all files are done here, though {tasks} tasks may run: "
                "to share the files, start each with --shard auto"
            )
        for job in skipped:
            self._report_job(job, "skipped")

    def say_plan(self) -> None:
        """Say what would be done."""
        for one in self.passes:
            for job in one.plan.jobs:
                self._report_job(job, "planned")
                self.reporter.say(f"{job.source} → {job.target}")
        skipped = sum(len(one.plan.skipped) for one in self.passes)
        self._end("finished", [f"{self.total} to stylize, {skipped} skipped"])

    def paint(self) -> None:
        """Stylize the files, one style after the other."""
        for one in self.passes:
            if one.plan.jobs and not self._paint_pass(one):
                return

    def _paint_pass(self, one: _Pass) -> bool:
        """Stylize the files in one style; return whether to go on with the next."""
        first = one.plan.jobs[0]
        ray = self.config.ray
        self.reporter.say(f"loading the model {one.name}" if ray is None else "starting with Ray")
        self._show(f"{len(self.results)}/{self.total}", one.name)
        stylizer = _open(one.config)
        if isinstance(first.target, Path) and not first.ending:
            require_writable(first.target.parent)
        self.reporter.say(f"model {stylizer.description}")
        begun = stylizer.run_jobs(one.plan.jobs, self._report, self._stop, one.config)
        return len(begun) == len(one.plan.jobs) and not self._stop()  # or the disk is full

    def _stop(self) -> bool:
        """Whether to begin no other file."""
        return self.should_stop() or (self.config.fail_fast and bool(self.failed))

    def _report(self, event: "Result | Frames | Notice") -> None:
        """Show an event."""
        if isinstance(event, Notice):
            self.reporter.notice(event.text)
        elif isinstance(event, Frames):
            self._report_frames(event)
        else:
            self._report_result(event)

    def _report_frames(self, event: Frames) -> None:
        self.frames += 1
        speed = format_rate(event.done, time.monotonic() - self._since, "frames")
        done = f"{len(self.results) + 1}/{self.total}  frame {event.done} of {event.count}"
        self._show(f"{done}  {speed}", event.source.name, min(1.0, event.done / event.count))

    def _report_result(self, result: "Result") -> None:
        self.results.append(result)
        self._since = time.monotonic()
        if result.error:
            show_error(StyleCliError(result.error))
        values = {"seconds": round(result.seconds, 3), "error": result.error or None}
        self._report_job(result.job, "failed" if result.error else "done", **values)
        count = len(self.results)
        speed = format_rate(count, self._since - self._begun)
        self._show(f"{count}/{self.total}  {speed}", result.job.source.name)

    def _show(self, note: str, name: str, share: float = 0.0) -> None:
        """Move the bar; ``share`` is how much of the next file is done."""
        progress = (len(self.results) + share) / self.total
        if 0 < progress < 1:
            seconds = time.monotonic() - self._begun
            note += f"  {format_time_left(seconds * (1 - progress) / progress)}"
        self.reporter.advance("stylizing", progress, f"{note}  {name}")

    def _report_job(self, job: Job, status: str, **more: Any) -> None:
        values = {"source": str(job.source), "target": str(job.target), **more}
        self.reporter.event(status=status, **values)

    def _end(self, status: str, parts: list[str], **more: Any) -> None:
        """Say the last line, and write the last event: what the lines before do not say."""
        plan = self.passes[0].plan
        left_out = [f"left out: {plan.left_out}"] if plan.left_out else []
        self.reporter.say("; ".join([*parts, *left_out]))
        shard = f"{plan.shard.number}/{plan.shard.count}" if plan.shard.count > 1 else None
        self.reporter.event(
            status=status, shard=shard, left_out=plan.left_out, left=self.left, **more
        )

    def conclude(self, out: Place) -> None:
        """Say what was done, and what was not."""
        seconds = time.monotonic() - self._begun
        done = [result.job for result in self.results if not result.error]
        for result in self.failed if self.total > 1 else []:  # it may have scrolled out of sight
            self.reporter.say(f"failed: {result.error}")
        counts = [f"{len(done)} stylized"]
        if not self.reporter.quiet:
            counts += _count_skipped(self.passes)  # it opens each of them
        counts += [f"{len(self.failed)} failed"] if self.failed else []
        todo = self.passes[0].plan
        parts = [(f"{todo.shard}: " if todo.shard.count > 1 else "") + ", ".join(counts)]
        if done:
            pace = _describe_pace(done, self.frames, seconds)
            parts = [f"{parts[0]} in {pace}"] if len(counts) == 1 else [*parts, pace]
            if out != STANDARD_STREAM:
                parts.append(f"written to {done[0].target if len(done) == 1 else out}")
        elif len(todo.skipped) == 1:  # it may have another name than was asked for
            parts.append(f"{todo.skipped[0].target} is there")
        parts += [f"{self.left} left: run the same command to go on"] if self.left else []
        self._end("stopped" if self.left else "finished", parts, seconds=round(seconds, 3))


def _open(config: RunConfig) -> "Stylizer | Workers":
    if config.ray is None:
        from stylecli.engine import Stylizer

        return Stylizer(**config.arguments)
    from stylecli.engine.on_ray import Workers

    return Workers(config)


def _describe_pace(done: Sequence[Job], frames: int, seconds: float) -> str:
    """How long it took and how fast it went, such as ``0:12, 2.0 a second``."""
    took = f"{seconds:.1f} s" if seconds < 10 else format_duration(seconds)
    if frames and all(job.is_video for job in done):
        return f"{took}, {format_rate(frames, seconds, 'frames')}"
    return f"{took}, {format_rate(len(done), seconds)}" if len(done) > 1 else took


def _count_skipped(passes: Sequence[_Pass]) -> list[str]:
    """How many files were skipped, and how many of them say that they were made otherwise."""
    from stylecli.engine.pipeline import find_other_settings

    skipped = [(one.made_with, job.target) for one in passes for job in one.plan.skipped]
    local = [(made_with, target) for made_with, target in skipped if isinstance(target, Path)]
    others = Counter(find_other_settings(target, made_with) for made_with, target in local)
    del others[""]
    counts = [f"{len(skipped)} skipped (--overwrite to redo)"] if skipped else []
    return counts + [f"{count} of them made with {one}" for one, count in others.most_common(3)]
