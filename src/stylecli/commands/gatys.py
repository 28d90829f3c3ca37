"""``stylecli gatys``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylecli.commands.shared import (
    JSON,
    OUTPUT,
    OVERWRITE,
    QUIET,
    choose_output,
    command,
    prepare_output,
)
from stylecli.commands.signature import options_from
from stylecli.config import GatysConfig
from stylecli.console import Reporter, Watch, watch_for_stop
from stylecli.events import Notice, Pixels, Progress
from stylecli.files.formats import format_for

if TYPE_CHECKING:
    from stylecli.files.pictures import Picture


@command
@options_from(GatysConfig)
def gatys(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Any image file.")],
    given: dict[str, Any],
    last: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="The picture to write.")
    ] = None,
    output: Annotated[Path | None, OUTPUT] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Stylize one photo slowly: optimize its pixels (Gatys et al. 2016).

    It takes minutes where a trained model takes a second, and needs no model. With --start it
    finishes what a model paints: finer strokes, more of the photo. The picture has the photo's
    size, unless --max-size makes it smaller. Ctrl-C keeps the best one so far.

    Examples:
        stylecli gatys photo.jpg painting.jpg painted.jpg
        stylecli gatys photo.jpg udnie finished.jpg --start udnie
    """
    out = choose_output(last, output)
    config = GatysConfig(**given)
    config.check()
    format_for(out)
    picture = _read(photo, config)
    prepare_output(out, photo, *filter(None, [config.painting]), overwrite=overwrite)
    with Reporter(quiet=quiet, as_json=as_json) as reporter, watch_for_stop(quiet) as should_stop:
        steps = _optimize(picture, out, config, reporter, should_stop)
        stopped = should_stop() and steps < config.most_steps
    reporter.event(event="stopped" if stopped else "finished", path=str(out), steps=steps)
    size = f"{picture.rgb.shape[1]} x {picture.rgb.shape[0]} px"
    reporter.say(f"{out}: the best picture after step {steps}, {size}")
    if stopped:
        raise typer.Exit(130)


def _read(photo: Path, config: GatysConfig) -> "Picture":
    """The photo, scaled down and without metadata if the settings say so."""
    from stylecli.files.images import read_picture  # imports Pillow: a tenth of a second
    from stylecli.files.metadata import Metadata
    from stylecli.files.pictures import shrink

    picture = shrink(read_picture(photo, config.max_pixels), config.max_size)
    return replace(picture, metadata=Metadata()) if config.strip_metadata else picture


def _optimize(
    picture: "Picture",
    out: Path,
    config: GatysConfig,
    reporter: Reporter,
    should_stop: Callable[[], bool],
) -> int:
    """Write the best picture, from time to time and at the end; return the number of steps."""
    from stylecli.files.images import write_picture

    reporter.notice("loading torch")  # seconds
    reporter.advance("preparing", 0.0, "loading torch")
    from stylecli.gatys import stylize_slowly

    last = written = 0
    watch = Watch(reporter, "optimizing", count=config.most_steps)

    def report(event: Pixels | Notice | Progress) -> None:
        nonlocal last, written
        watch(event)
        if not isinstance(event, Pixels):
            return
        last = event.step
        if event.best and config.preview_every and last % config.preview_every == 0:
            write_picture(out, replace(picture, rgb=event.best()), config.quality)
            written = last

    try:
        best = stylize_slowly(picture.rgb, config, report, should_stop)
    except Exception:
        if written:
            reporter.say(f"{out}: the best picture after step {written}, which is kept")
        raise
    write_picture(out, replace(picture, rgb=best), config.quality)
    return last
