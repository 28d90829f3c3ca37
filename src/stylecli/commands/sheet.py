"""``stylecli sheet``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stylecli.commands.shared import QUIET, check_output, command
from stylecli.commands.signature import DEVICE, PRECISION, options_from
from stylecli.config import StylizeConfig
from stylecli.console import Reporter
from stylecli.events import Notice, Progress, counted
from stylecli.files.atomic import require_writable, write_text
from stylecli.files.formats import format_for

# rich takes \[ for a plain bracket
_OUT = (
    "The page to write: an image file, or .html for sliders between the photo and each style. "
    r"\[default: PHOTO-sheet.png]"
)
_SIZE = "Long side of each picture on the page, px; those of a shorter row are larger."
_PAINTINGS = "Show each style's painting, small, beside its name."


@command
@options_from(StylizeConfig, "strength", "preserve_color", "layers", "stroke_size")
def sheet(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Any image file.")],
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help=_OUT)] = None,
    *,
    size: Annotated[int, typer.Option(metavar="PX", min=64, help=_SIZE)] = 640,
    paintings: Annotated[bool, typer.Option("--paintings", help=_PAINTINGS)] = False,
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
        stylecli sheet photo.jpg --paintings
        stylecli sheet photo.jpg styles.html
    """
    StylizeConfig(**given).check()
    target = out or Path(f"{photo.stem}-sheet.png")
    check_output(target, photo, overwrite=overwrite)
    in_html = target.suffix.lower() in (".html", ".htm")
    if not in_html:
        format_for(target)
    from stylecli.files.images import read_picture, write_picture
    from stylecli.files.pictures import Picture  # imports Pillow: a tenth of a second

    rgb = read_picture(photo).rgb
    require_writable(target.parent)
    from stylecli.sheet import all_styles, paint_styles, render_html, render_sheet

    with Reporter(quiet=quiet) as reporter:

        def report(event: Progress | Notice) -> None:
            if isinstance(event, Notice):
                reporter.say(event.text)
            else:
                reporter.advance("painting", event.progress, event.note)

        choices = all_styles()
        cells = paint_styles(
            rgb, choices, size, device, precision, report, paintings=paintings, **given
        )
        reporter.advance("painting", 1.0, "writing the page")
        if in_html:
            write_text(target, render_html(cells, photo.name))
        else:
            write_picture(target, Picture(render_sheet(cells)))
    reporter.say(f"{target}: {photo.name} in {counted(len(cells) - 1, 'style')}")
