"""What happens before the first step: inputs are read, and a training is put together."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from stylecli import __version__
from stylecli.config import TrainConfig
from stylecli.core.devices import resolve_precision
from stylecli.core.objective import (
    BALANCE_PHOTOS,
    PerceptualObjective,
    Scales,
    balance,
    prepared_network,
    style_targets,
)
from stylecli.core.optimizers import GeneratorOptimizer
from stylecli.core.tensors import to_tensor
from stylecli.core.vgg import DOWNLOADS
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Report
from stylecli.files.atomic import remove_leftovers
from stylecli.files.colors import Rgb
from stylecli.files.content import ContentPhotos
from stylecli.files.images import read_rgb, read_short_side
from stylecli.options import as_json, fixed_on_resume
from stylecli.training.divergence import Guard
from stylecli.training.files import TrainFiles
from stylecli.training.initial import Start, check_start, first_start
from stylecli.training.ranks import Ranks
from stylecli.training.resume import (
    Checkpoint,
    digest,
    refuse_another_training,
    restored_scales,
    restored_start,
)
from stylecli.training.schedule import Schedule, resolve_batch_size
from stylecli.training.state import Inputs, Training


def set_up(
    config: TrainConfig,
    files: TrainFiles,
    report: Report,
    saved: Checkpoint | None,
    ranks: Ranks,
    *,
    overwrite: bool,
) -> Training:
    """Put together a training: a new one, or one whose weights are still to be restored.

    Args:
        config: the settings.
        files: where it writes.
        report: told what may surprise.
        saved: what the checkpoint says that the training goes on from, if it does.
        ranks: the processes that train together.
        overwrite: whether a model that is there is replaced.

    Raises:
        StyleCliError: an input is bad, or is not that of the checkpoint.
    """
    if saved is None:
        check_start(config)
    inputs = read_inputs(config, report, ranks)
    if saved:
        refuse_another_training(config, inputs.style_images, saved)
    if ranks.first:
        remove_leftovers(files.model.parent)
    schedule = Schedule(config, inputs.device.type, ranks.now)
    schedule.start_clock()  # not before: a download is no training
    if saved:
        scales = restored_scales(files.checkpoint, saved, len(inputs.style_images))
        start = restored_start(files.checkpoint, saved)
    else:
        scales, start = ranks.of_first(lambda: _new_parts(config, inputs))
    generator = start.generator.to(inputs.device).train()
    ranks.share_norms(generator)
    start.freeze_the_rest()
    optimizer = GeneratorOptimizer(start.trained_parameters(), config.optimizer, config.lr)
    return Training(
        config=_with_numbers(config, start, inputs, schedule),
        files=files,
        report=report,
        overwrite=overwrite,
        ranks=ranks,
        inputs=inputs,
        schedule=schedule,
        objective=PerceptualObjective(inputs.network, inputs.targets, scales, config),
        start=start,
        optimizer=optimizer,
        guard=Guard(generator, optimizer),
    )


def read_inputs(config: TrainConfig, report: Report, ranks: Ranks) -> Inputs:
    """Read images and loss network, which may be downloaded; nothing is written.

    Raises:
        StyleCliError: one of them is not there or cannot be read, or there is no such device,
            precision or layer, or the ranks cannot train together.
    """
    device = ranks.device(config.device)
    dtype = resolve_precision(config.precision, device)
    batch_size = resolve_batch_size(config, device.type, ranks.count)
    _refuse_to_share(config, batch_size, device, ranks)
    style_images = [read_rgb(path, config.style_size) for path in config.paintings]
    photos = ContentPhotos(config.content, config.seed)
    for text in _surprises(config, batch_size, photos):
        report(Notice(text))
    network = prepared_network(config, device, dtype)
    tensors = [to_tensor(rgb[None], device) for rgb in style_images]
    targets = style_targets(network, tensors, config.style_layers)
    ranks.meet(device, _in_common(config, dtype, style_images, photos))
    return Inputs(device, dtype, batch_size, style_images, photos, network, targets)


def _refuse_to_share(
    config: TrainConfig, batch_size: int, device: torch.device, ranks: Ranks
) -> None:
    """Raise StyleCliError if a batch cannot be computed in equal parts, as if in one process."""
    if batch_size % ranks.count:
        raise StyleCliError(
            f"--batch-size {batch_size} cannot be shared by {ranks.count} devices",
            hint=f"pass a multiple of {ranks.count}",
        )
    if config.norm == "bn" and device.type == "cpu" and ranks.count > 1:
        raise StyleCliError(
            "batch norm over several processes needs CUDA: torch has no such norm for CPUs",
            hint="pass --norm in, or train on one device",
        )


def _in_common(
    config: TrainConfig, dtype: torch.dtype, style_images: list[Rgb], photos: ContentPhotos
) -> dict[str, Any]:
    """What has to be the same in all processes that train together, by name."""
    settings = as_json(config)
    return {
        "version of stylecli": __version__,
        "version of torch": torch.__version__,
        **{name: settings[name] for name in (*fixed_on_resume(TrainConfig), "steps", "minutes")},
        "precision": str(dtype),
        "painting": digest(style_images),
        "content photos": photos.fingerprint(),
    }


def _surprises(config: TrainConfig, batch_size: int, photos: ContentPhotos) -> Iterator[str]:
    """What a user may not expect."""
    for path in config.paintings:
        if (side := read_short_side(path)) < config.style_size:
            text = f"{path} has a short side of {side} px, enlarged to {config.style_size}"
            yield f"{text}: a larger file, or a smaller --style-size, is sharper"
    if config.norm == "bn" and batch_size == 1:
        yield "in batches of one, batch norm is instance norm while it trains"
    blank, looked = photos.count_blank(config.size)
    if blank:
        of = looked if looked == len(photos.paths) else f"the first {looked}"
        text = f"{blank} of {of} content photos are mostly of one plain color"
        yield f"{text}: only crops with something in them are trained on"
    if config.loss_net in DOWNLOADS:
        yield f"the loss network {config.loss_net} is downloaded once: up to 550 MB"


def _new_parts(config: TrainConfig, inputs: Inputs) -> tuple[Scales, Start]:
    """Scales of the objective and network of a new training."""
    network, targets, device = inputs.network, inputs.targets, inputs.device
    photos = to_tensor(inputs.photos.batch(0, BALANCE_PHOTOS, config.size), device)
    scales = balance(network, targets, config.content_layer, photos)
    objective = PerceptualObjective(network, targets, scales, config)
    start = first_start(config, objective, inputs.photos, device)
    start.generator.cpu()  # to be sent to the other ranks
    return scales, start


def _with_numbers(
    config: TrainConfig, start: Start, inputs: Inputs, schedule: Schedule
) -> TrainConfig:
    """The settings with numbers in place of defaults that depend on the device or the model."""
    minutes = None if config.steps else schedule.seconds / 60
    width, batch_size = start.generator.width, inputs.batch_size
    return replace(config, width=width, batch_size=batch_size, minutes=minutes)


def described(training: Training) -> str:
    """A line that says what is about to happen."""
    spec, inputs = training.generator.spec, training.inputs
    dtype = str(inputs.dtype).removeprefix("torch.")
    shared = f", {_sharing(training)}" if training.ranks.count > 1 else ""
    return (
        f"training {training.files.model.stem} from {training.start.origin}: {spec.arch}, "
        f"norm {spec.norm}, width {spec.width}, on {len(inputs.photos.paths)} photos, "
        f"{training.schedule} on {inputs.device} ({dtype}){shared}"
    )


def _sharing(training: Training) -> str:
    """What each of several devices does, and that the step is that of one."""
    config, count = training.config, training.ranks.count
    return (
        f"shared by {count} devices: batches of {training.inputs.batch_size}, {training.share} for "
        f"each; learning rate {config.lr:g} at its peak and its schedule as on one device"
    )
