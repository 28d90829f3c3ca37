"""What happens before the first step: inputs are read, and a training is put together."""

from collections.abc import Iterator
from dataclasses import replace

from stylecli.config import TrainConfig
from stylecli.core.devices import resolve_device, resolve_precision
from stylecli.core.objective import (
    BALANCE_PHOTOS,
    PerceptualObjective,
    balance,
    prepared_network,
    style_targets,
)
from stylecli.core.optimizers import GeneratorOptimizer
from stylecli.core.tensors import to_tensor
from stylecli.core.vgg import DOWNLOADS
from stylecli.events import Notice, Report
from stylecli.files.atomic import remove_leftovers
from stylecli.files.content import ContentPhotos
from stylecli.files.images import read_rgb, read_short_side
from stylecli.training.divergence import Guard
from stylecli.training.files import TrainFiles
from stylecli.training.initial import Start, check_start, first_start
from stylecli.training.resume import (
    Checkpoint,
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
    *,
    overwrite: bool,
) -> Training:
    """Put together a training: a new one, or one whose weights are still to be restored.

    Args:
        config: the settings.
        files: where it writes.
        report: told what may surprise.
        saved: what the checkpoint says that the training goes on from, if it does.
        overwrite: whether a model that is there is replaced.

    Raises:
        StyleCliError: an input is bad, or is not that of the checkpoint.
    """
    inputs = read_inputs(config, report)
    if saved:
        refuse_another_training(config, inputs.style_images, saved)
    else:
        check_start(config)
    remove_leftovers(files.model.parent)
    schedule = Schedule(config, inputs.device.type)
    schedule.start_clock()  # not before: a download is no training
    if saved:
        objective, start = _saved_parts(saved, files, config, inputs)
    else:
        objective, start = _new_parts(config, inputs)
    generator = start.generator.to(inputs.device).train()
    start.freeze_the_rest()
    optimizer = GeneratorOptimizer(start.trained_parameters(), config.optimizer, config.lr)
    return Training(
        config=_with_numbers(config, start, inputs, schedule),
        files=files,
        report=report,
        overwrite=overwrite,
        inputs=inputs,
        schedule=schedule,
        objective=objective,
        start=start,
        optimizer=optimizer,
        guard=Guard(generator, optimizer),
    )


def read_inputs(config: TrainConfig, report: Report) -> Inputs:
    """Read images and loss network, which may be downloaded; nothing is written.

    Raises:
        StyleCliError: one of them is not there or cannot be read, or there is no such device,
            precision or layer.
    """
    device = resolve_device(config.device)
    dtype = resolve_precision(config.precision, device)
    batch_size = resolve_batch_size(config, device.type)
    style_images = [read_rgb(path, config.style_size) for path in config.paintings]
    photos = ContentPhotos(config.content, config.seed)
    for text in _surprises(config, batch_size, photos):
        report(Notice(text))
    network = prepared_network(config, device, dtype)
    tensors = [to_tensor(rgb[None], device) for rgb in style_images]
    targets = style_targets(network, tensors, config.style_layers)
    return Inputs(device, dtype, batch_size, style_images, photos, network, targets)


def _surprises(config: TrainConfig, batch_size: int, photos: ContentPhotos) -> Iterator[str]:
    """What a user may not expect."""
    for path in config.paintings:
        if (side := read_short_side(path)) < config.style_size:
            text = f"{path} has a short side of {side} px, enlarged to {config.style_size}"
            yield f"{text}: a larger file, or --style-size {side}, is sharper"
    if config.norm == "bn" and batch_size == 1:
        yield "in batches of one, batch norm is instance norm while it trains"
    blank, looked = photos.count_blank(config.size)
    if blank:
        of = looked if looked == len(photos.paths) else f"the first {looked}"
        text = f"{blank} of {of} content photos are mostly of one plain color"
        yield f"{text}: only crops with something in them are trained on"
    if config.loss_net in DOWNLOADS:
        yield f"the loss network {config.loss_net} is downloaded once: up to 550 MB"


def _new_parts(config: TrainConfig, inputs: Inputs) -> tuple[PerceptualObjective, Start]:
    """Objective and network of a new training."""
    network, targets, device = inputs.network, inputs.targets, inputs.device
    photos = to_tensor(inputs.photos.batch(0, BALANCE_PHOTOS, config.size), device)
    scales = balance(network, targets, config.content_layer, photos)
    objective = PerceptualObjective(network, targets, scales, config)
    return objective, first_start(config, objective, inputs.photos, device)


def _saved_parts(
    saved: Checkpoint, files: TrainFiles, config: TrainConfig, inputs: Inputs
) -> tuple[PerceptualObjective, Start]:
    """Objective and network of a checkpoint; the weights are still to be loaded."""
    scales = restored_scales(files.checkpoint, saved, len(inputs.style_images))
    objective = PerceptualObjective(inputs.network, inputs.targets, scales, config)
    return objective, restored_start(files.checkpoint, saved)


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
    return (
        f"training {training.files.model.stem} from {training.start.origin}: {spec.arch}, "
        f"norm {spec.norm}, width {spec.width}, on {len(inputs.photos.paths)} photos, "
        f"{training.schedule} on {inputs.device} ({dtype})"
    )
