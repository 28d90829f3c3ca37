"""What completion in a shell offers as a value. A shell asks at each TAB, so nothing slow is done.

If nothing is offered, the shell completes the names of files.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import typer

from stylecli.core.model_files import find_model, list_models, match_name, read_info
from stylecli.errors import StyleCliError
from stylecli.files.stores import place

# Names come from files, which may be a stranger's, and a shell would expand or run what is not so.
_PLAIN = re.compile(r"\w[\w.,:-]*")
# Without a home folder, or in a folder that has been removed.
_UNKNOWN = (StyleCliError, OSError, RuntimeError)


def offer(
    known: Sequence[str] = (), completes: str = "", *, several: bool = False
) -> Callable[[typer.Context, str], list[str]]:
    """A function that offers these names, and those of all ``models`` or the ``styles`` of one.

    These two, and a value of ``several`` names, may be a list with commas between.
    """

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        names = [*known]
        if completes:
            names += models() if completes == "models" else _styles_of(context)
        return keep_plain(_after_comma(names, incomplete) if several or completes else names)

    return complete


def models() -> list[str]:
    """The names of all models, and of the styles in them."""
    found: list[str] = []
    with suppress(*_UNKNOWN):
        for path, info in list_models():
            found += [path.stem, *info.styles]
    return keep_plain(dict.fromkeys(found))


def _styles_of(context: typer.Context) -> list[str]:
    # In front of an option without a value, arguments have not been given their names yet.
    model = context.params.get("model") or next(iter(context.args), "")
    with suppress(*_UNKNOWN):
        if isinstance(place(model), Path):  # a URL would be downloaded
            info = read_info(find_model(model))
            chosen = None if model == info.name else match_name(model, info.styles)
            return info.styles if chosen is None else [chosen]
    return []


def _after_comma(names: Iterable[str], incomplete: str) -> Iterator[str]:
    """The lists that a list with one more name can be: each name but those that it has."""
    head, comma, _ = incomplete.rpartition(",")
    taken = {name.partition(":")[0] for name in head.split(",")}
    return (f"{head}{comma}{name}" for name in names if name not in taken)


def keep_plain(values: Iterable[str]) -> list[str]:
    """Those of some names that a shell takes as they are."""
    return list(filter(_PLAIN.fullmatch, values))
