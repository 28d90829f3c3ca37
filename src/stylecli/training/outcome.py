"""What a training leaves: its result, the model file, and a picture of what the network does."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylecli import __version__
from stylecli.config import GeneratorConfig, StylizeConfig
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.torch_backend import TorchBackend
from stylecli.engine.painter import Painter
from stylecli.events import TrainResult
from stylecli.files.colors import Rgb
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb, write_picture
from stylecli.files.pictures import Picture, center_square, resized, thumbnail
from stylecli.options import as_json
from stylecli.training.recipes import recipe_of
from stylecli.training.resume import digest
from stylecli.training.state import Training

_PREVIEW_PHOTOS = (14, 15, 7)  # a face, a sky, a street
_PREVIEW_SIDE = 256  # px
_PREVIEW_STYLES = 4
# A model file has these settings in fields of their own, or does not hold them.
_NOT_AMONG_SETTINGS = (
    *(one.name for one in fields(GeneratorConfig)),
    *("styles", "add_style", "output"),
)


def result_of(training: Training, *, finished: bool) -> TrainResult:
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
        **asdict(training.generator.spec),
        training=_described(training, result),
        losses=result.losses,
        styles=training.start.styles,
        thumbnail=thumbnail(*training.inputs.style_images),
        license=training.config.license or training.start.license,
    )
    save_model(path, training.generator, info)


def _described(training: Training, result: TrainResult) -> dict[str, Any]:
    """The settings and what came of them, as a model file holds them."""
    config, inputs, guard = training.config, training.inputs, training.guard
    settings = {k: v for k, v in as_json(config).items() if k not in _NOT_AMONG_SETTINGS}
    return {
        **settings,
        "loss_net": Path(config.loss_net).name,  # where a file lies is nobody's business
        "paintings": [path.name for path in config.paintings],
        "paintings_sha": digest(inputs.style_images),
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
        "curve": training.files.curve(),
        "stylecli": __version__,
        "torch": torch.__version__,
    }


def write_preview(training: Training) -> None:
    """Write a picture of what the network paints now.

    A row of three bundled photos; below them, for each of the first styles that are trained, the
    painting and what becomes of the photos.
    """
    paths = [bundled_photos()[i] for i in _PREVIEW_PHOTOS]
    photos = [_square(read_rgb(path, _PREVIEW_SIDE)) for path in paths]
    rows = [[np.full_like(photos[0], 255), *photos]]
    generator, inputs, first = training.generator, training.inputs, training.start.first_row
    in_layers = recipe_of(training.config).own_inputs > 0
    look = StylizeConfig(stroke_size=1.0 if in_layers else "network")
    mixes = torch.eye(generator.styles)[first : first + _PREVIEW_STYLES]
    for mix, painting in zip(mixes, inputs.style_images, strict=False):
        network = TorchBackend(generator.of_style(mix), inputs.device, inputs.dtype)
        paint = Painter([network], generator.spec.arch, generator.width)
        rows.append([_square(resized(painting, _PREVIEW_SIDE)), *paint(photos, look)])
    wide = [np.concatenate(row, axis=1) for row in rows]  # each (256, 4 * 256, 3)
    write_picture(training.files.preview, Picture(np.concatenate(wide)))


def _square(rgb: Rgb) -> Rgb:
    return center_square(rgb, _PREVIEW_SIDE)
