"""One photo in every style, on one page: a picture, or HTML with a slider for each style."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylecli import __version__
from stylecli.config import DeviceConfig, LookConfig, SheetConfig
from stylecli.core.model_files import bundled_models, is_bundled, list_models, read_info
from stylecli.engine import Stylizer
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Progress
from stylecli.files import pages
from stylecli.files.colors import Rgb
from stylecli.files.images import read_picture
from stylecli.files.pages import Cell, even_rows
from stylecli.files.pictures import Picture, data_uri, read_thumbnail, shrink

_PAINTING = 192  # px, of the long side in HTML


@dataclass(frozen=True)
class Choice:
    """A style: the model file, the style's name if the file holds several, and a label."""

    path: Path
    style: str | None
    label: str


def all_styles() -> list[Choice]:
    """Every bundled style, once, and every style of the user's models; sorted by name."""
    found: dict[str, list[tuple[Path, str | None]]] = {}
    for path, info in list_models():
        for name in info.styles:
            if name not in found or not is_bundled(path):
                style = name if len(info.styles) > 1 else None
                found.setdefault(name, []).append((path, style))
    return [
        Choice(path, style, name if len(places) == 1 else f"{name} ({path.stem})")
        for name, places in sorted(found.items())
        for path, style in places
    ]


def paint_styles(
    photo: Rgb,
    choices: Sequence[Choice],
    config: SheetConfig,
    report: Callable[[Progress | Notice], None] = lambda event: None,
) -> list[Cell]:
    """The photo, then the photo in each style, each with its label.

    Args:
        photo: (H, W, 3) in 0..255.
        choices: the styles, such as :func:`all_styles`.
        config: how to paint. Its size is that of the smallest pictures on the page; a smaller photo
            keeps its own.
        report: is called before each style is painted, and with the reason if one is left out.

    Raises:
        StyleCliError: no style can be painted; the error is that of the first.
    """
    height, width = photo.shape[:2]
    rows = even_rows(len(choices) + 1, width / height, paintings=config.paintings)
    photo = shrink(Picture(photo), round(config.size * rows[-1] / rows[0])).rgb
    on, look = config.values_of(DeviceConfig), config.values_of(LookConfig)
    cells = [Cell(photo, "the photo")]
    faults = []
    for i, choice in enumerate(choices):
        note = f"{i + 1}/{len(choices)}  {choice.label}"
        report(Progress(i / len(choices), note))
        try:
            rgb = Stylizer(choice.path, choice.style, **on)(photo, **look)
        except StyleCliError as error:
            faults.append(error)
            report(Notice(f"left out: {choice.label}: {error.message}"))
        else:
            painting = find_painting(choice) if config.paintings else None
            cells.append(Cell(rgb, choice.label, painting))
    if faults and len(cells) == 1:
        raise faults[0]
    return cells


def find_painting(choice: Choice) -> Rgb | None:
    """The painting of a style: (H, W, 3) in 0..255; None if it is not known.

    Paintings of bundled styles are bundled. Any other model file holds the middle squares of the
    paintings of its last training: of all its styles, or of one that was added, the last.
    """
    info = read_info(choice.path)
    name = choice.style or info.styles[0]
    if is_bundled(choice.path):
        path = bundled_models() / "paintings" / f"{name}.jpg"
        return read_picture(path).rgb if path.is_file() else None
    squares = read_thumbnail(info.thumbnail)
    trained = info.styles[-1:] if len(squares) == 1 else info.styles
    return dict(zip(trained, squares, strict=False)).get(name)


def render_html(cells: Sequence[Cell], title: str) -> str:
    """The page as HTML, with all pictures inside: a slider between the photo and each style.

    Args:
        cells: from :func:`paint_styles`.
        title: what the photo is called.
    """
    photo, *styles = cells
    height, width = photo.rgb.shape[:2]
    return pages.render_html(
        "sheet",
        title=title,
        photo=data_uri(photo.rgb),
        width=width,
        height=height,
        styles=[(cell.label, data_uri(cell.rgb), _embed(cell.painting)) for cell in styles],
        version=__version__,
    )


def _embed(painting: Rgb | None) -> str:
    return "" if painting is None else data_uri(shrink(Picture(painting), _PAINTING).rgb)
