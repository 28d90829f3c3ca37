"""Pages of pictures: as one picture, labeled side by side; or in HTML, one file with all inside."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from stylecli.files.colors import Rgb

_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_ASPECT = 1.4  # width : height of a page
# In widths of a picture:
_TEXT = 1 / 22  # the height of a line, and the gap between pictures
_PAINTING = 1 / 6  # the height of a painting beside a label


@dataclass(frozen=True)
class Cell:
    """A picture with its label, which stands below it."""

    rgb: Rgb  # (H, W, 3) in 0..255
    label: str
    painting: Rgb | None = None  # (H, W, 3) in 0..255, shown small beside the label


def even_rows(count: int, aspect: float, *, paintings: bool = False) -> list[int]:
    """How many pictures of one size each row of a page has, so that no row has a hole.

    The page is a little wider than high. The numbers differ by one at most, the smaller first:
    pictures of a row with fewer are larger.

    Args:
        count: of all pictures.
        aspect: width : height of a picture.
        paintings: whether paintings stand beside the labels.
    """
    height = 1 / aspect + _TEXT + (_PAINTING + _TEXT if paintings else 2 * _TEXT)
    columns = max(1, round(math.sqrt(count * _ASPECT * height)))
    rows = -(-count // columns)
    least, more = divmod(count, rows)
    return [least] * (rows - more) + [least + 1] * more


def lay_out(cells: Sequence[Cell], columns: int | None = None) -> Rgb:
    """Lay out pictures in rows, each with its label centered below.

    Args:
        cells: at least one, in reading order; all of one size look best.
        columns: how many pictures a row has, each in its own size; the last row may have fewer.
            None fills all rows, as :func:`even_rows` says: pictures of rows with more of them are
            scaled down.

    Returns:
        (H, W, 3) in 0..255.
    """
    widest = max(cell.rgb.shape[1] for cell in cells)
    highest = max(cell.rgb.shape[0] for cell in cells)
    if columns is None:
        paintings = any(cell.painting is not None for cell in cells)
        rows = even_rows(len(cells), widest / highest, paintings=paintings)
    else:
        rows = [min(columns, len(cells))] * -(-len(cells) // columns)
    text = max(12, round(widest * rows[0] / rows[-1] * _TEXT))  # for the smallest pictures
    across = rows[0] * (widest + text) - text
    pictures = iter(cells)
    strips = []
    for count in rows:
        width = (across - (count - 1) * text) // count
        row = [cell for _, cell in zip(range(count), pictures, strict=False)]
        strips.append(_draw_row(row, width, width / widest, text))
    height = sum(strip.height + text for strip in strips) + text
    sheet = Image.new("RGB", (across + 2 * text, height), _PAPER)
    top = text
    for strip in strips:
        sheet.paste(strip, (text, top))
        top += strip.height + text
    return np.asarray(sheet)


def _draw_row(cells: Sequence[Cell], width: int, scale: float, text: int) -> Image.Image:
    """Pictures side by side, scaled, each in a column of a width in px, and their labels."""
    pictures = [_scale(cell.rgb, scale) for cell in cells]
    highest = max(picture.height for picture in pictures)
    below = 2 * text
    if any(cell.painting is not None for cell in cells):
        below = round(width * _PAINTING) + text
    size = (len(cells) * (width + text) - text, highest + below)
    strip = Image.new("RGB", size, _PAPER)
    for i, (cell, picture) in enumerate(zip(cells, pictures, strict=True)):
        left = i * (width + text)
        strip.paste(picture, (left + (width - picture.width) // 2, 0))
        strip.paste(_draw_caption(cell, width, below, text), (left, highest))
    return strip


def _scale(rgb: Rgb, scale: float) -> Image.Image:
    picture = Image.fromarray(rgb)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _draw_caption(cell: Cell, width: int, height: int, text: int) -> Image.Image:
    """What stands below a picture: its painting, if there is one, and its label."""
    caption = Image.new("RGB", (width, height), _PAPER)
    font = ImageFont.load_default(text)
    taken = 0  # px of the width, by the painting and a gap
    if cell.painting is not None:
        painting = Image.fromarray(cell.painting)
        painting.thumbnail((width // 2, height - text), reducing_gap=3.0)
        taken = painting.width + text
    label = _shorten(cell.label, font, width - taken)
    left = round((width - taken - font.getlength(label)) / 2)
    if cell.painting is not None:
        caption.paste(painting, (left, (height - painting.height) // 2))
    draw = ImageDraw.Draw(caption)
    draw.text((left + taken, height / 2), label, _INK, font, anchor="lm")
    return caption


def _shorten(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """A label, cut short if it is wider than there is room."""
    while len(label) > 1 and font.getlength(label) > width:
        label = f"{label[:-2]}…"
    return label


def render_html(template: str, **values: object) -> str:
    """A page, from a template of this package.

    Args:
        template: the name of the template, such as ``sheet``.
        values: of the names in it; texts are escaped.
    """
    loader = PackageLoader("stylecli", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template(f"{template}.html.jinja").render(values)
