"""``stylecli sheet``."""

from collections.abc import Sequence
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
from stylecli.config import SheetConfig
from stylecli.console import Reporter, Watch
from stylecli.events import pluralize
from stylecli.files.atomic import write_text
from stylecli.files.formats import format_for

if TYPE_CHECKING:
    from stylecli.files.pages import Cell

# rich takes \[ for a plain bracket
_OUT = (
    "The page to write: an image file, or .html for sliders between the photo and each style. "
    r"\[default: PHOTO-sheet.png]"
)


@command
@options_from(SheetConfig)
def sheet(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Any image file.")],
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help=_OUT)] = None,
    *,
    output: Annotated[Path | None, OUTPUT] = None,
    given: dict[str, Any],
    overwrite: Annotated[bool, OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Paint a photo in every style that there is, on one page with their names.

    Examples:
        stylecli sheet photo.jpg --paintings
        stylecli sheet photo.jpg styles.html
    """
    config = SheetConfig(**given)
    config.check()
    target = choose_output(out, output, Path(f"{photo.stem}-sheet.png"))
    if not _is_html(target):
        format_for(target)
    from stylecli.files.images import read_picture  # imports Pillow: a tenth of a second

    rgb = read_picture(photo).rgb
    prepare_output(target, photo, overwrite=overwrite)
    from stylecli.sheet import all_styles, paint_styles

    with Reporter(quiet=quiet, as_json=as_json) as reporter:
        cells = paint_styles(rgb, all_styles(), config, Watch(reporter, rest="painting"))
        reporter.advance("painting", 1.0, "writing the page")
        _write(target, cells, photo.name)
    reporter.event(event="finished", path=str(target), styles=len(cells) - 1)
    reporter.say(f"{target}: {photo.name} in {pluralize(len(cells) - 1, 'style')}")


def _is_html(path: Path) -> bool:
    return path.suffix.lower() in (".html", ".htm")


def _write(target: Path, cells: "Sequence[Cell]", title: str) -> None:
    from stylecli.files.images import write_picture
    from stylecli.files.pages import lay_out
    from stylecli.files.pictures import Picture
    from stylecli.sheet import render_html

    if _is_html(target):
        write_text(target, render_html(cells, title))
    else:
        write_picture(target, Picture(lay_out(cells)))
