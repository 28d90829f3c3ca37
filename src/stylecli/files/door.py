"""The door through which files come in: only regular ones, so that nothing waits for ever."""

import stat
from pathlib import Path

from stylecli.errors import StyleCliError


def require_regular(path: Path) -> Path:
    """The path itself, if it is a regular file or a link to one.

    A named pipe would be waited for until someone writes to it, a device may never end.

    Raises:
        StyleCliError: it is missing, a folder, a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # a name with a NUL in it is a ValueError
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StyleCliError(f"cannot open {path}: {reason}", hint="check the name") from error
    if not stat.S_ISREG(mode):
        raise StyleCliError(
            f"{path} is {_kind(mode)}, not a file", hint="only regular files are read"
        )
    return path


def _kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a named pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "something else")
