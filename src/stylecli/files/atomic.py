"""Files that are written whole or not at all."""

import io
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stylecli.errors import StyleCliError
from stylecli.files.door import require_local

if sys.platform != "win32":
    import fcntl

# Hidden, so that no scan takes it for a photo; short, or a long name would become too long.
_PREFIX = ".stylecli-"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``, with its suffix, that becomes it when the block ends.

    A crash, a kill, a full disk or a power cut leaves the old file, or none; never half a file.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary, lock = _locked_temporary(target)
    try:
        yield temporary
        _flush(temporary)
        if sys.platform == "win32":  # where a file that is open cannot be renamed
            lock.close()
        temporary.replace(target)
        _flush_folder(target.parent)
    finally:
        lock.close()
        temporary.unlink(missing_ok=True)


class CheckedFile(io.BufferedRandom):
    """A new file that hides its number.

    Given the number, Pillow's encoders write to the file themselves, and do not notice where a full
    disk takes only a part. Python does.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w+"))

    def fileno(self) -> int:
        """Raise UnsupportedOperation: encoders then write through this object."""
        raise io.UnsupportedOperation("fileno")


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed processes have left in a folder."""
    for path in folder.glob(f"{_PREFIX}*"):
        # It is in use; or of another user's, and only in the way.
        with suppress(OSError), path.open("rb+") as file:
            _lock(file, wait=False)
            if sys.platform == "win32":
                file.close()
            path.unlink()


def _locked_temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new empty file beside ``target``, and a lock on it that ends with this process.

    A process number would say less: two containers that share a folder may have the same.
    """
    while True:
        temporary = target.with_name(f"{_PREFIX}{secrets.token_hex(8)}{target.suffix}")
        lock = temporary.open("xb")
        with suppress(OSError):  # a file system without locks
            _lock(lock, wait=True)
        if temporary.exists():  # nobody took it for a leftover before it was locked
            return temporary, lock
        lock.close()


def _lock(file: BinaryIO, *, wait: bool) -> None:
    """Lock an open file until it is closed; on Windows, what is open cannot be removed anyway.

    Raises:
        OSError: another process has it, and it is not to be waited for.
    """
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _flush(path: Path) -> None:
    """Have a file on the disk before it gets its name, or a power cut leaves the name alone."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Have a new name on the disk, where the system opens folders for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_writable(folder: Path) -> None:
    """Make a folder and try to write in it: before hours of work, not after.

    Raises:
        StyleCliError: it cannot be made or written.
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
