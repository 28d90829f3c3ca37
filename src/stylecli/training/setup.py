"""What happens before the first step: a network is made, inputs are read, all is put together."""

import shlex
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylecli import __version__
from stylecli.config import GALLERY, TrainConfig
from stylecli.core.devices import resolve_precision, to_tensor
from stylecli.core.generators import Generator
from stylecli.core.model_files import (
    bundled_models,
    find_model,
    load_generator,
    match_name,
    read_info,
    style_name,
)
from stylecli.core.objective import (
    BALANCE_PHOTOS,
    PerceptualObjective,
    Scales,
    balance,
    prepare_network,
    style_targets,
)
from stylecli.core.spec import MAX_STYLES, GeneratorConfig
from stylecli.core.tensor_files import SUFFIX
from stylecli.core.vgg import DOWNLOADS, LossNetwork
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Progress, Report
from stylecli.files.atomic import remove_leftovers
from stylecli.files.colors import Rgb
from stylecli.files.content import ContentPhotos
from stylecli.files.images import read_rgb, read_short_side
from stylecli.options import as_json
from stylecli.training.optimizers import GeneratorOptimizer, Guard
from stylecli.training.outputs import TrainFiles
from stylecli.training.parallel import Ranks
from stylecli.training.schedule import RECIPES, Schedule, resolve_batch_size, spec_of
from stylecli.training.state import (
    FIXED,
    Checkpoint,
    Inputs,
    Start,
    Training,
    build_start,
    hash_images,
    refuse_another_training,
)

_OPTIONS = tuple(one.name for one in fields(GeneratorConfig))


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

    Raises:
        StyleCliError: an input is bad, or is not that of the checkpoint.
    """
    start = build_start(saved) if saved else ranks.of_first(lambda: make_start(config))
    inputs = read_inputs(config, report, ranks)
    if saved:
        refuse_another_training(config, inputs.style_images, saved)
        scales = [Scales.from_json(one) for one in saved.scales]
    else:
        scales = ranks.of_first(lambda: _balance(config, inputs, report))
    if ranks.first:
        remove_leftovers(files.model.parent)
    start.generator.to(inputs.device).train()
    ranks.share_norms(start.generator)
    start.freeze_kept_styles()
    schedule = Schedule(config, inputs.device.type, ranks.now)
    config = _fill_in(config, start, inputs, schedule)
    assert config.lr is not None
    trained = [one for one in start.generator.parameters() if one.requires_grad]
    guard = Guard(start.generator, GeneratorOptimizer(trained, config.optimizer, config.lr))
    pairs = zip(inputs.targets, scales, strict=True)
    objectives = tuple(PerceptualObjective(inputs.network, *pair, config) for pair in pairs)
    given = config, files, report, overwrite, ranks, inputs, schedule
    return Training(*given, objectives, start, guard)


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
    for text in _find_surprises(config, batch_size):
        report(Notice(text))
    network = prepare_network(config, device, dtype)
    targets = _compute_targets(config, style_images, network, device, report)
    ranks.compare(_list_common(config, dtype, style_images, photos))
    return Inputs(device, dtype, batch_size, style_images, photos, network, targets)


def _compute_targets(
    config: TrainConfig,
    style_images: list[Rgb],
    network: LossNetwork,
    device: torch.device,
    report: Report,
) -> tuple[dict[str, Tensor], ...]:
    """For each scale of the recipe, layer to (S, C, C): the Gram matrices of S style images."""
    scales, paintings = RECIPES[config.recipe].scales, config.paintings
    found: list[list[dict[str, Tensor]]] = [[] for _ in scales]
    for i, (path, full) in enumerate(zip(paintings, style_images, strict=True)):
        report(Progress(i / len(paintings), f"looking at {path.name}"))
        for scale, of_scale in zip(scales, found, strict=True):
            rgb = full if scale == 1 else read_rgb(path, config.style_size // scale)
            image = to_tensor(rgb[None], device)
            of_scale.append(style_targets(network, [image], config.style_layers))
    return tuple(
        {name: torch.cat([one[name] for one in of_scale]) for name in config.style_layers}
        for of_scale in found
    )


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


def _list_common(
    config: TrainConfig, dtype: torch.dtype, style_images: list[Rgb], photos: ContentPhotos
) -> dict[str, Any]:
    """What has to be the same in all processes that train together, by name."""
    settings = as_json(config)
    return {
        "version of stylecli": __version__,
        "version of torch": torch.__version__,
        **{name: settings[name] for name in (*FIXED, "steps", "minutes")},
        "precision": str(dtype),
        "painting": hash_images(style_images),
        "content photos": photos.hash_names(),
    }


def _find_surprises(config: TrainConfig, batch_size: int) -> Iterator[str]:
    """What a user may not expect."""
    for path in config.paintings:
        if (side := read_short_side(path)) < config.style_size:
            text = f"{path} has a short side of {side} px, enlarged to {config.style_size}"
            yield f"{text}: a larger file, or a smaller --style-size, is sharper"
    if config.norm == "bn" and batch_size == 1:
        yield "in batches of one, batch norm is instance norm while it trains"
    if config.loss_net in DOWNLOADS:
        yield f"the loss network {config.loss_net} is downloaded once: up to 550 MB"


def _balance(config: TrainConfig, inputs: Inputs, report: Report) -> list[Scales]:
    """The scales of a new training's objectives.

    All objectives see the same photos, so they are balanced together, as if of more styles.
    """
    photos = to_tensor(inputs.photos.batch(0, BALANCE_PHOTOS, config.size), inputs.device)
    names, count = inputs.targets[0], len(inputs.style_images)
    joined = {name: torch.cat([one[name] for one in inputs.targets]) for name in names}

    def watch(done: float) -> None:
        report(Progress(done, "balancing painting and photos"))

    scales = balance(inputs.network, joined, config.content_layer, photos, watch)
    return [
        Scales(scales.style[first : first + count], scales.tv)
        for first in range(0, len(scales.style), count)
    ]


def _fill_in(config: TrainConfig, start: Start, inputs: Inputs, schedule: Schedule) -> TrainConfig:
    """The settings with numbers in place of defaults that depend on device, model or recipe."""
    return replace(
        config,
        width=start.generator.spec.width,
        batch_size=inputs.batch_size,
        minutes=None if config.steps else schedule.seconds / 60,
        lr=config.lr or RECIPES[config.recipe].lr,
    )


def describe(training: Training) -> str:
    """A line that says what is about to happen."""
    spec, inputs = training.generator.spec, training.inputs
    dtype = str(inputs.dtype).removeprefix("torch.")
    shared, count = "", training.ranks.count
    if count > 1:
        shared = (
            f", shared by {count} devices: batches of {inputs.batch_size}, "
            f"{inputs.batch_size // count} for each; learning rate {training.config.lr:g} at its "
            "peak and its schedule as on one device"
        )
    return (
        f"training {training.files.model.stem} from {training.start.origin}: {spec.arch}, "
        f"norm {spec.norm}, width {spec.width}, on {len(inputs.photos.paths)} photos, "
        f"{training.schedule} on {inputs.device} ({dtype}){shared}"
    )


def make_start(config: TrainConfig) -> Start:
    """Make the network that a new training starts with.

    Raises:
        StyleCliError: no such model, one of another kind, a network that cannot be built, too
            many style images, or two of one name.
    """
    names = [style_name(path) for path in config.paintings]
    path = _find_trained(config)
    if path is None:
        _check_names(names)
        torch.manual_seed(config.seed)
        generator = Generator(spec_of(config)).remix(torch.ones(len(names), 1))
        return Start(generator, names, 0, "scratch")
    info = read_info(path)
    kept = info.styles if config.add_style else []
    _check_names(kept + names)
    mixes = torch.tensor([_choose_mix(config.init, name, info.styles) for name in names])
    as_they_are = torch.eye(len(info.styles))[: len(kept)]
    generator = load_generator(path).remix(torch.cat([as_they_are, mixes]))
    return Start(generator, kept + names, len(kept), info.name, info.license if kept else "")


def _check_names(styles: list[str]) -> None:
    """Raise StyleCliError if a model cannot hold styles of these names."""
    if len(styles) > MAX_STYLES:
        raise StyleCliError(
            f"a model of {len(styles)} styles, and the most is {MAX_STYLES}",
            hint="train several models, each of some of the paintings",
        )
    if twice := {name for name in styles if styles.count(name) > 1}:
        raise StyleCliError(
            f"two styles are named {', '.join(sorted(twice))}",
            hint="rename one of the paintings: a style is called by its file",
        )


def _choose_mix(init: str, name: str, known: list[str]) -> list[float]:
    """The shares of a trained model's styles that a painting starts from.

    That is the style that ``init`` names, or else the one of the painting's own name, or else the
    mean of all.
    """
    for wanted in (init, name):
        if found := match_name(wanted, known):
            return [float(one == found) for one in known]
    return [1 / len(known)] * len(known)


def _find_trained(config: TrainConfig) -> Path | None:
    """The file of the model to start from; None means from scratch."""
    if config.init == "scratch":
        return None
    if config.init == "auto":
        bundled, spec = bundled_models() / f"{GALLERY}{SUFFIX}", spec_of(config)
        known = read_info(bundled)
        is_like_new = replace(spec, width=spec.width or known.spec.width) == known.spec
        return bundled if is_like_new else None
    path = find_model(config.init)
    info = read_info(path)
    if config.add_style and info.spec.norm != "in":
        raise StyleCliError(
            f"{config.init} has norm {info.spec.norm}, and only instance norm can hold several "
            "styles",
            hint="train a model of its own: leave --add-style and --init out",
        )
    has = {name: getattr(info.spec, name) for name in _OPTIONS}
    asked = {name: getattr(config, name) or has[name] for name in _OPTIONS}
    if asked != has and not config.add_style:
        had, wanted = (", ".join(f"{k} {v}" for k, v in one.items()) for one in (has, asked))
        raise StyleCliError(
            f"--init {config.init} has {had}; asked for: {wanted}",
            hint=f"pass {shlex.join(f'--{name}={value}' for name, value in has.items())}",
        )
    return path
