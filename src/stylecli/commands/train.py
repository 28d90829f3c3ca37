"""``stylecli train``."""

import functools
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stylecli.commands.shared import JSON, QUIET, command, given, option
from stylecli.config import TrainConfig, help_of
from stylecli.console import Reporter, duration, stoppable
from stylecli.core.model_files import read_info
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Step, TrainResult, counted

_DEFAULTS = TrainConfig()
_OVERWRITE = "Replace a model, and drop an unfinished training of it."
_NETWORK, _LOSS, _RUN = "Network", "Objective", "Run"


def _option(name: str, panel: str, *names: str) -> Any:
    return option(TrainConfig, name, panel, *names)


@command
def train(
    context: typer.Context,
    styles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STYLE...", help=help_of(TrainConfig, "styles")),
    ] = None,
    output: Annotated[Path | None, _option("output", _RUN, "--output", "-o")] = _DEFAULTS.output,
    content: Annotated[Path | None, _option("content", _RUN)] = _DEFAULTS.content,
    minutes: Annotated[float | None, _option("minutes", _RUN)] = _DEFAULTS.minutes,
    steps: Annotated[int | None, _option("steps", _RUN)] = _DEFAULTS.steps,
    batch_size: Annotated[int | None, _option("batch_size", _RUN)] = _DEFAULTS.batch_size,
    size: Annotated[int, _option("size", _RUN)] = _DEFAULTS.size,
    small_crops: Annotated[float, _option("small_crops", _RUN)] = _DEFAULTS.small_crops,
    optimizer: Annotated[str, _option("optimizer", _RUN)] = _DEFAULTS.optimizer,
    lr: Annotated[float, _option("lr", _RUN)] = _DEFAULTS.lr,
    seed: Annotated[int, _option("seed", _RUN)] = _DEFAULTS.seed,
    device: Annotated[str, _option("device", _RUN)] = _DEFAULTS.device,
    precision: Annotated[str, _option("precision", _RUN)] = _DEFAULTS.precision,
    preview_every: Annotated[int, _option("preview_every", _RUN)] = _DEFAULTS.preview_every,
    license: Annotated[str, _option("license", _RUN)] = _DEFAULTS.license,
    arch: Annotated[str, _option("arch", _NETWORK)] = _DEFAULTS.arch,
    norm: Annotated[str, _option("norm", _NETWORK)] = _DEFAULTS.norm,
    noise: Annotated[str, _option("noise", _NETWORK)] = _DEFAULTS.noise,
    upsampling: Annotated[str, _option("upsampling", _NETWORK)] = _DEFAULTS.upsampling,
    activation: Annotated[str, _option("activation", _NETWORK)] = _DEFAULTS.activation,
    width: Annotated[int | None, _option("width", _NETWORK)] = _DEFAULTS.width,
    init: Annotated[str, _option("init", _NETWORK)] = _DEFAULTS.init,
    add_style: Annotated[Path | None, _option("add_style", _NETWORK)] = _DEFAULTS.add_style,
    style_size: Annotated[int, _option("style_size", _LOSS)] = _DEFAULTS.style_size,
    style_weight: Annotated[float, _option("style_weight", _LOSS)] = _DEFAULTS.style_weight,
    content_weight: Annotated[float, _option("content_weight", _LOSS)] = _DEFAULTS.content_weight,
    tv_weight: Annotated[float, _option("tv_weight", _LOSS)] = _DEFAULTS.tv_weight,
    content_layer: Annotated[str, _option("content_layer", _LOSS)] = _DEFAULTS.content_layer,
    style_layers: Annotated[str, _option("style_layers", _LOSS)] = ",".join(_DEFAULTS.style_layers),
    loss_padding: Annotated[str, _option("loss_padding", _LOSS)] = _DEFAULTS.loss_padding,
    loss_margin: Annotated[float, _option("loss_margin", _LOSS)] = _DEFAULTS.loss_margin,
    loss_net: Annotated[str, _option("loss_net", _LOSS)] = _DEFAULTS.loss_net,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=_OVERWRITE)] = False,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Train a generator for a painting, or for several: a model that paints photos in that style.

    Ctrl-C saves the state; the same command with --resume goes on.
    """
    from stylecli.training.loop import train as run_training  # imports torch: seconds

    settings = given(context, TrainConfig)
    config = TrainConfig(**settings)
    if resume and not (config.paintings or config.output):
        raise StyleCliError("--resume of what?", hint="name the model: --output FILE --resume")
    with Reporter(quiet=quiet, as_json=as_json) as reporter, stoppable(quiet) as should_stop:
        report = functools.partial(_report_training, reporter)
        wishes: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "changes": settings}
        result = run_training(config, report, should_stop, **wishes)
    _conclude_training(reporter, result)


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


def _conclude_training(reporter: Reporter, result: TrainResult) -> None:
    values = {**asdict(result), "path": str(result.path)}
    reporter.event(event="finished" if result.finished else "stopped", **values)
    done = f"{counted(result.steps, 'step')} in {duration(result.seconds)}"
    if not result.finished:
        again = shlex.join(["stylecli", "train", "--output", str(result.path), "--resume"])
        reporter.say(f"stopped after {done}; nothing is lost")
        reporter.say(f"go on with: {again}")
        raise typer.Exit(130)
    name = result.path.stem if result.path.parent == Path("models") else str(result.path)
    reporter.say(f"{result.path}: {done}, objective {result.losses['total']:,.0f}")
    styles = read_info(result.path).styles
    chosen = f" --style {styles[-1]}" if len(styles) > 1 else ""
    reporter.say(f"use it with: stylecli stylize PHOTOS OUT --model {shlex.quote(name)}{chosen}")
