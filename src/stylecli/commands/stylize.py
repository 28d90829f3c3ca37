"""``stylecli stylize``."""

import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from stylecli.commands.completion import models, styles
from stylecli.commands.shared import JSON, QUIET, command, path_or_url
from stylecli.commands.signature import DEVICE, PRECISION, of_choices, options_from
from stylecli.config import COMPUTING, DEFAULT_MODEL, LOOK, MACHINES, StylizeConfig
from stylecli.console import Reporter, show_error, stoppable
from stylecli.core.rank import Rank, tasks_told
from stylecli.core.spec import BackendChoice
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice, counted
from stylecli.files.atomic import require_writable
from stylecli.files.jobs import WHOLE, Job, Plan, Shard, plan
from stylecli.files.paths import STANDARD_STREAM
from stylecli.files.stores import Place

if TYPE_CHECKING:
    from stylecli.engine import Result, Stylizer
    from stylecli.engine.on_ray import Workers

_IN_OUT = (
    "Photos, videos and folders; then the folder to write or, for one photo or video, the file. "
    "Each may be a URL, such as s3://bucket/photos; - is standard input or output."
)
_MODEL = "Name of a model or of a style (`stylecli models` lists them), or a model's file or URL."
_STYLE = (
    "One style of a model that has several, such as udnie; or a blend, such as "
    "udnie:0.7,great-wave:0.3."
)
_OVERWRITE = "Do again what is there already."
_SEED = "For models with noise inside: another number gives other strokes."
_BACKEND = "auto: OpenVINO on a CPU, where it is installed; otherwise torch."
# \[ is not markup of rich's.
_BATCH_SIZE = r"Photos of one size that are painted at once. \[default: CPU 1, CUDA 8]"
_MAX_MEMORY = (
    "GiB: a third for images on their way, of which one is let in however large; the rest for the "
    r"network, which goes in strips where it needs more. \[default: three quarters of what is free]"
)
_SHARD = (
    "Do only every N-th file, from number I on, counted from 0; so several processes or machines "
    "share a folder. auto: the part of this task of SLURM's srun, or of torchrun."
)
_RAY = (
    "Share the files among the machines of a Ray cluster: HOST:PORT, such as 10.0.0.1:6379; auto "
    "for the one of RAY_ADDRESS or of this machine; or local for one that is started for this run."
)
_WORKERS = (
    "For --ray: how many workers, such as 4, or 2:8 for at least 2 and at most 8. Each takes a "
    r"GPU, or all cores of a machine. \[default: as many as there is room for]"
)


@command
@options_from(StylizeConfig)
def stylize(
    paths: Annotated[
        list[Any], typer.Argument(metavar="IN... OUT", help=_IN_OUT, parser=path_or_url)
    ],
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", help=_MODEL, autocompletion=models)
    ] = DEFAULT_MODEL,
    style: Annotated[str | None, typer.Option(help=_STYLE, autocompletion=styles)] = None,
    given: dict[str, Any],
    overwrite: Annotated[bool, typer.Option("--overwrite", help=_OVERWRITE)] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first bad file.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    seed: Annotated[int, typer.Option(help=_SEED, rich_help_panel=LOOK)] = 0,
    device: Annotated[str, DEVICE] = "auto",
    precision: Annotated[str, PRECISION] = "auto",
    backend: Annotated[
        str,
        typer.Option(
            help=_BACKEND, rich_help_panel=COMPUTING, **of_choices(get_args(BackendChoice))
        ),
    ] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=_BATCH_SIZE, rich_help_panel=COMPUTING),
    ] = None,
    max_memory: Annotated[
        float | None,
        typer.Option(metavar="GIB", min=0.01, help=_MAX_MEMORY, rich_help_panel=COMPUTING),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help=_SHARD, rich_help_panel=MACHINES)
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help=_RAY, rich_help_panel=MACHINES)
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="MIN:MAX", help=_WORKERS, rich_help_panel=MACHINES)
    ] = None,
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
    if ray is not None and not re.fullmatch(r"auto|local|[^/\s]+:\d+", ray):
        hint = "pass HOST:PORT, such as 10.0.0.1:6379; or auto; or local: see stylize --help"
        raise StyleCliError(
            f"--ray {ray or '(nothing)'} is not the address of a cluster", hint=hint
        )
    if len(paths) < 2:
        raise StyleCliError(f"only {paths[0]} was given", hint="stylecli stylize IN... OUT")
    config = StylizeConfig(**given)
    config.check()
    if max_memory is not None and not math.isfinite(max_memory):
        raise StyleCliError(f"--max-memory {max_memory} is not a size", hint="leave it out")
    names: dict[str, Any] = {"suffix": config.suffix, "format": config.format}
    if workers is not None and ray is None:
        raise StyleCliError("--workers was given without --ray", hint="add --ray, or leave it out")
    todo = plan(paths[:-1], paths[-1], overwrite=overwrite, shard=_part(shard), **names)
    part = todo.shard
    _check_streams(todo, as_json)
    from stylecli.engine import Stylizer, describe_look, full_name  # Pillow: a tenth of a second
    from stylecli.files.images import set_pillow_limit

    set_pillow_limit(config.max_pixels)
    name = full_name(model, style)  # a wrong one is an error even if there is nothing to do
    made_with = describe_look(name, config, seed)
    _refuse_other_settings(todo, paths[-1], made_with)
    results: list[Result] = []
    with Reporter(quiet=quiet, as_json=as_json) as reporter, stoppable(quiet) as should_stop:
        if part.count > 1:
            files = counted(len(todo.jobs) + len(todo.skipped), "file")
            reporter.say(f"{part}: {files}")
        elif shard is None and ray is None and (tasks := tasks_told(os.environ)) > 1:
            reporter.say(
                f"all files are done here, though {tasks} tasks may run: "
                "to share the files, start each with --shard auto"
            )
        for job in todo.skipped:
            _report_job(reporter, job, "skipped")
        if dry_run:
            _say_plan(reporter, todo)
            return
        if todo.jobs:
            reporter.say(f"loading the model {name}" if ray is None else "starting with Ray")
            most = None if max_memory is None else int(max_memory * 2**30)
            arguments = model, style, device, precision, backend, batch_size, most, seed
            stylizer = Stylizer(*arguments) if ray is None else _on_ray(arguments, ray, workers)
            watch = _Watch(reporter, len(todo.jobs), should_stop, fail_fast)
            results = _run(stylizer, todo, config, watch)
        interrupted = should_stop()
    _conclude_stylizing(reporter, todo, results, made_with, paths[-1])
    left = len(todo.jobs) - len(results)
    if left or any(result.error for result in results):
        raise typer.Exit(130 if left and interrupted else 1)


def _part(shard: str | None) -> Shard:
    """The part of the files that --shard asks for.

    What a launcher has set is looked at only if it is asked for: a process with such variables may
    be the only one, and would then leave out most of the files.
    """
    if shard == "auto":
        rank = Rank.of_launcher(os.environ)
        return Shard(rank.number, rank.count)
    return Shard.parse(shard) if shard else WHOLE


def _check_streams(todo: Plan, as_json: bool) -> None:
    """Raise StyleCliError if standard input or output cannot be used as was asked."""
    if as_json and todo.jobs and todo.jobs[0].ending:
        raise StyleCliError("--json and the image would both go to standard output")
    if todo.jobs and todo.jobs[0].source == STANDARD_STREAM and sys.stdin is None:
        raise StyleCliError("- was given, and standard input is closed", hint="name a file")


def _refuse_other_settings(todo: Plan, out: Place, made_with: str) -> None:
    """Raise StyleCliError if the one file to write is there, made with other settings."""
    from stylecli.engine.pipeline import made_otherwise

    (target,) = [job.target for job in todo.skipped] if len(todo.skipped) == 1 else (None,)
    if todo.jobs or target != out or not isinstance(target, Path):
        return
    if other := made_otherwise(target, made_with):
        raise StyleCliError(
            f"{target} exists, made with {other}", hint="pass --overwrite, or another name"
        )


def _say_plan(reporter: Reporter, todo: Plan) -> None:
    for job in todo.jobs:
        _report_job(reporter, job, "planned")
        reporter.say(f"{job.source} → {job.target}")
    counts = f"{len(todo.jobs)} to stylize, {len(todo.skipped)} skipped"
    reporter.say("; ".join(filter(None, [counts, todo.left_out])))


def _on_ray(arguments: tuple[Any, ...], address: str, workers: str | None) -> "Workers":
    from stylecli.engine.on_ray import Workers, parse_pool

    return Workers(arguments, address, parse_pool(workers) if workers else None)


def _run(
    stylizer: "Stylizer | Workers", todo: Plan, config: StylizeConfig, watch: "_Watch"
) -> "list[Result]":
    first = todo.jobs[0]
    if isinstance(first.target, Path) and not first.ending:
        require_writable(first.target.parent)
    watch.reporter.say(f"model {stylizer.description}")
    return stylizer.run_jobs(todo.jobs, watch.report, watch.stop, config)


@dataclass
class _Watch:
    """What is shown while files are stylized, and when to stop.

    Attributes:
        reporter: shows it.
        total: how many files there are.
        should_stop: whether the user asked to stop.
        fail_fast: whether to stop at the first file that fails.
        done: how many files are finished, the failed ones too.
        failed: whether one has failed.
    """

    reporter: Reporter
    total: int
    should_stop: Callable[[], bool]
    fail_fast: bool
    done: int = 0
    failed: bool = False

    def stop(self) -> bool:
        """Whether to begin no other file."""
        return self.should_stop() or (self.fail_fast and self.failed)

    def report(self, event: "Result | Frames | Notice") -> None:
        """Show an event."""
        if isinstance(event, Notice):
            self.reporter.notice(event.text)
        elif isinstance(event, Frames):
            share = min(1.0, event.done / event.count)
            note = f"{event.source.name}, frame {event.done} of {event.count}"
            self._advance(share, f"{self.done + 1}/{self.total}  {note}")
        else:
            self._report_result(event)

    def _report_result(self, result: "Result") -> None:
        self.done += 1
        self.failed |= bool(result.error)
        if result.error:
            show_error(StyleCliError(result.error))
        values = {"seconds": round(result.seconds, 3), "error": result.error or None}
        _report_job(self.reporter, result.job, "failed" if result.error else "done", **values)
        self._advance(0.0, f"{self.done}/{self.total}  {result.job.source.name}")

    def _advance(self, share: float, note: str) -> None:
        """Move the bar; ``share`` is how much of the next file is done."""
        self.reporter.advance("stylizing", (self.done + share) / self.total, note)


def _report_job(reporter: Reporter, job: Job, status: str, **more: Any) -> None:
    reporter.event(status=status, source=str(job.source), target=str(job.target), **more)


def _conclude_stylizing(
    reporter: Reporter, todo: Plan, results: "list[Result]", made_with: str, out: Place
) -> None:
    failed = [result for result in results if result.error]
    done = [result for result in results if not result.error]
    for result in failed if len(todo.jobs) > 1 else []:  # the first may have scrolled out of sight
        reporter.say(f"failed: {result.error}")
    left = len(todo.jobs) - len(results)
    counts = [f"{len(done)} stylized"]
    if todo.skipped and not reporter.quiet:  # it opens each of them
        counts += _count_skipped(todo.skipped, made_with)
    counts += [f"{len(failed)} failed"] if failed else []
    share = f"{todo.shard}: " if todo.shard.count > 1 else ""
    parts = [share + ", ".join(counts)]
    if done and out != STANDARD_STREAM:
        parts.append(f"written to {done[0].job.target if len(done) == 1 else out}")
    parts += [f"{left} left: run the same command to go on"] if left else []
    parts += [todo.left_out] if todo.left_out else []
    reporter.say("; ".join(parts))


def _count_skipped(skipped: Sequence[Job], made_with: str) -> list[str]:
    """How many files were skipped, and how many of them say that they were made otherwise."""
    from stylecli.engine.pipeline import made_otherwise

    local = [job.target for job in skipped if isinstance(job.target, Path)]
    others = Counter(made_otherwise(target, made_with) for target in local)
    del others[""]
    counts = [f"{count} of them made with {other}" for other, count in others.most_common(3)]
    return [f"{len(skipped)} skipped (--overwrite to redo)", *counts]
