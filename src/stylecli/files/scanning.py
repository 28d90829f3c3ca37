"""Which images and videos lie in a folder, and where their results go."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from stylecli.errors import StyleCliError
from stylecli.files.formats import READABLE, VIDEOS
from stylecli.files.urls import Place, Url

# Names of folders and files that file servers and systems make; all in lower case.
_SYSTEM = frozenset(
    {
        *(
            "@eadir",
            "@tmp",
            "@recycle",
            "@recently-snapshot",
            "#recycle",
            "#snapshot",
        ),  # of servers
        *("$recycle.bin", "recycler", "system volume information", "lost+found", "__macosx"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "network trash folder", "temporary items"),
    }
)
_HIDDEN = "hidden or of the system"
_SEEN = "linked to what is read already"
_CLOSED = "without permission"
_NOWHERE = "linked to nothing"
_NO_FILE = "not regular"
_NO_ENDING = "without an ending"
_MOST_NAMED = 6  # endings; more make no short line

LeftOut = Counter[str]  # how many entries of a folder were left out, by ending or by reason


def scan_images(folder: Path) -> list[Path]:
    """The files in a folder, or below, that are images by their suffix, without hidden ones."""
    return _Walk(READABLE, None, Counter()).files(folder)


def scan(folder: Place, out: Place, left_out: LeftOut) -> list[Place]:
    """The images and videos in a folder, or below, without hidden ones and those in ``out``.

    Folders and files that systems and file servers make for themselves are left out too. A link to
    a folder is followed once; one that leads back, or into ``out``, is not.

    Args:
        folder: where to look.
        out: the folder of the results.
        left_out: what is left out is counted in it, but for what lies in ``out``.
    """
    if isinstance(folder, Url):
        return list(_scan_objects(folder, out, left_out))
    local = out if isinstance(out, Path) else None
    return [*_Walk(READABLE | VIDEOS, local, left_out).files(folder)]


def describe_left_out(left_out: LeftOut) -> str:
    """One short line on what was left out; empty if nothing."""
    in_order = sorted(left_out.items(), key=lambda one: (-one[1], one[0]))
    endings = [(name, count) for name, count in in_order if name.startswith(".")]
    parts = [f"{count} {name}" for name, count in endings[:_MOST_NAMED]]
    if more := sum(count for _, count in endings[_MOST_NAMED:]):
        parts.append(f"{more} with other endings")
    parts += [f"{count} {name}" for name, count in in_order if not name.startswith(".")]
    return f"left out: {', '.join(parts)}" if parts else ""


class _Walk:
    """One look through a folder and all below it.

    Args:
        suffixes: of the files that are wanted.
        out: a folder in which nothing is wanted.
        left_out: counts what is left out.
    """

    def __init__(self, suffixes: frozenset[str], out: Path | None, left_out: LeftOut) -> None:
        self._suffixes, self._left_out = suffixes, left_out
        self._out = out.resolve() if out else None
        self._seen: set[tuple[int, int]] = set()  # folders
        self._found: list[Path] = []
        self._folders: list[Path] = []  # to look into
        self._links: list[Path] = []  # to folders: they come last, so that real names are preferred

    def files(self, root: Path) -> list[Path]:
        """The files, sorted by their paths."""
        real = root.resolve()
        if self._out and real.is_relative_to(self._out):  # results beside the photos, or above
            self._out = None
        self._folders.append(root)
        while self._folders or self._links:
            if not self._folders:
                link = min(self._links)
                self._links.remove(link)
                if not self._may_follow(link, real):
                    continue
                self._folders.append(link)
            self._look_into(self._folders.pop())
        return sorted(self._found)

    def _may_follow(self, link: Path, root: Path) -> bool:
        target = link.resolve()
        if self._is_result(target):
            return False
        if root.is_relative_to(target) or _identity(target) in self._seen:
            self._left_out[_SEEN] += 1
            return False
        return True

    def _look_into(self, folder: Path) -> None:
        if self._out and self._is_result(folder.resolve()):
            return
        try:
            identity = _identity(folder)
            if identity not in self._seen:
                self._seen.add(identity)
                with os.scandir(folder) as entries:
                    for entry in entries:
                        self._take(entry)
        except OSError:  # no permission
            self._left_out[_CLOSED] += 1

    def _take(self, entry: "os.DirEntry[str]") -> None:
        path = Path(entry)
        if _is_hidden(entry.name):
            self._left_out[_HIDDEN] += 1
        elif _is_folder(entry):
            (self._links if entry.is_symlink() else self._folders).append(path)
        elif path.suffix.lower() not in self._suffixes:
            self._left_out[_ending(entry.name)] += 1
        elif not _may_be_file(path):
            self._left_out[_NOWHERE if entry.is_symlink() else _NO_FILE] += 1
        elif not (entry.is_symlink() and self._is_result(path.resolve())):
            self._found.append(path)

    def _is_result(self, real: Path) -> bool:
        return self._out is not None and real.is_relative_to(self._out)


def _scan_objects(folder: Url, out: Place, left_out: LeftOut) -> Iterator[Url]:
    hidden = set()
    for name in folder.objects:
        url = folder / name
        parts = name.split("/")
        first = next((i for i, part in enumerate(parts, 1) if _is_hidden(part)), 0)
        if first:  # so is a name that goes up, with ..
            hidden.add(tuple(parts[:first]))
        elif out != folder and isinstance(out, Url) and url.is_relative_to(out):
            pass
        elif url.suffix.lower() in READABLE | VIDEOS:
            yield url
        elif name:
            left_out[_ending(url.name)] += 1
    if hidden:
        left_out[_HIDDEN] += len(hidden)


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


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def _ending(name: str) -> str:
    """How a name ends, in few plain letters, for a message."""
    ending = Path(name).suffix.lower()
    return ending if re.fullmatch(r"\.[a-z0-9_+~-]{1,12}", ending) else _NO_ENDING


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to where there is no permission
        return False


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no permission: the file is reported when it is opened
        return True
