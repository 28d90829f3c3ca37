"""``stylecli stylize``."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from stylecli.commands.shared import JSON, QUIET, command, named_place
from stylecli.commands.signature import DEVICE, PRECISION, of_choices, options_from
from stylecli.config import DEFAULT_MODEL, StylizeConfig
from stylecli.console import Reporter, show_error, stoppable
from stylecli.core.choices import BackendChoice
from stylecli.errors import StyleCliError
from stylecli.events import Frames, Notice, counted
from stylecli.files.atomic import require_writable
from stylecli.files.images import STANDARD_STREAM
from stylecli.files.jobs import WHOLE, Job, Plan, Shard, plan
from stylecli.files.urls import Place

if TYPE_CHECKING:
    from stylecli.engine import Result, Stylizer
    from stylecli.engine.on_ray import Workers

_IN_OUT = (
    "Photos and folders, then the folder (for one photo: or the file) to write; "
    "each may be a URL, such as s3://bucket/photos."
)
_BACKEND = "auto: OpenVINO on a CPU where it is installed."
_BATCH_SIZE = r"Images of one size at once. \[default: CPU 1, CUDA 8]"  # \[: no markup of rich's
_MAX_MEMORY = (
    "GiB, for images on their way and for the network; larger images go in strips, exactly. "
    r"\[default: three quarters of what is free]"
)
_SHARD = (
    "Only every N-th file, from the I-th on, counted from 0: for several processes or machines. "
    r"\[default: of RANK and WORLD_SIZE, or SLURM_PROCID and SLURM_NTASKS]"
)
_RAY = (
    "Share the files among the machines of a Ray cluster, such as 10.0.0.1:6379. "
    r"\[default: of RAY_ADDRESS; or that runs here; or that is started for this run]"
)
_WORKERS = (
    "For --ray: how many, such as 2:8 or 4. A worker takes a GPU where there are some, "
    r"otherwise all cores of a machine. \[default: as many as there is room for]"
)
_SEED = "Seed of the noise inside the network: another seed, other strokes."
_STYLE = "One of a model's styles: a; or a blend of them: a:0.7,b:0.3 (no number is 1)."


@command
@options_from(StylizeConfig)
def stylize(
    paths: Annotated[
        list[Any], typer.Argument(metavar="IN... OUT", help=_IN_OUT, parser=named_place)
    ],
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="Name, file or URL.")] = DEFAULT_MODEL,
    style: Annotated[str | None, typer.Option(help=_STYLE)] = None,
    given: dict[str, Any],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is there.")] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first bad file.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help=_SHARD)] = None,
    ray: Annotated[str | None, typer.Option(metavar="[ADDRESS]", help=_RAY)] = None,
    workers: Annotated[str | None, typer.Option(metavar="MIN:MAX", help=_WORKERS)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help=_BATCH_SIZE)] = None,
    max_memory: Annotated[float | None, typer.Option(min=0.01, help=_MAX_MEMORY)] = None,
    backend: Annotated[
        str, typer.Option(help=_BACKEND, **of_choices(get_args(BackendChoice)))
    ] = "auto",
    device: Annotated[str, DEVICE] = "auto",
    precision: Annotated[str, PRECISION] = "auto",
    seed: Annotated[int, typer.Option(help=_SEED)] = 0,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Stylize photos with a trained model; what is already there is skipped.

    Exit codes: 0 all done, 1 some failed, 2 usage or set-up, 130 interrupted.
    """
    if len(paths) < 2:
        raise StyleCliError(f"only {paths[0]} was given", hint="stylecli stylize IN... OUT")
    config = StylizeConfig(**given)
    config.check()
    names: dict[str, Any] = {"suffix": config.suffix, "format": config.format}
    if workers is not None and ray is None:
        raise StyleCliError("--workers was given without --ray", hint="add --ray, or leave it out")
    # A script that calls Ray may itself run under SLURM, as one task of several.
    usual = Shard.of_environment(os.environ) if ray is None else WHOLE
    part = Shard.parse(shard) if shard else usual
    todo = plan(paths[:-1], paths[-1], overwrite=overwrite, shard=part, **names)
    _check_streams(todo, as_json)
    from stylecli.engine import Stylizer, full_name  # imports Pillow: a tenth of a second

    name = full_name(model, style)  # a wrong one is an error even if there is nothing to do
    results: list[Result] = []
    with Reporter(quiet=quiet, as_json=as_json) as reporter, stoppable(quiet) as should_stop:
        if part.count > 1:
            files = counted(len(todo.jobs) + len(todo.skipped), "file")
            reporter.say(f"shard {part.number} of {part.count}: {files}")
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
    _conclude_stylizing(reporter, todo, results, name, paths[-1])
    left = len(todo.jobs) - len(results)
    if left or any(result.error for result in results):
        raise typer.Exit(130 if left and interrupted else 1)


def _check_streams(todo: Plan, as_json: bool) -> None:
    """Raise StyleCliError if standard input or output cannot be used as was asked."""
    if as_json and todo.jobs and todo.jobs[0].ending:
        raise StyleCliError("--json and the image would both go to standard output")
    if todo.jobs and todo.jobs[0].source == STANDARD_STREAM and sys.stdin is None:
        raise StyleCliError("- was given, and standard input is closed", hint="name a file")


def _say_plan(reporter: Reporter, todo: Plan) -> None:
    for job in todo.jobs:
        _report_job(reporter, job, "planned")
        reporter.say(f"{job.source} → {job.target}")
    reporter.say(f"{len(todo.jobs)} to stylize, {len(todo.skipped)} skipped")


def _on_ray(arguments: tuple[Any, ...], address: str, workers: str | None) -> "Workers":
    from stylecli.engine.on_ray import Pool, Workers

    return Workers(arguments, address, Pool.parse(workers) if workers else None)


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
            self.reporter.say(event.text)
            self.reporter.event(event="notice", text=event.text)
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
    reporter: Reporter, todo: Plan, results: "list[Result]", model: str, out: Place
) -> None:
    failed = [result for result in results if result.error]
    done = [result for result in results if not result.error]
    for result in failed if len(todo.jobs) > 1 else []:  # the first may have scrolled out of sight
        reporter.say(f"failed: {result.error}")
    left = len(todo.jobs) - len(results)
    counts = [f"{len(done)} stylized"]
    counts += _count_skipped(todo.skipped, model) if todo.skipped else []
    counts += [f"{len(failed)} failed"] if failed else []
    parts = [", ".join(counts)]
    if done and out != STANDARD_STREAM:
        parts.append(f"written to {done[0].job.target if len(done) == 1 else out}")
    parts += [f"{left} left: run the same command to go on"] if left else []
    reporter.say("; ".join(parts))


def _count_skipped(skipped: Sequence[Job], model: str) -> list[str]:
    """How many files were skipped, and how many of them name another model as their maker."""
    from stylecli.engine.marks import other_model

    local = [job.target for job in skipped if isinstance(job.target, Path)]
    makers = Counter(other_model(target, model) for target in local)
    del makers[""]
    others = [f"{count} of them made with {name}" for name, count in makers.most_common(3)]
    return [f"{len(skipped)} skipped (--overwrite to redo)", *others]
