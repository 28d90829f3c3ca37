"""Checks of the paths that a user gives, before anything is opened."""

import re
import stat
from pathlib import Path

from stylecli.errors import StyleCliError

STANDARD_STREAM = Path("-")  # standard input or output, on a command line
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters or more: C: is a drive


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
        raise StyleCliError(f"{path} is {_kind(mode)}, not a file", hint=hint)
    return path


def require_local(path: Path) -> Path:
    """The path itself, if it can be a file or folder of this machine.

    Raises:
        StyleCliError: it is an address such as ``https://…``, for which a folder of that name
            would be made; or it is relative, and the current folder has been removed.
    """
    if not path.is_absolute():
        _require_current_folder()
    first = Path(path.parts[0]) if path.parts else path
    if _SCHEME.fullmatch(first.name) and not first.exists():
        raise StyleCliError(
            f"{first}//{path.relative_to(first)} is an address, and only files can be used",
            hint="curl ADDRESS | stylecli stylize - painted.jpg",
        )
    return path


def _require_current_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise StyleCliError(
            "the folder you are in has been removed", hint="cd to one that is there, or: cd ."
        ) from error


def _kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a named pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "something else")
