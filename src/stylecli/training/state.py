"""What a training consists of, and its checkpoint: written, read, refused.

A checkpoint holds the weights and the moments of the optimizer twice, as they are and as they were
when they were last known to be good, a description, and a checksum of all that. All else follows
from seed and step: photos, crops, noise, and which style has its turn. So a resume is exact.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylecli import __version__
from stylecli.config import TrainConfig
from stylecli.core import tensor_files
from stylecli.core.generators import Generator
from stylecli.core.objective import PerceptualObjective
from stylecli.core.spec import GeneratorSpec
from stylecli.core.vgg import LossNetwork
from stylecli.errors import StyleCliError, first_line
from stylecli.events import Notice, Report, pluralize
from stylecli.files.colors import Rgb
from stylecli.files.content import ContentPhotos
from stylecli.options import as_json, from_json, options_of
from stylecli.training.optimizers import Guard, State, select
from stylecli.training.outputs import TrainFiles
from stylecli.training.parallel import Ranks
from stylecli.training.schedule import Schedule

# What a resume may change; with another value of any other setting, it would be another training.
_FREE = {"styles", "add_style", "output", "content", "license", "steps", "minutes"}
_FREE |= {"device", "precision"}
FIXED = tuple(one.name for one in options_of(TrainConfig) if one.name not in _FREE)


@dataclass(frozen=True)
class Start:
    """A network to train, and which part of it is trained.

    Attributes:
        generator: with a row of scales and shifts for each style.
        styles: their names.
        first_row: the row of the first style that is trained; those before it are kept.
        origin: where the weights come from: ``scratch``, or a model's name.
        license: of the model that a style is added to.
    """

    generator: Generator
    styles: list[str]
    first_row: int
    origin: str
    license: str = ""

    def freeze_kept_styles(self) -> None:
        """Where a style is added, give a gradient to nothing but its rows."""
        if self.first_row:
            self.generator.requires_grad_(False)
            for _, table in self.generator.tables():
                table.requires_grad_(True)
                table.register_hook(self._clear_kept_rows)  # type: ignore[no-untyped-call]

    def _clear_kept_rows(self, gradient: Tensor) -> Tensor:
        changed = gradient.clone()
        changed[: self.first_row] = 0
        return changed


@dataclass(frozen=True)
class Inputs:
    """What a training reads before it begins.

    Attributes:
        device: where to compute.
        dtype: of the convolutions.
        batch_size: photos in a batch, of all ranks together.
        style_images: each (H, W, 3) in 0..255, at the size that sets the strokes.
        photos: the content photos.
        network: the loss network, ready for use.
        targets: for each scale of the recipe, layer to (S, C, C): the Gram matrices of the S style
            images at a size that is smaller by it.
    """

    device: torch.device
    dtype: torch.dtype
    batch_size: int
    style_images: list[Rgb]
    photos: ContentPhotos
    network: LossNetwork
    targets: tuple[dict[str, Tensor], ...]


@dataclass
class Training:
    """A training under way."""

    config: TrainConfig  # with numbers where a default depends on device or model
    files: TrainFiles
    report: Report
    overwrite: bool  # whether a model that is there is replaced
    ranks: Ranks  # only the first writes files
    inputs: Inputs
    schedule: Schedule
    objectives: tuple[PerceptualObjective, ...]  # one for each scale of the recipe
    start: Start
    guard: Guard
    step: int = 0  # how many are done
    preview_at: float = 0.0  # when the next one is due, in seconds of training
    saved_at: float = 0.0  # when the last checkpoint was due, by a monotonic clock
    reported: set[str] = field(default_factory=set)  # problems, each of which is reported once

    @property
    def generator(self) -> Generator:
        """The network that is trained."""
        return self.start.generator

    def report_once(self, text: str) -> None:
        """Report a problem the first time that it occurs."""
        if text not in self.reported:
            self.report(Notice(text))
        self.reported.add(text)

    def try_to_write(self, write: Callable[[], object]) -> None:
        """Write a file that is only for looking at; if that fails, the training goes on."""
        try:
            if self.ranks.first:
                write()
        except (OSError, RuntimeError, MemoryError, StyleCliError) as error:
            self.report_once(str(error))


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: of :class:`Training`, its start, its guard."""

    version: str  # of stylecli
    config: dict[str, Any]
    spec: dict[str, Any]
    style_names: list[str]
    first_row: int
    origin: str
    base_license: str
    step: int
    seconds: float
    recent: list[dict[str, float]]
    rollbacks: int
    outliers: int
    left_out: int
    overwrite: bool
    devices: int  # on which it began
    scales: list[dict[str, list[float]]]
    style_sha: str
    photos_sha: str  # of their names
    tensors: State  # now.NAME and snapshot.NAME of the guard's state


def save_checkpoint(training: Training) -> None:
    """Write all that a resume needs: with --steps on a CPU it ends bit for bit as if uninterrupted.

    Raises:
        StyleCliError: the file cannot be written; the checkpoint before it is still there.
    """
    if not training.ranks.first:
        return
    start, guard = training.start, training.guard
    states = {"now": guard.state(), "snapshot": guard.snapshot}
    checkpoint = Checkpoint(
        version=__version__,
        config=as_json(training.config),
        spec=asdict(start.generator.spec),
        style_names=start.styles,
        first_row=start.first_row,
        origin=start.origin,
        base_license=start.license,
        step=training.step,
        seconds=training.schedule.elapsed,
        recent=list(guard.recent),
        rollbacks=guard.rollbacks,
        outliers=guard.outliers,
        left_out=guard.left_out,
        overwrite=training.overwrite,
        devices=training.ranks.count,
        scales=[one.scales.as_json() for one in training.objectives],
        style_sha=hash_images(training.inputs.style_images),
        photos_sha=training.inputs.photos.hash_names(),
        tensors={f"{when}.{k}": t for when, state in states.items() for k, t in state.items()},
    )
    description = {**vars(checkpoint)}
    tensors = description.pop("tensors")
    description["sha256"] = _hash_all(description, tensors)
    tensor_files.save_tensors(training.files.checkpoint, tensors, description)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        StyleCliError: there is none, or it is damaged or of another version.
    """
    if not path.is_file():
        raise StyleCliError(
            f"nothing to resume: no {path}",
            hint="that training is finished, or was never begun: leave --resume out",
        )
    try:
        saved, tensors = tensor_files.read_metadata(path), tensor_files.load_tensors(path)
        if saved.pop("sha256", "") != _hash_all(saved, tensors):
            raise ValueError("its checksum is wrong")
    except (tensor_files.DamagedFileError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise StyleCliError(
            f"{path} is damaged, or of another version of stylecli: "
            f"{first_line(error.__cause__ or error)}",
            hint="start again with --overwrite",
        ) from error
    if saved["version"] != __version__:
        raise StyleCliError(
            f"{path} is of stylecli {saved['version']}, and this is {__version__}",
            hint="install that version, or start again with --overwrite",
        )
    return Checkpoint(**saved, tensors=tensors)


def _hash_all(description: dict[str, Any], tensors: State) -> str:
    """The sha256 of a description and of tensors, by which damage to a checkpoint is noticed."""
    found = sha256(json.dumps(description, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return found.hexdigest()


def refuse_other_devices(saved: Checkpoint, count: int) -> None:
    """Raise StyleCliError if a training did not begin on ``count`` devices.

    On another number, each gradient would be a mean of other parts, rounded differently, and no
    resume exact.
    """
    if saved.devices != count:
        raise StyleCliError(
            f"this training began on {pluralize(saved.devices, 'device')}, and here it is on "
            f"{count}",
            hint=f"let torchrun start as many processes: on one machine, --nproc-per-node "
            f"{saved.devices}; or start again with --overwrite",
        )


def resume_config(saved: Checkpoint, changes: dict[str, Any]) -> TrainConfig:
    """The settings of a resume: those of the checkpoint with changes, name to value.

    Steps given in place of minutes, or the other way round, replace them.

    Raises:
        StyleCliError: a change is not valid, or would make it another training.
    """
    config = from_json(TrainConfig, saved.config)
    if "steps" in changes or "minutes" in changes:
        config = replace(config, steps=None, minutes=None)
    config = replace(config, **changes)
    config.check()
    now = as_json(config)
    if changed := [name for name in FIXED if now[name] not in (None, saved.config[name])]:
        was = ", ".join(f"{name} {saved.config[name]}" for name in changed)
        raise StyleCliError(
            f"a resumed training cannot change its settings; it began with {was}",
            hint="leave those options out, or start again with --overwrite",
        )
    return config


def refuse_another_training(
    config: TrainConfig, style_images: list[Rgb], saved: Checkpoint
) -> None:
    """Raise StyleCliError if the style images have changed, or fewer steps are asked for."""
    if saved.style_sha != hash_images(style_images):
        names = ", ".join(map(str, config.paintings))
        raise StyleCliError(
            f"{names} is not the painting that this training began with",
            hint="pass the same, or start again with --overwrite",
        )
    if config.steps and config.steps < saved.step:
        done = pluralize(saved.step, "step")
        raise StyleCliError(
            f"--steps {config.steps} is less than the {done} that are done",
            hint="pass more, or leave --steps out",
        )


def build_start(saved: Checkpoint) -> Start:
    """The network of a checkpoint, whose weights are still to be loaded."""
    generator = Generator(GeneratorSpec(**saved.spec)).remix(torch.ones(len(saved.style_names), 1))
    return Start(generator, saved.style_names, saved.first_row, saved.origin, saved.base_license)


def restore(training: Training, saved: Checkpoint) -> None:
    """Bring a training to where its checkpoint was written."""
    if saved.photos_sha != training.inputs.photos.hash_names():
        training.report(Notice("the content photos are not those that this training began with"))
    guard = training.guard
    guard.load(select("now.", saved.tensors))
    guard.snapshot = select("snapshot.", saved.tensors)
    guard.recent.extend(saved.recent)
    guard.rollbacks, guard.outliers = saved.rollbacks, saved.outliers
    guard.left_out = saved.left_out
    training.step = saved.step
    training.schedule.elapsed = saved.seconds


def hash_images(style_images: list[Rgb]) -> str:
    """The sha256 of style images, (H, W, 3) each, at the size that they are trained at."""
    return sha256(b"".join(rgb.tobytes() for rgb in style_images)).hexdigest()
