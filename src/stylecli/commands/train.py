"""``stylecli train``; with --devices, several processes of this machine train together.

torchrun starts processes too, and on several machines. But it shows a traceback for each mistake in
a command, ends with exit codes of its own, kills what has not ended 30 seconds after Ctrl-C, be its
checkpoint written or not, and opens two ports on all interfaces.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stylecli.commands.shared import JSON, QUIET, command, use_of
from stylecli.commands.signature import options_from
from stylecli.config import TrainConfig
from stylecli.console import Reporter, Watch, format_duration, handle_signals, watch_for_stop
from stylecli.core.devices import STORE, Rank
from stylecli.errors import StyleCliError
from stylecli.events import TrainResult, pluralize

_GRACE = 10.0  # seconds in which the other processes see that one has failed, and say so
_OVERWRITE = "Replace a model that is there, and drop an unfinished training of it."


@command
@options_from(TrainConfig)
def train(
    given: dict[str, Any],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was stopped.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=_OVERWRITE)] = False,
    quiet: Annotated[bool, QUIET] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Train a model of a painting, or of several; it then paints photos in that style.

    Ctrl-C saves the state and the model so far; the same command with --resume goes on.

    Examples:
        stylecli train painting.jpg
        stylecli train a.jpg b.jpg --content my-photos/ -o models/duo.safetensors
    """
    config = TrainConfig(**given)
    if resume and not (config.paintings or config.output):
        raise StyleCliError("--resume of what?", hint="name the model: --output FILE --resume")
    if not resume:
        config.check()
    rank = Rank.of_training(os.environ)
    if config.devices > 1 and rank.count == 1:
        raise typer.Exit(_run_on_devices(config.devices))
    quiet, as_json = quiet or rank.number > 0, as_json and rank.number == 0
    with Reporter(quiet=quiet, as_json=as_json) as reporter, watch_for_stop(quiet) as should_stop:
        reporter.say("starting; the time to train counts from the first step")
        reporter.advance("preparing", 0.0, "loading torch")  # seconds
        from stylecli.training.loop import train as run_training

        watch = Watch(reporter, "training")
        result = run_training(
            config, watch, should_stop, resume=resume, overwrite=overwrite, changes=given
        )
    if rank.number == 0:
        _conclude_training(reporter, result, rank.count)


def _conclude_training(reporter: Reporter, result: TrainResult, devices: int) -> None:
    from stylecli.training.outputs import TrainFiles

    values = {**asdict(result), "path": str(result.path)}
    reporter.event(event="finished" if result.finished else "stopped", **values)
    done = f"{pluralize(result.steps, 'step')} in {format_duration(result.seconds)}"
    if not result.finished:
        again = ["stylecli", "train", "--output", str(result.path), "--resume"]
        again += ["--devices", str(devices)] if devices > 1 else []
        reporter.say(f"stopped after {done}; nothing is lost")
        if (so_far := TrainFiles(result.path).so_far).is_file():
            reporter.say(f"the model so far: {use_of(so_far)}")
        reporter.say(f"go on with: {shlex.join(again)}")
        raise typer.Exit(130)
    reporter.say(f"{result.path}: {done}, objective {result.objective:,.0f}")
    reporter.say(f"use it with: {use_of(result.path)}")


def _run_on_devices(count: int) -> int:
    """Run the present command line once more in each of ``count`` processes, until all have ended.

    Ctrl-C is passed on to them; the second time it kills them. If one fails, so do the others.

    Returns:
        The exit code of the first process, which speaks for all.

    Raises:
        StyleCliError: a process was killed, which has said nothing itself.
    """
    processes: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []  # signals

    def pass_on(number: int) -> None:
        asked.append(number)
        for process in processes:
            process.send_signal(number if len(asked) == 1 else signal.SIGKILL)

    with tempfile.TemporaryDirectory(prefix="stylecli-") as folder, handle_signals(pass_on):
        places = (_start_process(number, count, Path(folder)) for number in range(count))
        processes.extend(places)
        failed = _wait_for(processes)
    code, killed_by = processes[0].returncode, -processes[failed].returncode
    if asked and code < 0:
        raise StyleCliError("stopped at once", exit_code=130)
    if code < 0 or killed_by > 0:
        how = f"failed with code {-killed_by}"
        if killed_by > 0:
            how = f"was ended by {signal.Signals(killed_by).name}"
        raise StyleCliError(
            f"process {failed} of the {count} that train together {how}",
            hint="the same command with --resume goes on from the last checkpoint, if there is one "
            "yet",
            exit_code=1,
        )
    return code


def _start_process(number: int, count: int, folder: Path) -> "subprocess.Popen[bytes]":
    """A process that runs the command as one of ``count``."""
    places = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, STORE: folder / "store"}
    environment = {**os.environ, **{name: str(value) for name, value in places.items()}}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # They need not be reached from elsewhere.
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    # A session of its own, or Ctrl-C in a terminal would reach it twice.
    command = [sys.executable, *sys.orig_argv[1:]]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _wait_for(processes: "list[subprocess.Popen[bytes]]") -> int:
    """Wait until all have ended, and kill those that do not after one has failed.

    Returns:
        The number of the one that failed first; 0 if none has failed.
    """
    from concurrent.futures import ThreadPoolExecutor, as_completed, wait  # not for --help

    with ThreadPoolExecutor(len(processes)) as pool:
        codes = {pool.submit(one.wait): number for number, one in enumerate(processes)}
        failed = next((codes[ended] for ended in as_completed(codes) if ended.result()), 0)
        wait(codes, timeout=_GRACE)
        for process in processes:
            process.kill()  # of one that has ended, it does nothing
    return failed
