"""``stylecli compare``."""

import functools
import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylecli.commands.shared import JSON, QUIET, command, given, option
from stylecli.config import CompareConfig, help_of
from stylecli.console import Reporter, print_table, stoppable
from stylecli.events import Notice, Progress, Step

if TYPE_CHECKING:
    from stylecli.report import Table

_DEFAULTS = CompareConfig()
_TRAIN = "Training of what is missing"


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
    style_size: Annotated[int, _option("style_size", panel=_TRAIN)] = _DEFAULTS.style_size,
    style_weight: Annotated[float, _option("style_weight", panel=_TRAIN)] = _DEFAULTS.style_weight,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Set norms and architectures side by side: a grid, a page, the numbers.

    For starry-night it runs at once; with a painting it trains what is missing, every arm
    alike. Ctrl-C keeps what is done, and the same command goes on.
    """
    config = CompareConfig(**given(context, CompareConfig))
    from stylecli.compare import compare as run_comparison  # imports torch: seconds
    from stylecli.report import measures_table, write_outputs

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


def command_line(config: CompareConfig) -> str:
    """The command that makes a comparison again."""
    words = ["stylecli", "compare", *map(str, config.photos)]
    names = {"norms": "--norm", "archs": "--arch"}
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name == "photos" or (value == each.default and each.name != "norms"):
            continue
        words.append(names.get(each.name, f"--{each.name.replace('_', '-')}"))
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
