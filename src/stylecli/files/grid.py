"""Pictures side by side on one labeled page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stylecli.files.colors import Rgb

_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_ASPECT = 1.4  # width : height of a page


@dataclass(frozen=True)
class Cell:
    """A picture, (H, W, 3) in 0..255, and its label, which stands below it."""

    rgb: Rgb
    label: str


def page(cells: Sequence[Cell], columns: int | None = None) -> Rgb:
    """Lay out pictures in rows, each with its label centered below.

    Args:
        cells: at least one, in reading order; all of one size look best.
        columns: how many pictures a row has; None makes a page a little wider than high.

    Returns:
        (H, W, 3) in 0..255.
    """
    width = max(cell.rgb.shape[1] for cell in cells)
    height = max(cell.rgb.shape[0] for cell in cells)
    text = max(12, width // 22)
    gap, step_down = text, height + 2 * text
    columns = columns or max(1, round(math.sqrt(len(cells) * _ASPECT * step_down / width)))
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    sheet = Image.new(
        "RGB", (columns * (width + gap) + gap, rows * (step_down + gap) + gap), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(text)
    for i, cell in enumerate(cells):
        row, column = divmod(i, columns)
        left, top = gap + column * (width + gap), gap + row * (step_down + gap)
        inner = (width - cell.rgb.shape[1]) // 2
        sheet.paste(Image.fromarray(cell.rgb), (left + inner, top))
        below = (left + width / 2, top + height + text)
        draw.text(below, _fitted(cell.label, font, width), _INK, font, anchor="mm")
    return np.asarray(sheet)


def _fitted(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """A label, cut short if it is wider than its picture."""
    while len(label) > 1 and font.getlength(label) > width:
        label = f"{label[:-2]}…"
    return label
