"""The styles that the page offers."""

import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stylecli.collection.facts import painting_of
from stylecli.collection.own import TITLES, remove_model, rename_model
from stylecli.config import DEFAULT_MODEL
from stylecli.core.model_files import (
    bundled_models,
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
    """A style that can be chosen.

    Attributes:
        id: what the page calls it.
        choice: its model file and its name in there.
    """

    id: str
    choice: Choice

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
    """All styles by their ids: those that are bundled first."""
    bundled = bundled_models().resolve()
    chosen = sorted(all_styles(), key=lambda one: one.path.parent.resolve() != bundled)
    found: dict[str, Style] = {}
    for choice in chosen:
        for name in _ids(choice):
            if name not in found:
                found[name] = Style(name, choice)
                break
    return found


def _ids(choice: Choice) -> Iterator[str]:
    """Ids that a style may have: a bundled one its name, any other that of its model."""
    is_bundled = choice.path.parent.resolve() == bundled_models().resolve()
    model = plain_name(choice.path.stem)
    style = plain_name(choice.style) if choice.style else ""
    name = style if is_bundled and style else "-in-".join(filter(None, [style, model]))
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


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
    path, title = style.choice.path, clean_title(given)
    if not title:
        raise RefusedError(400, "the name is empty", "type a name")
    name = plain_name(title)
    if name != path.stem:
        renamed = rename_model(path.stem, name)
        path.with_suffix(TITLES).unlink(missing_ok=True)
        path = renamed
    keep_title(path, title)
    return find_style(id_of(path))


def remove_style(style: Style) -> None:
    """Remove one of the user's models.

    Raises:
        StyleCliError: it cannot be removed.
    """
    remove_model(style.choice.path.stem)


def find_style(given: str) -> Style:
    """The style of an id.

    Raises:
        RefusedError: there is none.
    """
    found = list_styles().get(given)
    if found is None:
        raise RefusedError(404, f"there is no style {given!r}", "load the page again")
    return found


def id_of(path: Path) -> str:
    """The id of the first style of a model file."""
    return next(style.id for style in list_styles().values() if style.choice.path == path)


@dataclass(frozen=True)
class Chosen:
    """A style or a blend of styles of one model.

    Attributes:
        path: the model file.
        style: the style or blend in there; None if it has only one.
        label: for the name of a download.
        version: tells a model from another that had its name before.
    """

    path: Path
    style: str | None
    label: str
    version: int

    @classmethod
    def of(cls, given: str) -> "Chosen":
        """What a text chooses: an id, or ids with shares, such as ``udnie:0.5,great-wave:0.5``.

        Raises:
            RefusedError: there is no such style, or the styles of a blend are of several models.
        """
        parts = [part.partition(":") for part in (given or DEFAULT_MODEL).split(",")]
        choices = [find_style(name).choice for name, _, _ in parts]
        label = "-".join(name for name, _, _ in parts)
        path = choices[0].path
        version = path.stat().st_mtime_ns if path.exists() else 0
        if len(parts) == 1:
            return cls(path, choices[0].style, label, version)
        if len({one.path for one in choices}) > 1 or choices[0].style is None:
            raise RefusedError(
                400,
                f"{' and '.join(name for name, _, _ in parts)} are not styles of one model",
                "blend two styles of one model, such as two of those that are bundled",
            )
        mix = zip(choices, parts, strict=True)
        blend = ",".join(f"{choice.style}{mark}{share}" for choice, (_, mark, share) in mix)
        return cls(path, blend, label, version)
