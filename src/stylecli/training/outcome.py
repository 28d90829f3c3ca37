"""What a training leaves: its result, the model file, and a picture of what the network does."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylecli import __version__
from stylecli.config import GeneratorConfig
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.torch_backend import TorchBackend
from stylecli.events import TrainResult
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb, write_picture
from stylecli.files.pictures import Picture, center_square, thumbnail
from stylecli.options import as_json
from stylecli.training.resume import digest
from stylecli.training.state import Training

_PREVIEW_PHOTOS = (14, 15, 7)  # a face, a sky, a street
_PREVIEW_SIDE = 256  # px
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
    seconds = training.schedule.elapsed()
    return TrainResult(training.files.model, finished, training.step, seconds, losses)


def write_model(training: Training, result: TrainResult) -> None:
    """Write the model file.

    Raises:
        StyleCliError: it cannot be written.
    """
    info = ModelInfo(
        name=result.path.stem,
        **asdict(training.generator.spec),
        training=_described(training, result),
        losses=result.losses,
        styles=training.start.styles,
        thumbnail=thumbnail(*training.inputs.style_images),
        license=training.config.license or training.start.license,
    )
    save_model(result.path, training.generator, info)


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
        "scales": training.objective.scales.as_json(),
        "device": str(inputs.device),
        "precision": str(inputs.dtype).removeprefix("torch."),
        "curve": training.files.curve(),
        "stylecli": __version__,
        "torch": torch.__version__,
    }


def write_preview(training: Training) -> None:
    """Write a picture of three bundled photos, and below them a row for each trained style."""
    paths = [bundled_photos()[i] for i in _PREVIEW_PHOTOS]
    squares = [center_square(read_rgb(path, _PREVIEW_SIDE), _PREVIEW_SIDE) for path in paths]
    rows = [np.stack(squares)]  # each (3, 256, 256, 3)
    generator, inputs = training.generator, training.inputs
    for mix in torch.eye(generator.styles)[training.start.first_row :]:
        backend = TorchBackend(generator.of_style(mix), inputs.device, inputs.dtype)
        rows.append(backend(rows[0]))
    wide = [np.concatenate(list(row), axis=1) for row in rows]  # each (256, 768, 3)
    write_picture(training.files.preview, Picture(np.concatenate(wide)))
