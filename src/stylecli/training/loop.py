"""Training, from the first step to the model file (Johnson et al. 2016, Ulyanov et al. 2017)."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylecli import __version__
from stylecli.config import StylizeConfig, TrainConfig
from stylecli.core.backend import Batch, OutOfMemoryError, memory_errors
from stylecli.core.devices import to_tensor
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorConfig
from stylecli.core.torch_backend import TorchBackend
from stylecli.engine.painter import Painter
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Report, Step, TrainResult
from stylecli.files.content import NoPhotosError, bundled_photos
from stylecli.files.images import read_rgb, write_picture
from stylecli.files.pictures import Picture, center_square, resize, thumbnail
from stylecli.options import Config, as_json
from stylecli.training.losses import compute_losses
from stylecli.training.outputs import TrainFiles
from stylecli.training.parallel import adapt_threads, join_ranks
from stylecli.training.schedule import RECIPES, learning_rate_factor
from stylecli.training.setup import describe, set_up
from stylecli.training.state import (
    Checkpoint,
    Training,
    hash_images,
    read_checkpoint,
    refuse_other_devices,
    restore,
    resume_config,
    save_checkpoint,
)

CHECKPOINT_EVERY = 60.0  # seconds
FIRST_PREVIEW = 20.0  # seconds
_PREVIEW_SHARE = 0.05  # of the time, at most, for previews
_LOG_EVERY = 10  # steps
_SNAPSHOT_EVERY = 25  # steps
_PREVIEW_PHOTOS = (14, 15, 7)  # a face, a sky, a street
_PREVIEW_SIDE = 256  # px
_PREVIEW_STYLES = 4
# A model file has these settings in fields of their own, or does not hold them.
_NOT_AMONG_SETTINGS = (
    *(one.name for one in fields(GeneratorConfig)),
    *("styles", "add_style", "output"),
)


def train(
    config: TrainConfig,
    report: Report = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    resume: bool = False,
    overwrite: bool = False,
    changes: dict[str, Any] | None = None,
) -> TrainResult:
    """Train a generator for one style image or several, and write its model file.

    Args:
        config: the settings.
        report: is called with every step.
        should_stop: is asked after every step; if true, the state is saved for a resume, and the
            model as it is beside it.
        resume: go on with the interrupted training of the same output, and with its settings.
        changes: settings that a resume changes; None is those that are not at their default.
        overwrite: replace a model that is there.

    Raises:
        StyleCliError: an input is bad, a file would be lost, or the training diverges.
    """
    if resume:
        Config.check(config)  # the painting may be left out
    else:
        config.check()
    files = TrainFiles.of(config)
    with join_ranks() as ranks, files.lock() if ranks.first else nullcontext():
        saved = ranks.of_first(lambda: read_checkpoint(files.checkpoint)) if resume else None
        overwrite = overwrite or (saved is not None and saved.overwrite)
        ranks.of_first(lambda: files.refuse_to_replace_files(resume=resume, overwrite=overwrite))
        if saved:
            refuse_other_devices(saved, ranks.count)
            if changes is None:
                changes = {k: v for k, v in vars(config).items() if v != getattr(TrainConfig, k)}
            config = resume_config(saved, changes)
        report = report if ranks.first else lambda event: None
        with _explain_failures(files.checkpoint):
            training = set_up(config, files, report, saved, ranks, overwrite=overwrite)
            _begin(training, saved)
            stopped = _run(training, should_stop)
            return _suspend(training) if stopped else _finish(training)


@contextmanager
def _explain_failures(checkpoint: Path) -> Iterator[None]:
    """Say how to go on from a checkpoint that is there, if memory ran out or photos are gone."""
    go_on = f"--resume goes on from {checkpoint}"
    try:
        with memory_errors():
            yield
    except OutOfMemoryError as error:
        what = str(error).partition("\n")[0] or "out of memory"
        hint = "try a lower --batch-size, --size or --style-size"
        hint = f"{go_on}; {hint}, with --overwrite" if checkpoint.exists() else hint
        raise StyleCliError(f"the training broke off: {what}", hint=hint, exit_code=1) from error
    except NoPhotosError as error:
        hint = f"{error.hint}; {go_on}" if checkpoint.exists() else error.hint
        raise StyleCliError(error.message, hint=hint) from error


def _run(training: Training, should_stop: Callable[[], bool]) -> bool:
    """Take steps until the end, or until asked to stop; then return True."""
    inputs, ranks, crop_size = training.inputs, training.ranks, training.schedule.crop_size
    series = (training.step, inputs.batch_size, crop_size, ranks.number, ranks.count)
    by_time_on_cpu = inputs.device.type == "cpu" and not training.config.steps
    with (
        closing(inputs.photos.batches(*series)) as batches,
        adapt_threads(enabled=by_time_on_cpu and ranks.count == 1) as adapt,
    ):
        for photos in batches:
            if training.step and ranks.any(should_stop()):
                return True
            if training.guard.recent and training.schedule.progress(training.step) >= 1:
                return False
            _take_step(training, photos)
            adapt()
            _save_now_and_then(training)
    raise AssertionError("the series of photos is endless")


def _take_step(training: Training, photos: Batch) -> None:
    """Learn from a batch, (N, H, W, 3) in 0..255, unless its loss is odd."""
    terms = compute_losses(training, to_tensor(photos, training.inputs.device))
    values = torch.stack(list(terms.values())).tolist()
    losses = training.ranks.mean(dict(zip(terms, values, strict=True)))
    undone = _update(training, terms["total"], losses)
    training.step += 1
    training.schedule.end_step()
    if undone:
        training.report(Notice(f"step {training.step}: {undone}"))
    else:
        _report_step(training, losses)


def _update(training: Training, total: Tensor, losses: dict[str, float]) -> str:
    """Change the network along the gradient of a loss, or return what is done instead."""
    guard = training.guard
    if guard.is_outlier(losses["total"]):
        return guard.refuse(losses["total"])
    training.generator.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in training.generator.parameters() if p.grad is not None]
    training.ranks.average(gradients)
    if not torch.nn.utils.get_total_norm(gradients).isfinite():
        return guard.roll_back()
    if training.step % _SNAPSHOT_EVERY == 0:
        guard.take_snapshot()
    rate = learning_rate_factor(training.schedule.progress(training.step))
    guard.optimizer.step(rate / 2**guard.rollbacks)
    guard.accept(losses)
    return ""


def _begin(training: Training, saved: Checkpoint | None) -> None:
    """Go on from a checkpoint, or begin anew; start the clock."""
    training.report(Notice(describe(training)))
    if saved:
        restore(training, saved)
    training.try_to_write(lambda: training.files.cut_log(training.step))
    training.preview_at = training.schedule.elapsed + FIRST_PREVIEW
    training.saved_at = time.monotonic()
    training.schedule.start_clock()  # not before: a download is not training


def _report_step(training: Training, losses: dict[str, float]) -> None:
    """Report a step; at some steps, write the log and the preview."""
    step, schedule = training.step, training.schedule
    rate = training.inputs.batch_size / schedule.per_step
    left = schedule.seconds_left(step)
    training.report(Step(step, schedule.progress(step), losses, rate, left))
    if step % _LOG_EVERY == 0:
        line = {"step": step, "seconds": round(schedule.elapsed, 2), **losses}
        training.try_to_write(lambda: training.files.append_log(line))
    if schedule.elapsed >= training.preview_at:
        _write_next_preview(training)


def _write_next_preview(training: Training) -> None:
    """Write the preview, and set when the next one is due."""
    began = time.monotonic()
    training.try_to_write(lambda: write_preview(training))
    took = time.monotonic() - began
    training.preview_at = training.schedule.elapsed + max(FIRST_PREVIEW, took / _PREVIEW_SHARE)


def _save_now_and_then(training: Training) -> None:
    """Write a checkpoint after the first step, which has fitted into memory, and every minute.

    A disk that is full for a later one may have room for the next.

    Raises:
        StyleCliError: the first cannot be written.
    """
    if training.step == 1:
        save_checkpoint(training)
        training.try_to_write(lambda: training.files.so_far.unlink(missing_ok=True))
    elif time.monotonic() - training.saved_at > CHECKPOINT_EVERY:
        try:
            save_checkpoint(training)
        except StyleCliError as error:
            text = f"{error}; the training goes on, and its next checkpoint may succeed"
            training.report_once(text)
        training.saved_at = time.monotonic()


def _suspend(training: Training) -> TrainResult:
    """Save the state for a resume, and the model as it is, which can be used until then."""
    save_checkpoint(training)
    result, path = summarize(training, finished=False), training.files.so_far
    training.try_to_write(lambda: write_model(training, path, result))
    return result


def _finish(training: Training) -> TrainResult:
    """Write the model, and remove the checkpoint, which is not needed any more."""
    guard, files = training.guard, training.files
    if guard.outliers:  # the last steps were odd: these weights may be broken already
        guard.load(guard.snapshot)
        text = "the last losses were off: the model is from a few steps before"
        training.report(Notice(text))
    result = summarize(training, finished=True)
    if training.ranks.first:
        _write_model_or_checkpoint(training, result)
    training.try_to_write(lambda: files.checkpoint.unlink(missing_ok=True))
    training.try_to_write(lambda: files.so_far.unlink(missing_ok=True))
    training.try_to_write(lambda: write_preview(training))
    _report_bad_photos(training)
    return result


def _write_model_or_checkpoint(training: Training, result: TrainResult) -> None:
    """Write the model; if that is not possible, a checkpoint keeps the training.

    Raises:
        StyleCliError: there is a model already, or the file cannot be written.
    """
    if training.files.model.exists() and not training.overwrite:
        save_checkpoint(training)
        hint = "the training is kept: pass --resume --overwrite, or move that model and --resume"
        raise StyleCliError(f"{training.files.model} exists", hint=hint)
    try:
        write_model(training, result.path, result)
    except StyleCliError as error:
        save_checkpoint(training)
        hint = f"{error.hint}; the training is kept: --resume tries again"
        raise StyleCliError(error.message, hint=hint) from error


def _report_bad_photos(training: Training) -> None:
    """Report the content photos that could not be read."""
    if bad := sorted(set[Path]().union(*training.ranks.gather(training.inputs.photos.bad))):
        names = ", ".join(path.name for path in bad[:5])
        more = " …" if len(bad) > 5 else ""
        training.report(Notice(f"{len(bad)} content photos could not be read: {names}{more}"))


def summarize(training: Training, *, finished: bool) -> TrainResult:
    """How a training ended, with the means of its last losses."""
    recent = training.guard.recent
    names = recent[0] if recent else {}
    losses = {name: float(np.mean([one[name] for one in recent])) for name in names}
    seconds = training.schedule.elapsed
    return TrainResult(training.files.model, finished, training.step, seconds, losses)


def write_model(training: Training, path: Path, result: TrainResult) -> None:
    """Write the network as a model file.

    Raises:
        StyleCliError: it cannot be written.
    """
    info = ModelInfo(
        name=path.stem,
        spec=training.generator.spec,
        training=_describe_training(training, result),
        losses=result.losses,
        styles=training.start.styles,
        thumbnail=thumbnail(*training.inputs.style_images),
        license=training.config.license or training.start.license,
    )
    save_model(path, training.generator, info)


def _describe_training(training: Training, result: TrainResult) -> dict[str, Any]:
    """The settings and what came of them, as a model file holds them."""
    config, inputs, guard = training.config, training.inputs, training.guard
    settings = {k: v for k, v in as_json(config).items() if k not in _NOT_AMONG_SETTINGS}
    return {
        **settings,
        "loss_net": Path(config.loss_net).name,  # not where it lies
        "paintings": [path.name for path in config.paintings],
        "paintings_sha": hash_images(inputs.style_images),
        "init": training.start.origin,
        "content": config.content.name if config.content else "bundled",
        "content_photos": len(inputs.photos.paths),
        "photos_seen": (result.steps - guard.left_out) * inputs.batch_size,
        "steps_done": result.steps,
        "steps_left_out": guard.left_out,
        "rollbacks": guard.rollbacks,
        "seconds": round(result.seconds, 1),
        "scales": training.objectives[0].scales.as_json(),
        "scales_averaged_down": [one.scales.as_json() for one in training.objectives[1:]],
        "device": str(inputs.device),
        "precision": str(inputs.dtype).removeprefix("torch."),
        "curve": training.files.read_curve(),
        "stylecli": __version__,
        "torch": torch.__version__,
    }


def write_preview(training: Training) -> None:
    """Write a picture of three bundled photos, and below, in each row, a painting and its style."""
    paths = [bundled_photos()[i] for i in _PREVIEW_PHOTOS]
    photos = [center_square(read_rgb(path, _PREVIEW_SIDE), _PREVIEW_SIDE) for path in paths]
    rows = [[np.full_like(photos[0], 255), *photos]]
    generator, inputs, first = training.generator, training.inputs, training.start.first_row
    in_layers = RECIPES[training.config.recipe].own_inputs > 0
    look = StylizeConfig(stroke_size=1.0 if in_layers else "network")
    mixes = torch.eye(generator.styles)[first : first + _PREVIEW_STYLES]
    for mix, painting in zip(mixes, inputs.style_images, strict=False):
        network = TorchBackend(generator.of_style(mix), inputs.device, inputs.dtype)
        paint = Painter([network], generator.spec.arch, generator.spec.channels)
        small = center_square(resize(painting, _PREVIEW_SIDE), _PREVIEW_SIDE)
        rows.append([small, *paint(photos, look)])
    wide = [np.concatenate(row, axis=1) for row in rows]  # each (256, 4 * 256, 3)
    write_picture(training.files.preview, Picture(np.concatenate(wide)))
