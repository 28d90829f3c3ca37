"""One photo in every style, on one page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylecli.core.model_files import bundled_models, list_models
from stylecli.engine import Stylizer
from stylecli.files.colors import Rgb
from stylecli.files.grid import Cell, page


@dataclass(frozen=True)
class Choice:
    """A style: the model file, the style's name if the file holds several, and a label."""

    path: Path
    style: str | None
    label: str


def all_styles() -> list[Choice]:
    """Every bundled style, once, and every style of the user's models; sorted by name."""
    found: dict[str, list[tuple[Path, str | None]]] = {}
    bundled = bundled_models().resolve()
    for path, info in list_models():
        for name in info.styles:
            if name not in found or path.parent.resolve() != bundled:
                style = name if len(info.styles) > 1 else None
                found.setdefault(name, []).append((path, style))
    return [
        Choice(path, style, name if len(places) == 1 else f"{name} ({path.stem})")
        for name, places in sorted(found.items())
        for path, style in places
    ]


def render_sheet(
    photo: Rgb,
    choices: Sequence[Choice],
    device: str = "auto",
    precision: str = "auto",
    report: Callable[[int], None] = lambda done: None,
    **look: Any,
) -> Rgb:
    """The photo, then the photo in each style, each with its label.

    Args:
        photo: (H, W, 3) in 0..255.
        choices: the styles, such as :func:`all_styles`.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.
        report: called after each style with how many are done.
        look: as for :class:`stylecli.engine.Stylizer`, such as ``layers`` and ``stroke_size``.

    Returns:
        The page: (H', W', 3) in 0..255.

    Raises:
        StyleCliError: a model, the device or the precision is not there, or a bad setting.
    """
    cells = [Cell(photo, "the photo")]
    for choice in choices:
        stylizer = Stylizer(choice.path, choice.style, device, precision)
        cells.append(Cell(stylizer(photo, **look), choice.label))
        report(len(cells) - 1)
    return page(cells)
