"""The command line: parse, build a config, call one function, turn errors into exit codes.

torch is imported inside the commands that compute: ``--help`` answers at once.
"""

import functools
import itertools
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stylecli import __version__
from stylecli.config import DEFAULT_MODEL, TrainConfig, help_of
from stylecli.console import Reporter, duration, show_error, stoppable
from stylecli.core.checkpoints import ModelInfo, find_model, find_style, list_models, read_info
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Step, TrainResult
from stylecli.files.atomic import require_writable
from stylecli.files.images import Picture, format_for, read_picture, shrunk, write_picture
from stylecli.files.jobs import Job, Plan, plan
from stylecli.training_files import TrainFiles, saved_config

if TYPE_CHECKING:
    from stylecli.engine import Result

app = typer.Typer(
    name="stylecli",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
P = ParamSpec("P")
_DEFAULTS = TrainConfig()
_QUIET = typer.Option("--quiet", "-q", help="Say nothing but errors.")
_JSON = typer.Option("--json", help="Events to stdout, a JSON object a line.")
_IN_OUT = "Photos and folders, then the folder (for one photo: or the file) to write."
_STYLE = "One of a model's styles: a; or a blend of them: a:0.7,b:0.3."
_NETWORK, _LOSS, _RUN = "Network", "Objective", "Run"


def main() -> None:
    """The ``stylecli`` command."""
    app()


def _command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn what a user can cause into a line on stderr and an exit code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except StyleCliError as error:
            show_error(error)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:  # what nobody foresaw: a disk that is full, a name too long
            show_error(StyleCliError(str(error)))
            raise typer.Exit(2) from error
        except KeyboardInterrupt:
            show_error(StyleCliError("interrupted"))
            raise typer.Exit(130) from None

    return run


def _option(name: str, panel: str) -> Any:
    """An option of ``train``, with its help from the config."""
    return typer.Option(help=help_of(TrainConfig, name), rich_help_panel=panel)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stylecli {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Paint photos in the style of a painting, in one pass of a network trained for it."""


@app.command()
@_command
def train(
    context: typer.Context,
    styles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STYLE...", help=help_of(TrainConfig, "styles")),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=help_of(TrainConfig, "output"), rich_help_panel=_RUN),
    ] = _DEFAULTS.output,
    content: Annotated[Path | None, _option("content", _RUN)] = _DEFAULTS.content,
    minutes: Annotated[float | None, _option("minutes", _RUN)] = _DEFAULTS.minutes,
    steps: Annotated[int | None, _option("steps", _RUN)] = _DEFAULTS.steps,
    batch_size: Annotated[int, _option("batch_size", _RUN)] = _DEFAULTS.batch_size,
    size: Annotated[int, _option("size", _RUN)] = _DEFAULTS.size,
    small_crops: Annotated[float, _option("small_crops", _RUN)] = _DEFAULTS.small_crops,
    lr: Annotated[float, _option("lr", _RUN)] = _DEFAULTS.lr,
    seed: Annotated[int, _option("seed", _RUN)] = _DEFAULTS.seed,
    device: Annotated[str, _option("device", _RUN)] = _DEFAULTS.device,
    precision: Annotated[str, _option("precision", _RUN)] = _DEFAULTS.precision,
    preview_every: Annotated[int, _option("preview_every", _RUN)] = _DEFAULTS.preview_every,
    license: Annotated[str, _option("license", _RUN)] = _DEFAULTS.license,
    arch: Annotated[str, _option("arch", _NETWORK)] = _DEFAULTS.arch,
    norm: Annotated[str, _option("norm", _NETWORK)] = _DEFAULTS.norm,
    width: Annotated[int | None, _option("width", _NETWORK)] = _DEFAULTS.width,
    init: Annotated[str, _option("init", _NETWORK)] = _DEFAULTS.init,
    add_style: Annotated[Path | None, _option("add_style", _NETWORK)] = _DEFAULTS.add_style,
    style_size: Annotated[int, _option("style_size", _LOSS)] = _DEFAULTS.style_size,
    style_weight: Annotated[float, _option("style_weight", _LOSS)] = _DEFAULTS.style_weight,
    content_weight: Annotated[float, _option("content_weight", _LOSS)] = _DEFAULTS.content_weight,
    tv_weight: Annotated[float, _option("tv_weight", _LOSS)] = _DEFAULTS.tv_weight,
    content_layer: Annotated[str, _option("content_layer", _LOSS)] = _DEFAULTS.content_layer,
    style_layers: Annotated[str, _option("style_layers", _LOSS)] = ",".join(_DEFAULTS.style_layers),
    loss_net: Annotated[str, _option("loss_net", _LOSS)] = _DEFAULTS.loss_net,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model.")] = False,
    quiet: Annotated[bool, _QUIET] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Train a generator for a painting, or for several: a model file that paints any photo so.

    Ctrl-C saves the state; the same command with --resume goes on.
    """
    from stylecli.train import train as run_training  # imports torch: seconds

    given = _given(context)
    config = TrainConfig(**given)
    if resume:
        config = saved_config(TrainFiles.of(config), given, overwrite=overwrite)
    with Reporter(quiet=quiet, as_json=as_json) as reporter, stoppable(quiet) as should_stop:
        report = functools.partial(_report_training, reporter)
        result = run_training(config, report, should_stop, resume=resume, overwrite=overwrite)
    _conclude_training(reporter, result, config)


def _given(context: typer.Context) -> dict[str, Any]:
    """The settings of a training that stand on the command line."""
    settings = {field.name for field in fields(TrainConfig)}
    given = {
        name: value
        for name, value in context.params.items()
        if name in settings and _is_given(context, name)
    }
    if "style_layers" in given:
        given["style_layers"] = tuple(given["style_layers"].replace(" ", "").split(","))
    if "styles" in given:
        given["styles"] = tuple(given["styles"])
    return given


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _report_training(reporter: Reporter, event: Step | Notice) -> None:
    if isinstance(event, Notice):
        reporter.say(event.text)
        reporter.event(event="notice", text=event.text)
        return
    reporter.event(event="step", **asdict(event))
    note = (
        f"step {event.step}  content {event.losses['content']:,.0f}"
        f"  style {event.losses['style']:,.0f}  {event.photos_per_second:.1f} photos/s"
        f"  {duration(event.seconds_left)} left"
    )
    reporter.advance("training", event.progress, note)


def _conclude_training(reporter: Reporter, result: TrainResult, config: TrainConfig) -> None:
    values = {**asdict(result), "path": str(result.path)}
    reporter.event(event="finished" if result.finished else "stopped", **values)
    done = f"{result.steps} steps in {duration(result.seconds)}"
    if not result.finished:
        output = ["--output", str(config.output)] if config.output else []
        paintings = ["--add-style"] if config.add_style else []
        paintings += map(str, config.paintings)
        again = shlex.join(["stylecli", "train", *paintings, *output, "--resume"])
        reporter.say(f"stopped after {done}; nothing is lost")
        reporter.say(f"go on with: {again}")
        raise typer.Exit(130)
    name = result.path.stem if result.path.parent == Path("models") else str(result.path)
    reporter.say(f"{result.path}: {done}, objective {result.losses['total']:,.0f}")
    styles = read_info(result.path).styles
    chosen = f" --style {styles[-1]}" if len(styles) > 1 else ""
    reporter.say(f"use it with: stylecli stylize PHOTOS OUT --model {shlex.quote(name)}{chosen}")


@app.command()
@_command
def stylize(
    paths: Annotated[list[Path], typer.Argument(metavar="IN... OUT", help=_IN_OUT)],
    model: Annotated[str, typer.Option("--model", "-m", help="Name or file.")] = DEFAULT_MODEL,
    style: Annotated[str | None, typer.Option(help=_STYLE)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is there.")] = False,
    device: Annotated[str, typer.Option(help=help_of(TrainConfig, "device"))] = "auto",
    precision: Annotated[str, typer.Option(help=help_of(TrainConfig, "precision"))] = "auto",
    quiet: Annotated[bool, _QUIET] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Stylize photos with a trained model; what is already there is skipped.

    Exit codes: 0 all done, 1 some failed, 2 usage or set-up, 130 interrupted.
    """
    if len(paths) < 2:
        raise StyleCliError(f"only {paths[0]} was given", hint="stylecli stylize IN... OUT")
    todo = plan(paths[:-1], paths[-1], overwrite=overwrite)
    find_style(model, style)  # a wrong name is an error even if there is nothing to do
    results: list[Result] = []
    with Reporter(quiet=quiet, as_json=as_json) as reporter, stoppable(quiet) as should_stop:
        for job in todo.skipped:
            _tell_of(reporter, job, "skipped")
        if todo.jobs:
            results = _run_engine(reporter, todo, should_stop, (model, style, device, precision))
    _conclude_stylizing(reporter, todo, results)


def _run_engine(
    reporter: Reporter,
    todo: Plan,
    should_stop: Callable[[], bool],
    choice: tuple[str, str | None, str, str],
) -> "list[Result]":
    from stylecli.engine import Stylizer  # imports torch: seconds

    stylizer = Stylizer(*choice)
    require_writable(todo.jobs[0].target.parent)
    reporter.say(f"model {stylizer.description}")
    numbers = itertools.count(1)

    def report(result: "Result") -> None:
        done, of, name = next(numbers), len(todo.jobs), result.job.source.name
        status = "failed" if result.error else "done"
        seconds = round(result.seconds, 3)
        _tell_of(reporter, result.job, status, seconds=seconds, error=result.error or None)
        reporter.advance("stylizing", done / of, f"{done}/{of}  {name}")

    return stylizer.run(todo.jobs, report, should_stop)


def _tell_of(reporter: Reporter, job: Job, status: str, **more: Any) -> None:
    reporter.event(status=status, source=str(job.source), target=str(job.target), **more)


def _conclude_stylizing(reporter: Reporter, todo: Plan, results: "list[Result]") -> None:
    failed = [result for result in results if result.error]
    for result in failed:
        show_error(StyleCliError(result.error))
    left = len(todo.jobs) - len(results)
    counts = [f"{len(results) - len(failed)} stylized"]
    counts += [f"{len(todo.skipped)} skipped (--overwrite to redo)"] if todo.skipped else []
    counts += [f"{len(failed)} failed"] if failed else []
    counts += [f"{left} left: run the same command to go on"] if left else []
    reporter.say(", ".join(counts))
    if left or failed:
        raise typer.Exit(130 if left else 1)


@app.command()
@_command
def sheet(
    photo: Annotated[Path, typer.Argument(help="Any image file.")],
    out: Annotated[Path | None, typer.Argument(help="[default: PHOTO-sheet.png]")] = None,
    size: Annotated[int, typer.Option(min=64, help="Long side of each picture, px.")] = 640,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sheet.")] = False,
    device: Annotated[str, typer.Option(help=help_of(TrainConfig, "device"))] = "auto",
    precision: Annotated[str, typer.Option(help=help_of(TrainConfig, "precision"))] = "auto",
    quiet: Annotated[bool, _QUIET] = False,
) -> None:
    """Render a photo in every style that there is, on one labelled page."""
    target = out or Path(f"{photo.stem}-sheet.png")
    format_for(target)
    if target.exists() and not overwrite:
        raise StyleCliError(f"{target} exists", hint="pass --overwrite, or another name")
    rgb = shrunk(read_picture(photo), size).rgb
    require_writable(target.parent)
    from stylecli.sheet import all_styles, render_sheet  # imports torch: seconds

    choices = all_styles()
    with Reporter(quiet=quiet) as reporter:

        def report(done: int) -> None:
            note = f"{done}/{len(choices)}  {choices[done - 1].label}"
            reporter.advance("painting", done / len(choices), note)

        write_picture(target, Picture(render_sheet(rgb, choices, device, precision, report)))
    reporter.say(f"{target}: {photo.name} in {len(choices)} styles")


@app.command()
@_command
def models(
    name: Annotated[str | None, typer.Argument(help="A model's name or file, to see more.")] = None,
) -> None:
    """List the models that are bundled or found, or show what is in one file."""
    if name is not None:
        path = find_model(name)
        _print_model(path, read_info(path))
        return
    table = Table(box=None)
    for title in ("model", "style", "generator", "size", "file"):
        table.add_column(title, overflow="fold")
    for path, info in list_models():
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        generator = f"{info.arch}, {info.norm}, {info.width}"
        for style in info.styles:
            table.add_row(*map(Text, (path.stem, style, generator, size, str(path))))
    _print_table(table)


def _print_table(table: Table) -> None:
    """To stdout: folded to a terminal's width, each row on one line in a pipe."""
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def _print_model(path: Path, info: ModelInfo) -> None:
    shown = {"file": path, "generator": info.arch, "norm": info.norm, "width": info.width}
    shown |= {
        "styles": ", ".join(info.styles),
        "output": info.output,
        "license": info.license or "not stated",
    }
    shown |= {f"loss: {name}": value for name, value in info.losses.items()}
    shown |= {key: value for key, value in info.training.items() if value not in (None, "")}
    table = Table(box=None, show_header=False)
    for key, value in shown.items():
        table.add_row(Text(key), Text(_as_text(value)))
    _print_table(table)


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
