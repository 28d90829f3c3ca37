"""Which images and videos lie in a folder, and where their results go."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stylecli.errors import StyleCliError
from stylecli.files.formats import READABLE, VIDEOS
from stylecli.files.urls import Place, Url


def scan_images(folder: Path) -> Iterator[Path]:
    """The files in a folder, or below, that are images by their suffix, without hidden ones."""
    return _scan_files(folder, READABLE)


def scan(folder: Place, out: Place) -> Iterator[Place]:
    """The images and videos in a folder, or below, without hidden ones and those in ``out``."""
    if isinstance(folder, Url):
        return _scan_objects(folder, out)
    found = _scan_files(folder, READABLE | VIDEOS)
    if isinstance(out, Url):
        return found
    root, inside = folder.resolve(), out.resolve()
    if inside == root or not inside.is_relative_to(root):
        return found
    return (path for path in found if not path.resolve().is_relative_to(inside))


def _scan_objects(folder: Url, out: Place) -> Iterator[Url]:
    for name in folder.objects:
        url = folder / name
        made = out != folder and isinstance(out, Url) and url.is_relative_to(out)
        hidden = _is_hidden(name.split("/"))  # so is a name that goes up, with ..
        if url.suffix.lower() in READABLE | VIDEOS and not hidden and not made:
            yield url


def _scan_files(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = _is_hidden(path.relative_to(folder).parts)
        if path.suffix.lower() in suffixes and not hidden and _may_be_file(path):
            yield path


def mirrored(source: Place, folder: Place, out: Place) -> Place:
    """Where the result of a file goes, which lies in a folder or below: the same below ``out``.

    Raises:
        StyleCliError: the name of an object can be none of a file of this machine.
    """
    if isinstance(source, Path):
        assert isinstance(folder, Path)
        below = source.relative_to(folder)
        return out / below.as_posix() if isinstance(out, Url) else out / below
    assert isinstance(folder, Url)
    name = source.relative_to(folder)
    if isinstance(out, Url):
        return out / name
    parts = [part for part in name.split("/") if part]
    # On Windows, such as a\b or C:b.
    if any(Path(part).name != part or "\0" in part for part in parts):
        raise StyleCliError(
            f"{source} has a name that no file of this machine can have",
            hint="rename it, or write to another store",
        )
    return out.joinpath(*parts)


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no permission: the file is reported when it is opened
        return True
