"""Runs a command in several processes of this machine, which then train together.

torchrun does that too, and for several machines. But it shows a traceback for each mistake in a
command, ends with an exit code of its own, and kills what has not ended 30 seconds after Ctrl-C,
be its checkpoint written or not.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from stylecli.console import handled_signals, show_error
from stylecli.core.rank import STORE
from stylecli.errors import StyleCliError

_GRACE = 10.0  # seconds in which the others see that one has failed, and say so
_EVERY = 0.05  # seconds between two looks at them

_Processes = list[subprocess.Popen[bytes]]


def run_on_devices(count: int) -> int:
    """Run the present command line once more in each of ``count`` processes, until all have ended.

    Ctrl-C is passed on to them; the second time it kills them. If one fails, so do the others.

    Returns:
        The exit code of the first process, which speaks for all.
    """
    processes: _Processes = []
    asked = 0

    def pass_on(number: int) -> None:
        nonlocal asked
        asked += 1
        for process in processes:
            process.send_signal(number if asked == 1 else signal.SIGKILL)

    with tempfile.TemporaryDirectory(prefix="stylecli-") as folder, handled_signals(pass_on):
        for number in range(count):
            processes.append(_started(number, count, Path(folder)))
        failed = _wait_for(processes)
    code = processes[0].returncode
    if asked and code < 0:
        show_error(StyleCliError("stopped at once"))
        return 130
    if code < 0 or processes[failed].returncode < 0:
        show_error(_ended(failed, processes))
    return 1 if code < 0 else code


def _started(number: int, count: int, folder: Path) -> subprocess.Popen[bytes]:
    """A process that runs the command as one of ``count``."""
    places = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, STORE: folder / "store"}
    environment = {**os.environ, **{name: str(value) for name, value in places.items()}}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # They need not be reached from elsewhere.
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    # A session of its own, or Ctrl-C in a terminal would reach it twice.
    command = [sys.executable, *sys.orig_argv[1:]]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _wait_for(processes: _Processes) -> int:
    """Wait until all have ended, and kill those that do not after one has failed.

    Returns:
        The number of the one that failed first; 0 if none has failed.
    """
    failed: int | None = None
    while None in (codes := [process.poll() for process in processes]):
        if failed is None and any(codes):
            failed, since = _first_bad(codes), time.monotonic()
        if failed is not None and time.monotonic() - since > _GRACE:
            for process in processes:
                process.kill()
        time.sleep(_EVERY)
    return _first_bad(codes) if failed is None else failed


def _first_bad(codes: Sequence[int | None]) -> int:
    """The number of the first process that failed; 0 if none has."""
    return next((number for number, code in enumerate(codes) if code), 0)


def _ended(number: int, processes: Sequence[subprocess.Popen[bytes]]) -> StyleCliError:
    """What to say of a training that broke off because process ``number`` had failed."""
    code = processes[number].returncode
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with code {code}"
    return StyleCliError(
        f"process {number} of the {len(processes)} that train together {how}",
        hint="the same command with --resume goes on from the last checkpoint, if there is one yet",
    )
