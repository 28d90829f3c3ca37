"""``stylecli compare``."""

import functools
import shlex
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylecli.commands.shared import JSON, QUIET, command, given, option
from stylecli.comparison.folder import find_painting
from stylecli.config import CompareConfig, help_of
from stylecli.console import Reporter, print_table, stoppable
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Progress, Step

if TYPE_CHECKING:
    from stylecli.comparison.report import Table

_DEFAULTS = CompareConfig()
_TRAIN = "Training of what is missing"
_LOSS = "Objective of that training"
_NAMES = {"norms": "--norm", "archs": "--arch"}
_ALWAYS = {"photos", "style", "norms", "archs", "gatys", "gatys_steps", "size", "out", "device"}


def _option(name: str, *names: str, panel: str | None = None) -> Any:
    return option(CompareConfig, name, panel, *names)


@command
def compare(
    context: typer.Context,
    photos: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PHOTOS]...", help=help_of(CompareConfig, "photos")),
    ] = None,
    norms: Annotated[str, _option("norms", "--norm")] = ",".join(_DEFAULTS.norms),
    archs: Annotated[str, _option("archs", "--arch")] = ",".join(_DEFAULTS.archs),
    style: Annotated[str, _option("style")] = _DEFAULTS.style,
    gatys: Annotated[bool, _option("gatys", "--gatys")] = _DEFAULTS.gatys,
    gatys_steps: Annotated[int, _option("gatys_steps")] = _DEFAULTS.gatys_steps,
    size: Annotated[int, _option("size")] = _DEFAULTS.size,
    out: Annotated[Path, _option("out", "--out", "-o")] = _DEFAULTS.out,
    seed: Annotated[int, _option("seed")] = _DEFAULTS.seed,
    device: Annotated[str, _option("device")] = _DEFAULTS.device,
    precision: Annotated[str, _option("precision")] = _DEFAULTS.precision,
    minutes: Annotated[float | None, _option("minutes", panel=_TRAIN)] = _DEFAULTS.minutes,
    steps: Annotated[int | None, _option("steps", panel=_TRAIN)] = _DEFAULTS.steps,
    batch_size: Annotated[int, _option("batch_size", panel=_TRAIN)] = _DEFAULTS.batch_size,
    content: Annotated[Path | None, _option("content", panel=_TRAIN)] = _DEFAULTS.content,
    style_size: Annotated[int, _option("style_size", panel=_LOSS)] = _DEFAULTS.style_size,
    style_weight: Annotated[float, _option("style_weight", panel=_LOSS)] = _DEFAULTS.style_weight,
    content_weight: Annotated[
        float, _option("content_weight", panel=_LOSS)
    ] = _DEFAULTS.content_weight,
    tv_weight: Annotated[float, _option("tv_weight", panel=_LOSS)] = _DEFAULTS.tv_weight,
    content_layer: Annotated[str, _option("content_layer", panel=_LOSS)] = _DEFAULTS.content_layer,
    style_layers: Annotated[str, _option("style_layers", panel=_LOSS)] = ",".join(
        _DEFAULTS.style_layers
    ),
    loss_padding: Annotated[str, _option("loss_padding", panel=_LOSS)] = _DEFAULTS.loss_padding,
    loss_net: Annotated[str, _option("loss_net", panel=_LOSS)] = _DEFAULTS.loss_net,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Set norms and architectures side by side: a grid, a page, the numbers.

    For starry-night it runs at once; with a painting it trains what is missing, every arm
    alike. Ctrl-C keeps what is done, and the same command goes on.
    """
    settings = given(context, CompareConfig)
    config = CompareConfig(**settings)
    _refuse_idle(config, settings)
    from stylecli.comparison.experiment import compare as run_comparison  # imports torch: seconds
    from stylecli.comparison.report import measures_table, write_outputs

    with Reporter(quiet=quiet, as_json=as_json) as reporter, stoppable(quiet) as should_stop:
        report = functools.partial(_report, reporter)
        comparison = run_comparison(config, report, should_stop)
    if comparison is None:
        reporter.event(event="stopped")
        reporter.say(f"stopped; go on with: {command_line(config)}")
        raise typer.Exit(130)
    written = write_outputs(comparison, config.out, command_line(config))
    if as_json:
        reporter.event(event="finished", files=[str(path) for path in written])
    elif not quiet:
        _print(measures_table(comparison))
    for path in written:
        reporter.say(str(path))


def _refuse_idle(config: CompareConfig, settings: Iterable[str]) -> None:
    """Raise StyleCliError for an option that was given and cannot act.

    Args:
        config: the comparison.
        settings: the fields of it that stand on the command line.
    """
    find_painting(config.style)
    if "gatys_steps" in settings and not config.gatys:
        raise StyleCliError("--gatys-steps acts only with --gatys", hint="add --gatys")
    idle = [_option_of(f.name) for f in fields(config) if f.name in {*settings} - _ALWAYS]
    if idle and not Path(config.style).is_file():
        raise StyleCliError(
            f"{', '.join(idle)} cannot act: the arms of {config.style} are trained already",
            hint="leave that out; or pass a painting's file, to train arms: --style PAINTING.jpg",
        )


def _option_of(name: str) -> str:
    return _NAMES.get(name, f"--{name.replace('_', '-')}")


def command_line(config: CompareConfig) -> str:
    """The command that makes a comparison again."""
    photos = [f"./{path}" if str(path).startswith("-") else str(path) for path in config.photos]
    words = ["stylecli", "compare", *photos]
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name == "photos" or (value == each.default and each.name != "norms"):
            continue
        words.append(_option_of(each.name))
        if value is not True:
            words.append(",".join(value) if isinstance(value, tuple) else str(value))
    return shlex.join(words)


def _report(reporter: Reporter, event: Step | Notice | Progress) -> None:
    if isinstance(event, Notice):
        reporter.say(event.text)
        reporter.event(event="notice", text=event.text)
    elif isinstance(event, Step):
        note = f"step {event.step}  objective {event.losses['total']:,.0f}"
        reporter.event(event="step", step=event.step, losses=event.losses)
        reporter.advance("training", event.progress, note)
    else:
        reporter.event(event="progress", progress=event.progress, note=event.note)
        reporter.advance("comparing", event.progress, event.note)


def _print(table: "Table") -> None:
    """Turned on its side: one column an arm fits a terminal."""
    rows = [(head, *(row.cells[i] for row in table.rows)) for i, head in enumerate(table.heads)]
    print_table(rows, ("", *(row.name for row in table.rows)))
