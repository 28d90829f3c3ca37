"""What a program shows on a terminal."""

import os
import re
import struct
import subprocess
import sys
from contextlib import suppress

import pytest

fcntl = pytest.importorskip("fcntl", reason="there are no terminals")
termios = pytest.importorskip("termios", reason="there are no terminals")

_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def show_on_terminal(*arguments: str, term: str = "xterm-256color", code: int = 0) -> str:
    """What Python writes to both streams, on a terminal of 80 columns; without colors."""
    shown, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**environment, "TERM": term},
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    written = b""
    with suppress(OSError):  # the process has ended
        while part := os.read(shown, 65536):
            written += part
    os.close(shown)
    assert process.wait(timeout=240) == code
    return _COLORS.sub("", written.decode())
