"""The styles that the page offers."""

import itertools
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from stylecli.collection import TITLES, painting_of, rename_model
from stylecli.core.model_files import (
    is_bundled,
    read_info,
    shorten_name,
    style_name,
    user_models,
)
from stylecli.core.tensor_files import is_control
from stylecli.errors import StyleCliError
from stylecli.files.atomic import write_text
from stylecli.files.pictures import Picture, encode_jpeg, shrink
from stylecli.page.refusals import RefusedError
from stylecli.sheet import Choice, all_styles, find_painting

_PAINTING = 320  # px, of the long side
_TITLE = 80  # characters


@dataclass(frozen=True)
class Style:
    """A style that can be chosen, or a blend of styles of one model.

    Attributes:
        id: what the page calls it; it is a part of the names of downloads too.
        choice: its model file, and the style or blend in there; None if it has only one.
        version: tells a model from another that had its name before.
    """

    id: str
    choice: Choice
    version: int

    @property
    def is_own(self) -> bool:
        """Whether it is in a model that the user has added or trained."""
        return self.choice.path.parent.resolve() == user_models().resolve()

    def describe(self) -> dict[str, object]:
        """What the page shows of it."""
        info = read_info(self.choice.path)
        known = painting_of(self.choice.path, self.choice.style or info.styles[0])
        title = read_title(self.choice.path)
        is_alone = len(info.styles) == 1
        shown = known.get("title", title if is_alone else f"{self.choice.style} ({title})")
        return {
            "id": self.id,
            "title": shown,
            "painter": known.get("painter", ""),
            "year": known.get("year", ""),
            "own": self.is_own,
            "model": info.name,
            "model_title": shown if is_alone else title,
        }

    def painting(self) -> bytes | None:
        """Its painting as a small JPEG; None if it is not known."""
        rgb = find_painting(self.choice)
        return None if rgb is None else encode_jpeg(shrink(Picture(rgb), _PAINTING))


def list_styles() -> dict[str, Style]:
    """All styles by their ids: those that are bundled first.

    The id of a bundled style is its name; that of any other, the name of its model, with its own
    if the model has several.
    """
    found: dict[str, Style] = {}
    for choice in sorted(all_styles(), key=lambda one: not is_bundled(one.path)):
        name = plain_name(choice.path.stem)
        if choice.style is not None:
            style = plain_name(choice.style)
            name = style if is_bundled(choice.path) else f"{style}-in-{name}"
        name = find_free_name(name, found.__contains__)
        with suppress(OSError):  # it was removed just now
            found[name] = Style(name, choice, choice.path.stat().st_mtime_ns)
    return found


def find_free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """Find a name that is not taken: itself, or with a number behind it, from 2 on."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if not is_taken(one))


def plain_name(text: str) -> str:
    """A name for a model or a style, from what a person or a file calls it."""
    name = style_name(Path(re.sub(r"[\\/]", " ", text) + ".x"))
    return shorten_name(name).strip("-")


def clean_title(text: str) -> str:
    """What a user calls a style, on one line and not long."""
    shown = "".join(char for char in text if not is_control(char) or char.isspace())
    return " ".join(shown.split())[:_TITLE].strip()


def read_title(path: Path) -> str:
    """What the user calls a model; its name, if that is not known.

    The title lies beside the model. It counts only while it fits the model's name, so that one
    that is left of another model does not.
    """
    with suppress(OSError, ValueError):
        title = clean_title(path.with_suffix(TITLES).read_text(encoding="utf-8"))
        if title and plain_name(title) == path.stem:
            return title
    return path.stem


def keep_title(path: Path, title: str) -> None:
    """Note what the user calls a model.

    Raises:
        StyleCliError: it cannot be written.
    """
    try:
        write_text(path.with_suffix(TITLES), title)
    except OSError as error:
        reason = error.strerror or error
        raise StyleCliError(f"cannot write {path.with_suffix(TITLES)}: {reason}") from error


def rename_style(style: Style, given: str) -> Style:
    """Give one of the user's models another name; returns the style as it is then.

    Raises:
        StyleCliError: the name is empty or taken, or the folder cannot be written.
    """
    before, title = style.choice.path, clean_title(given)
    if not title:
        raise RefusedError(400, "the name is empty", "type a name")
    path, name = before, plain_name(title)
    if name != before.stem:
        path = rename_model(before.stem, name)
        before.with_suffix(TITLES).unlink(missing_ok=True)
    keep_title(path, title)
    return style_of(path)


def style_of(path: Path) -> Style:
    """The first style of a model file."""
    return next(style for style in list_styles().values() if style.choice.path == path)


def find_style(given: str) -> Style:
    """The style of an id.

    Raises:
        RefusedError: there is none.
    """
    found = list_styles().get(given)
    if found is None:
        raise RefusedError(404, f"there is no style {given!r}", "load the page again")
    return found


def find_own_style(given: str) -> Style:
    """The style of an id, in a model that the user has added or trained.

    Raises:
        RefusedError: there is none, or it is in another model.
    """
    style = find_style(given)
    if not style.is_own:
        raise RefusedError(409, f"{style.id} is not one of your own models", "it stays as it is")
    return style


def parse_style(given: str) -> Style:
    """Find a style or make a blend, such as ``udnie`` or ``udnie:0.5,great-wave:0.5``.

    Raises:
        RefusedError: there is no such style, or the styles of a blend are of several models.
    """
    parts = [part.partition(":") for part in given.split(",")]
    styles = [find_style(name) for name, _, _ in parts]
    if len(styles) == 1:
        return styles[0]
    choices = [style.choice for style in styles]
    if len({one.path for one in choices}) > 1 or choices[0].style is None:
        raise RefusedError(
            400,
            f"{' and '.join(one.id for one in styles)} are not styles of one model",
            "blend two styles of one model, such as two of those that are bundled",
        )
    mix = zip(choices, parts, strict=True)
    blend = ",".join(f"{choice.style}{mark}{share}" for choice, (_, mark, share) in mix)
    label = "-".join(one.id for one in styles)
    return replace(styles[0], id=label, choice=replace(choices[0], style=blend))
