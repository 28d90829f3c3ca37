"""Files of this machine: checked before they are read, and written whole or not at all."""

import io
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stylecli.errors import StyleCliError

if sys.platform != "win32":
    import fcntl

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters or more: C: is a drive
# Temporary files are hidden, so that no scan takes them for photos; and their names are short,
# so that they are not too long where the name of the target is as long as can be.
_PREFIX = ".stylecli-"
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # all containers of one machine have the same
# Seconds without a change after which a file is a leftover, where its lock does not tell.
_MIN_AGE = 60.0  # of a file on Windows, and of a folder, which may just be made
_MIN_AGE_ELSEWHERE = 600.0  # an encoder of films may keep many frames before it writes
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``, with its suffix, which is renamed to it at the end.

    After a crash, a kill, a full disk or a power cut, ``target`` is the old file or is not there;
    it is never half a file.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary, lock = _lock_temporary(target)
    try:
        yield temporary
        _flush(temporary, os.O_RDWR)  # renamed before that, it could be empty after a power cut
        if sys.platform == "win32":  # an open file cannot be renamed there
            lock.close()
        temporary.replace(target)
        with suppress(OSError):  # some systems cannot open folders
            _flush(target.parent, os.O_RDONLY)
    finally:
        lock.close()
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; ``?`` stands for what UTF-8 cannot hold."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


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


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed processes have left in a folder.

    The lock of a file shows whether a process of this machine still writes it. It does not show
    that for other machines: on many network file systems, a lock holds on one machine. Their files
    are leftovers once nothing was written to them for ten minutes. On Windows, :func:`atomic_path`
    has to give up its lock just before it renames a file, so files of the last minute stay there.
    """
    for path in folder.glob(f"{_PREFIX}*"):
        min_age = _MIN_AGE if sys.platform == "win32" else 0.0
        if not path.name.startswith(f"{_PREFIX}{_machine()}-"):
            min_age = _MIN_AGE_ELSEWHERE
        with suppress(OSError), _open_abandoned(path, min_age) as file:
            if sys.platform == "win32":
                file.close()
            path.unlink()


@contextmanager
def _open_abandoned(path: Path, min_age: float) -> Iterator[BinaryIO]:
    """The file of a process that was killed, locked until it is removed.

    Raises:
        OSError: it is in use, belongs to another user, or was changed in the last seconds.
    """
    with path.open("rb+") as file:
        _lock(file, wait=False)
        if time.time() - os.fstat(file.fileno()).st_mtime < min_age:
            raise BlockingIOError
        yield file


def _machine() -> str:
    """A name for this machine since its last start: locks hold among its processes."""
    try:
        return _BOOT.read_text()[:8]
    except OSError:  # not Linux
        import uuid

        return f"{uuid.getnode():x}"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder in the system's folder for temporary files, for this user alone; removed at the end.

    Such folders of processes that were killed are removed too, if they are older than a minute;
    not on Windows.
    """
    if sys.platform != "win32":  # where locks do not tell whether a folder is in use
        for path in Path(tempfile.gettempdir()).glob(f"stylecli-*/{_PREFIX}lock"):
            with suppress(OSError), _open_abandoned(path, _MIN_AGE):
                shutil.rmtree(path.parent, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix="stylecli-", ignore_cleanup_errors=True) as folder,
        Path(folder, f"{_PREFIX}lock").open("xb") as held,
    ):
        _lock(held, wait=True)
        yield Path(folder)


def _lock_temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new empty file beside ``target``, and a lock on it that ends with this process.

    A process number in the name does not suffice: processes in two containers may have the same.
    """
    while True:
        name = f"{_PREFIX}{_machine()}-{os.urandom(8).hex()}{target.suffix}"
        temporary = target.with_name(name)
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


def _flush(path: Path, flags: int) -> None:
    """Write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writable_folder(folder: Path) -> Iterator[None]:
    """A folder that can be written; if it had to be made and is empty at the end, it is removed.

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


def refuse_to_replace(target: Path) -> None:
    """Raise StyleCliError if a file of that name is there."""
    if os.path.lexists(target):  # true of a broken link too, whose disk may only be unplugged
        raise StyleCliError(f"{target} exists", hint="pass --overwrite, or another name")


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
            f"{folder} is not a folder, or lies in a file", hint="give another output"
        ) from None
    except OSError as error:
        raise StyleCliError(
            f"cannot write to the folder {folder}: {error.strerror or error}",
            hint="check its permissions, or give another",
        ) from error


def require_regular(path: Path) -> Path:
    """The path itself, if it is a regular file or a link to one.

    Reading a named pipe would wait until someone writes to it, and a device may never end.

    Raises:
        StyleCliError: it is missing; a folder, a pipe, a socket or a device; or an address.
    """
    require_local(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # a name with a NUL in it is a ValueError
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StyleCliError(f"cannot open {path}: {reason}", hint="check the name") from error
    if not stat.S_ISREG(mode):
        hint = "name one file in it" if stat.S_ISDIR(mode) else "only regular files are read"
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        raise StyleCliError(f"{path} is {kind}, not a file", hint=hint)
    return path


def require_local(path: Path) -> None:
    """Raise StyleCliError unless a path can be a file or folder of this machine.

    It cannot if it is an address such as ``https://…``, for which a folder of that name would be
    made; or if it is relative, and the current folder has been removed.
    """
    try:
        path.absolute()
    except OSError as error:
        raise StyleCliError(
            "the folder you are in has been removed", hint="cd to one that is there, or: cd ."
        ) from error
    first = Path(path.parts[0]) if path.parts else path
    if _SCHEME.fullmatch(first.name) and not first.exists():
        raise StyleCliError(
            f"{first}//{path.relative_to(first)} is an address, and only files can be used",
            hint="curl ADDRESS | stylecli stylize - painted.jpg",
        )
