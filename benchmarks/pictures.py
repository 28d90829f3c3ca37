"""The pictures of the documents that show the bundled gallery, made again with the present one.

    python benchmarks/pictures.py                # into docs/; minutes
    python benchmarks/pictures.py --out /tmp/new

Two pictures of the documents are not among them: docs/layers-ways.jpg and
docs/training-settings.jpg show what was tried.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sizes import scaled

from stylecli import GatysConfig, Stylizer, stylize_slowly
from stylecli.config import SheetConfig
from stylecli.files.colors import Rgb
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_picture, write_picture
from stylecli.files.pages import lay_out
from stylecli.files.pictures import Picture, resize, shrink
from stylecli.sheet import all_styles, paint_styles

LADY, GIRL, PARROTS = 3, 14, 22
MEGAPIXELS = 0.4, 1, 2.4, 2.6, 12
WIDEST = 1650  # px
GAP = 6  # px between pictures, white
EYE = 0.24, 0.52  # where a cutout with an eye of GIRL begins, as shares of height and width


def read(number: int) -> Rgb:
    """A bundled photo."""
    return read_picture(bundled_photos()[number]).rgb


def to_width(rgb: Rgb, width: int) -> Rgb:
    """A picture scaled to a width in px."""
    height = round(rgb.shape[0] * width / rgb.shape[1])
    return resize(rgb, min(height, width))[:height, :width]


def join(rows: list[list[Rgb]]) -> Rgb:
    """Rows of pictures, all of one width; those of a row have one height."""

    def pad(rgb: Rgb) -> Rgb:
        margins = ((0, GAP), (0, GAP), (0, 0))
        return np.pad(rgb, margins, constant_values=255)

    wide = [np.concatenate([pad(rgb) for rgb in row], axis=1) for row in rows]
    return np.concatenate(wide)[:-GAP, :-GAP]


def gallery() -> Rgb:
    """A portrait in all bundled styles, each once."""
    choices = [one for one in all_styles() if one.style]
    page = lay_out(paint_styles(read(GIRL), choices, SheetConfig()))
    return to_width(page, 1300)


def layers() -> Rgb:
    """Portraits: the photo, one pass, two layers."""
    rows = []
    for number, style in ((LADY, "starry-night"), (GIRL, "composition-vii")):
        photo, paint = read(number), Stylizer("gallery", style)
        pictures = [photo, paint(photo, stroke_size="network"), paint(photo)]
        rows.append([to_width(rgb, 496) for rgb in pictures])
    return join(rows)


def sizes() -> Rgb:
    """One photo of several sizes, in layers and in one pass, scaled to one size."""
    photos = [scaled(read(PARROTS), one) for one in MEGAPIXELS]
    paint = Stylizer("composition-vii")
    return join(
        [
            [to_width(paint(photo, stroke_size=size), 324) for photo in photos]
            for size in (1.0, "network")
        ]
    )


def looks() -> Rgb:
    """The options of a look."""
    photo, starry = read(GIRL), Stylizer("gallery", "starry-night")
    blend = Stylizer("gallery", "udnie:0.5,great-wave:0.5")
    pictures = [
        *(photo, starry(photo), starry(photo, strength=0.5)),
        *(starry(photo, preserve_color=True), blend(photo), starry(photo, stroke_size=2.0)),
    ]
    small = [to_width(rgb, 396) for rgb in pictures]
    return join([small[:3], small[3:]])


def finished() -> Rgb:
    """What a model paints, and what twenty slow steps make of it; below, an eye at 100 %."""
    photo = scaled(read(GIRL), 12)
    config = GatysConfig(style=Path("udnie"), start="udnie")
    pictures = [Stylizer("udnie")(photo), stylize_slowly(photo, config)]
    top, left = (round(share * side) for share, side in zip(EYE, photo.shape, strict=False))
    eyes = [rgb[top : top + 420, left : left + 720] for rgb in pictures]
    return join([[to_width(rgb, 720) for rgb in pictures], eyes])


MADE = {
    "gallery": gallery,
    "layers": layers,
    "layers-sizes": sizes,
    "stylize-looks": looks,
    "finished": finished,
}


def make(
    out: Annotated[Path, typer.Option(help="The folder.")] = Path("docs"),
    only: Annotated[str, typer.Option(help="One of them by its name.")] = "",
) -> None:
    """Make the pictures."""
    for name, draw in MADE.items():
        if only in ("", name):
            path = out / f"{name}.jpg"
            write_picture(path, shrink(Picture(draw()), WIDEST), quality=87)
            typer.echo(path)


if __name__ == "__main__":
    typer.run(make)
