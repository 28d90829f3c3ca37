"""Files that are written whole or not at all."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stylecli.errors import StyleCliError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``, with its suffix, that becomes it when the block ends.

    A crash, a kill or a full disk leaves the old file, or none; never half a file.

    Raises:
        OSError: the folder cannot be written.
    """
    # Short, or a long name would become too long; hidden, so that no scan takes it for a photo.
    temporary = target.with_name(f".{os.getpid()}-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Make a folder and try to write in it: before hours of work, not after.

    Raises:
        StyleCliError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StyleCliError(
            f"cannot write to the folder {folder}: {error.strerror or error}",
            hint="check its permissions, or give another",
        ) from error
