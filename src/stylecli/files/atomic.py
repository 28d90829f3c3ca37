"""Files that are written whole or not at all."""

import hashlib
import os
import platform
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from stylecli.errors import StyleCliError

# Short, or a long name would become too long; hidden, so that no scan takes it for a photo.
_PREFIX = ".stylecli-" + hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_TEMPORARY = re.compile(re.escape(_PREFIX) + r"-(\d+)-[0-9a-f]{8}\.")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``, with its suffix, that becomes it when the block ends.

    A crash, a kill or a full disk leaves the old file, or none; never half a file.

    Raises:
        OSError: the folder cannot be written.
    """
    name = f"{_PREFIX}-{os.getpid()}-{secrets.token_hex(4)}{target.suffix}"
    temporary = target.with_name(name)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed processes of this machine have left in a folder."""
    for path in folder.glob(f"{_PREFIX}-*"):
        left = _TEMPORARY.match(path.name)
        if left and not psutil.pid_exists(int(left[1])):
            with suppress(OSError):  # of another user's: it is only in the way
                path.unlink()


def require_writable(folder: Path) -> None:
    """Make a folder and try to write in it: before hours of work, not after.

    Raises:
        StyleCliError: it cannot be made or written.
    """
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
