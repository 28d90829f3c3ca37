"""One photo in every style, on one page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stylecli.core.devices import resolve_device, resolve_precision
from stylecli.core.model_files import bundled_models, list_models, load_generator
from stylecli.core.torch_backend import TorchBackend
from stylecli.engine.strokes import with_strokes
from stylecli.files.colors import Rgb
from stylecli.files.grid import Cell, page


@dataclass(frozen=True)
class Choice:
    """A style: the model file that holds it, its row there, and its label."""

    path: Path
    row: int
    label: str


def all_styles() -> list[Choice]:
    """Every style of the user's models, and every bundled one of another name; sorted by name."""
    found: dict[str, list[tuple[Path, int]]] = {}
    bundled = bundled_models().resolve()
    for path, info in list_models():
        for row, name in enumerate(info.styles):
            if name not in found or path.parent.resolve() != bundled:
                found.setdefault(name, []).append((path, row))
    return [
        Choice(path, row, name if len(places) == 1 else f"{name} ({path.stem})")
        for name, places in sorted(found.items())
        for path, row in places
    ]


def render_sheet(
    photo: Rgb,
    choices: Sequence[Choice],
    device: str = "auto",
    precision: str = "auto",
    report: Callable[[int], None] = lambda done: None,
    stroke_size: float | None = None,
) -> Rgb:
    """The photo, then the photo in each style, each with its label.

    Args:
        photo: (H, W, 3) in 0..255.
        choices: the styles, such as :func:`all_styles`.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.
        report: called after each style with how many are done.
        stroke_size: see :func:`stylecli.engine.strokes.stroke_factor`.

    Returns:
        The page: (H', W', 3) in 0..255.

    Raises:
        StyleCliError: a model, the device or the precision is not there.
    """
    where = resolve_device(device)
    dtype = resolve_precision(precision, where)
    cells = [Cell(photo, "the photo")]
    for choice in choices:
        generator = load_generator(choice.path)
        one = generator.of_style(torch.eye(generator.styles)[choice.row])
        paint = partial(_paint, TorchBackend(one, where, dtype))
        (painted,) = with_strokes([photo], stroke_size, paint)
        cells.append(Cell(painted, choice.label))
        report(len(cells) - 1)
    return page(cells)


def _paint(backend: TorchBackend, photos: Sequence[Rgb]) -> list[Rgb]:
    return list(backend(np.stack(photos)))
