"""``stylecli train``; torchrun starts it several times, to train on several devices."""

import os
import shlex
from dataclasses import asdict
from typing import Annotated, Any

import typer

from stylecli.commands.shared import JSON, QUIET, command, use_of
from stylecli.commands.signature import options_from
from stylecli.config import TrainConfig
from stylecli.console import Reporter, Watch, format_duration, watch_for_stop
from stylecli.core.devices import Rank
from stylecli.errors import StyleCliError
from stylecli.events import TrainResult, pluralize

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
        reporter.say(f"stopped after {done}; nothing is lost")
        if (so_far := TrainFiles(result.path).so_far).is_file():
            reporter.say(f"the model so far: {use_of(so_far)}")
        by = " torchrun as before" if devices > 1 else ""
        reporter.say(f"go on with{by}: {shlex.join(again)}")
        raise typer.Exit(130)
    reporter.say(f"{result.path}: {done}, objective {result.objective:,.0f}")
    reporter.say(f"use it with: {use_of(result.path)}")
