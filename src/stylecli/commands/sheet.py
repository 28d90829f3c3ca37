"""``stylecli sheet``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stylecli.commands.shared import QUIET, check_output, command
from stylecli.commands.signature import DEVICE, PRECISION, options_from
from stylecli.config import StylizeConfig
from stylecli.console import Reporter
from stylecli.events import counted
from stylecli.files.atomic import require_writable
from stylecli.files.formats import format_for

_OUT = r"The page to write. \[default: PHOTO-sheet.png]"  # \[ is not markup of rich's
_SIZE = "Long side of each picture on the page, px."


@command
@options_from(StylizeConfig, "strength", "preserve_color", "layers", "stroke_size")
def sheet(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Any image file.")],
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help=_OUT)] = None,
    *,
    size: Annotated[int, typer.Option(metavar="PX", min=64, help=_SIZE)] = 640,
    given: dict[str, Any],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a page that is there.")
    ] = False,
    device: Annotated[str, DEVICE] = "auto",
    precision: Annotated[str, PRECISION] = "auto",
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Paint a photo in every style that there is, on one page with their names.

    Examples:
        stylecli sheet photo.jpg
        stylecli sheet photo.jpg styles.png --size 320
    """
    from stylecli.files.images import read_picture, write_picture
    from stylecli.files.pictures import Picture, shrunk  # imports Pillow: a tenth of a second

    StylizeConfig(**given).check()
    target = out or Path(f"{photo.stem}-sheet.png")
    check_output(target, photo, overwrite=overwrite)
    format_for(target)
    rgb = shrunk(read_picture(photo), size).rgb
    require_writable(target.parent)
    from stylecli.sheet import all_styles, render_sheet

    choices = all_styles()
    with Reporter(quiet=quiet) as reporter:

        def report(done: int) -> None:
            note = f"{done}/{len(choices)}  {choices[done - 1].label}"
            reporter.advance("painting", done / len(choices), note)

        page = render_sheet(rgb, choices, device, precision, report, **given)
        write_picture(target, Picture(page))
    reporter.say(f"{target}: {photo.name} in {counted(len(choices), 'style')}")
