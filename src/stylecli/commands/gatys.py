"""``stylecli gatys``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stylecli.commands.shared import JSON, QUIET, command, given, option, refuse_input
from stylecli.config import GatysConfig, help_of
from stylecli.console import Reporter, stoppable
from stylecli.errors import StyleCliError
from stylecli.events import Pixels, in_steps
from stylecli.files.atomic import require_writable
from stylecli.files.images import Picture, format_for, read_picture, shrunk, write_picture

_DEFAULTS = GatysConfig()
_LOSS, _RUN = "Objective", "Run"


def _option(name: str, panel: str) -> Any:
    return option(GatysConfig, name, panel)


@command
def gatys(
    context: typer.Context,
    photo: Annotated[Path, typer.Argument(help="Any image file.")],
    style: Annotated[Path, typer.Argument(help=help_of(GatysConfig, "style"))],
    out: Annotated[Path, typer.Argument(help="The picture to write.")],
    steps: Annotated[int, _option("steps", _RUN)] = _DEFAULTS.steps,
    size: Annotated[int, _option("size", _RUN)] = _DEFAULTS.size,
    optimizer: Annotated[str, _option("optimizer", _RUN)] = _DEFAULTS.optimizer,
    lr: Annotated[float, _option("lr", _RUN)] = _DEFAULTS.lr,
    start: Annotated[str, _option("start", _RUN)] = _DEFAULTS.start,
    seed: Annotated[int, _option("seed", _RUN)] = _DEFAULTS.seed,
    device: Annotated[str, _option("device", _RUN)] = _DEFAULTS.device,
    precision: Annotated[str, _option("precision", _RUN)] = _DEFAULTS.precision,
    preview_every: Annotated[int, _option("preview_every", _RUN)] = _DEFAULTS.preview_every,
    style_size: Annotated[int, _option("style_size", _LOSS)] = _DEFAULTS.style_size,
    style_weight: Annotated[float, _option("style_weight", _LOSS)] = _DEFAULTS.style_weight,
    content_weight: Annotated[float, _option("content_weight", _LOSS)] = _DEFAULTS.content_weight,
    tv_weight: Annotated[float, _option("tv_weight", _LOSS)] = _DEFAULTS.tv_weight,
    content_layer: Annotated[str, _option("content_layer", _LOSS)] = _DEFAULTS.content_layer,
    style_layers: Annotated[str, _option("style_layers", _LOSS)] = ",".join(_DEFAULTS.style_layers),
    loss_padding: Annotated[str, _option("loss_padding", _LOSS)] = _DEFAULTS.loss_padding,
    loss_net: Annotated[str, _option("loss_net", _LOSS)] = _DEFAULTS.loss_net,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a picture.")] = False,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Stylize one photo the slow way: optimize its pixels (Gatys et al. 2016), for reference.

    Minutes where a trained model takes less than a second. Ctrl-C keeps the best so far.
    """
    refuse_input(out, photo, style)
    format_for(out)
    if out.exists() and not overwrite:
        raise StyleCliError(f"{out} exists", hint="pass --overwrite to replace it")
    picture = shrunk(read_picture(photo), size)
    require_writable(out.parent)
    from stylecli.gatys import stylize_slowly  # imports torch: seconds

    config = GatysConfig(**given(context, GatysConfig))
    last = Pixels(0, 0.0, {"total": float("nan")}, lambda: picture.rgb)
    with Reporter(quiet=quiet, as_json=as_json) as reporter, stoppable(quiet) as should_stop:

        def report(event: Pixels) -> None:
            nonlocal last
            last = event
            _report(reporter, event)
            if preview_every and event.step % preview_every == 0:
                write_picture(out, Picture(event.best(), exif=picture.exif))

        best = stylize_slowly(picture.rgb, config, report, should_stop)
        write_picture(out, Picture(best, exif=picture.exif))
        stopped = should_stop() and last.step < steps
    reporter.event(event="stopped" if stopped else "finished", path=str(out), steps=last.step)
    size_text = f"{best.shape[1]} x {best.shape[0]}"
    reporter.say(f"{out}: the best of {in_steps(last.step)}, {size_text}")
    if stopped:
        raise typer.Exit(130)


def _report(reporter: Reporter, event: Pixels) -> None:
    losses = event.losses
    reporter.event(event="step", step=event.step, progress=event.progress, losses=losses)
    reporter.advance(
        "optimizing", event.progress, f"step {event.step}  loss {losses['total']:,.0f}"
    )
