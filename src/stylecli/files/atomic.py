"""Files that are written whole or not at all."""

import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stylecli.errors import StyleCliError
from stylecli.files.door import require_local

if sys.platform != "win32":
    import fcntl

# Temporary files are hidden, so that no scan takes them for photos; and their names are short,
# so that they are not too long where the name of the target is as long as can be.
_PREFIX = ".stylecli-"
_MIN_AGE = 60.0  # seconds; a folder, and on Windows a file, is no leftover before


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``, with its suffix, which is renamed to it at the end.

    After a crash, a kill, a full disk or a power cut, ``target`` is the old file or is not there;
    it is never half a file.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary, lock = _locked_temporary(target)
    try:
        yield temporary
        _flush(temporary)
        if sys.platform == "win32":  # an open file cannot be renamed there
            lock.close()
        temporary.replace(target)
        _flush_folder(target.parent)
    finally:
        lock.close()
        temporary.unlink(missing_ok=True)


class CheckedFile(io.BufferedRandom):
    """A new file that does not tell its descriptor.

    Given the descriptor, Pillow's encoders write to it themselves, and do not notice that a full
    disk takes only a part. Python's own writing does notice.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w+"))

    def fileno(self) -> int:
        """Raise UnsupportedOperation: encoders then write through this object."""
        raise io.UnsupportedOperation("fileno")


def remove_leftovers(folder: Path) -> bool:
    """Remove temporary files that killed processes have left in a folder.

    On Windows, :func:`atomic_path` has to give up its lock just before it renames a file, so files
    of the last minute stay there.

    Returns:
        Whether no temporary file is left, such as one that is in use.
    """
    left = 0
    for path in folder.glob(f"{_PREFIX}*"):
        left += 1
        # An OSError means that the file is in use, or belongs to another user.
        with suppress(OSError), path.open("rb+") as file:
            _lock(file, wait=False)
            if sys.platform == "win32":
                if time.time() - os.fstat(file.fileno()).st_mtime < _MIN_AGE:
                    continue
                file.close()
            path.unlink()
            left -= 1
    return not left


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder in the system's folder for temporary files, for this user alone; removed at the end.

    Those that processes left there which were killed more than a minute after they began are
    removed too, but on Windows.
    """
    if sys.platform != "win32":  # where locks do not tell whether a folder is in use
        _remove_abandoned_folders(Path(tempfile.gettempdir()))
    with (
        tempfile.TemporaryDirectory(prefix="stylecli-", ignore_cleanup_errors=True) as folder,
        Path(folder, f"{_PREFIX}lock").open("xb") as held,
    ):
        _lock(held, wait=True)
        yield Path(folder)


def _remove_abandoned_folders(parent: Path) -> None:
    for path in parent.glob(f"stylecli-*/{_PREFIX}lock"):
        with suppress(OSError), path.open("rb+") as lock:  # it is in use, or another user's
            _lock(lock, wait=False)
            if time.time() - os.fstat(lock.fileno()).st_mtime > _MIN_AGE:  # not just being made
                shutil.rmtree(path.parent, ignore_errors=True)


def _locked_temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new empty file beside ``target``, and a lock on it that ends with this process.

    A process number in the name would not do: processes in two containers may have the same.
    """
    while True:
        temporary = target.with_name(f"{_PREFIX}{os.urandom(8).hex()}{target.suffix}")
        lock = temporary.open("xb")
        with suppress(OSError):  # a file system without locks
            _lock(lock, wait=True)
        if temporary.exists():  # no other process removed it as a leftover before it was locked
            return temporary, lock
        lock.close()


def _lock(file: BinaryIO, *, wait: bool) -> None:
    """Lock an open file until it is closed.

    Windows needs no lock: a file that is open cannot be removed there.

    Raises:
        OSError: another process has locked it, and ``wait`` is false.
    """
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _flush(path: Path) -> None:
    """Write a file to the disk: renamed before that, it could be empty after a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    with suppress(OSError):  # some systems cannot open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def writable_folder(folder: Path) -> Iterator[None]:
    """A folder that can be written; if it had to be made and is empty at the end, it goes again.

    Raises:
        StyleCliError: as for :func:`require_writable`.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    require_writable(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # a folder that is not empty stays
            for one in made:
                one.rmdir()


def require_writable(folder: Path) -> None:
    """Make a folder and try to write in it, so that an error comes before hours of work.

    Raises:
        StyleCliError: the folder cannot be made, or not be written to.
    """
    require_local(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise StyleCliError(
            f"{folder} is no folder, or lies in a file", hint="give another output"
        ) from None
    except OSError as error:
        raise StyleCliError(
            f"cannot write to the folder {folder}: {error.strerror or error}",
            hint="check its permissions, or give another",
        ) from error
