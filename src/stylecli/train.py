"""Training: a painting in, a model file out (Johnson et al. 2016, Ulyanov et al. 2017)."""

import base64
import json
import math
import re
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylecli import __version__
from stylecli.config import TrainConfig
from stylecli.core.backends import Batch, TorchBackend, to_tensor
from stylecli.core.checkpoints import (
    SUFFIX,
    ModelInfo,
    load_model,
    load_tensors,
    read_metadata,
    save_model,
    save_tensors,
)
from stylecli.core.devices import resolve_device, resolve_precision
from stylecli.core.generators import Generator, GeneratorSpec, build_generator
from stylecli.core.losses import PerceptualObjective, Weights
from stylecli.core.vgg import load_loss_network
from stylecli.errors import StyleCliError
from stylecli.files.atomic import require_writable
from stylecli.files.content import ContentPhotos, bundled_photos
from stylecli.files.images import Picture, Rgb, read_rgb, write_picture

# Without --steps or --minutes.
DEFAULT_MINUTES = {"cpu": 10.0, "mps": 5.0, "cuda": 2.0}

_SMALL_CROPS_UNTIL = 2 / 3  # of the training; a photo at half the side costs a quarter
_LOG_EVERY = 10  # steps
_SNAPSHOT_EVERY = 25  # steps
_CHECKPOINT_EVERY = 60  # seconds
_EXPLOSION = 5  # times the usual loss
_MAX_ROLLBACKS = 8
_BALANCE_PHOTOS = 16
# A resumed training may change these; anything else would make it another training.
_FREE_ON_RESUME = frozenset(
    {"style", "output", "content", "steps", "minutes", "device", "precision", "preview_every"}
    | {"license"}
)


@dataclass(frozen=True)
class Step:
    """What a training tells after each step.

    Attributes:
        step: how many are done.
        progress: 0 to 1, by steps or by time.
        losses: the weighted terms of this step and their total.
        photos_per_second: lately.
        seconds_left: an estimate.
    """

    step: int
    progress: float
    losses: dict[str, float]
    photos_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Notice:
    """A line for the person who waits."""

    text: str


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        path: the model file; not written if the training was interrupted.
        finished: False after an interruption.
        steps: done in all.
        seconds: taken in all.
        losses: means over the last steps.
    """

    path: Path
    finished: bool
    steps: int
    seconds: float
    losses: dict[str, float]


Report = Callable[[Step | Notice], None]


@dataclass(frozen=True)
class TrainFiles:
    """The model file of a training and what lies beside it."""

    model: Path

    @classmethod
    def of(cls, config: TrainConfig) -> "TrainFiles":
        """Where a training writes: to its output, or to ``models/`` by the painting's name.

        Raises:
            StyleCliError: the output is not a ``.safetensors`` file.
        """
        if config.output is None:
            name = re.sub(r"[^a-z0-9]+", "-", config.style.stem.lower()).strip("-") or "style"
            return cls(Path("models") / f"{name}{SUFFIX}")
        if config.output.suffix != SUFFIX:
            raise StyleCliError(
                f"the output {config.output} does not end in {SUFFIX}",
                hint=f"use --output {config.output.with_suffix(SUFFIX)}",
            )
        return cls(config.output)

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished training."""
        return self.model.with_suffix(f".checkpoint{SUFFIX}")

    @property
    def log(self) -> Path:
        """The losses, a JSON object a line."""
        return self.model.with_suffix(".jsonl")

    @property
    def preview(self) -> Path:
        """Photos as the training now paints them."""
        return self.model.with_suffix(".preview.png")

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Raise StyleCliError rather than lose a model or the state of a training."""
        if resume and not self.checkpoint.is_file():
            raise StyleCliError(
                f"nothing to resume: no {self.checkpoint}",
                hint="that training is finished, or was never begun: leave --resume out",
            )
        if overwrite or resume:
            return
        if self.model.exists():
            raise StyleCliError(
                f"{self.model} exists",
                hint="pass --overwrite to replace it, or --output to keep both",
            )
        if self.checkpoint.exists():
            raise StyleCliError(
                f"an interrupted training of {self.model.stem} is there: {self.checkpoint}",
                hint="pass --resume to go on with it, or --overwrite to start again",
            )


def saved_config(files: TrainFiles, changes: dict[str, Any]) -> TrainConfig:
    """The settings of the interrupted training whose checkpoint lies there, changed.

    Steps given in place of minutes, or the other way round, replace them.

    Raises:
        StyleCliError: there is no checkpoint, or it is damaged.
    """
    files.check(resume=True, overwrite=False)
    saved = read_metadata(files.checkpoint).get("config")
    if saved is None:
        raise StyleCliError(f"{files.checkpoint} holds no training", hint="start again")
    paths = {key: Path(saved[key]) for key in ("style", "output", "content") if saved[key]}
    config = TrainConfig(**{**saved, **paths, "style_layers": tuple(saved["style_layers"])})
    if "steps" in changes or "minutes" in changes:
        config = replace(config, steps=None, minutes=None)
    return replace(config, **changes)


def train(
    config: TrainConfig,
    report: Report = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> TrainResult:
    """Train a generator for a painting and write its model file.

    Args:
        config: the settings.
        report: told of every step.
        should_stop: asked after every step; when true, the state is saved for a resume.
        resume: go on with the interrupted training of the same output.
        overwrite: replace a model that is there.

    Raises:
        StyleCliError: an input is bad, a file would be lost, or the training diverges.
    """
    files = TrainFiles.of(config)
    files.check(resume=resume, overwrite=overwrite)
    require_writable(files.model.parent)
    training = _Training(config, files, report)
    report(Notice(training.describe()))
    if resume:
        training.restore()
    else:
        training.begin()
    stopped = training.run(should_stop)
    return training.suspend() if stopped else training.finish()


class _Clock:
    """Progress of a training from 0 to 1, by its steps or by its minutes."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        if config.steps is not None and config.minutes is not None:
            raise StyleCliError("both --steps and --minutes were given", hint="choose one of them")
        budget = config.minutes if config.steps is None else config.steps
        if budget is not None and budget <= 0:
            raise StyleCliError(
                f"cannot train for {budget} steps or minutes", hint="pass more than 0"
            )
        self.steps = config.steps
        self.seconds = 60 * (config.minutes or DEFAULT_MINUTES[device.type])
        self.started = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def progress(self, step: int) -> float:
        done = step / self.steps if self.steps else self.elapsed() / self.seconds
        return min(1.0, done)

    def seconds_left(self, step: int, per_step: float) -> float:
        """An estimate from the seconds that the last step took."""
        if not self.steps:
            return self.seconds - self.elapsed()
        large = self.steps - max(step, math.ceil(_SMALL_CROPS_UNTIL * self.steps))
        small = self.steps - step - large
        return per_step * (small + 4 * large if small else large)

    def budget(self) -> str:
        """How long it will take, in words."""
        return f"{self.steps} steps" if self.steps else f"about {self.seconds / 60:.3g} minutes"


def learning_rate_factor(progress: float) -> float:
    """One cycle: up in the first twentieth, then down along a cosine to nearly nothing."""
    warm = min(1.0, 0.1 + progress / 0.05)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class _Training:
    """A training under way: the network, its optimizer, and how far they are."""

    def __init__(self, config: TrainConfig, files: TrainFiles, report: Report) -> None:
        self.config, self.files, self.report = config, files, report
        self.device = resolve_device(config.device)
        self.dtype = resolve_precision(config.precision, self.device)
        self.clock = _Clock(config, self.device)
        _check_numbers(config)
        self.painting = read_rgb(config.style, config.style_size)
        self.photos = ContentPhotos(config.content, config.seed)
        self.generator = _initial_generator(config)
        self.generator.to(self.device).train()
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=config.lr)
        self.objective = self._objective()
        self.step = 0
        self.seconds_per_step = 0.0
        self.lr_factor = 1.0
        self.rollbacks = 0
        self.recent: deque[dict[str, float]] = deque(maxlen=50)

    def describe(self) -> str:
        """A line on what is about to happen."""
        spec, dtype = self.generator.spec, str(self.dtype).removeprefix("torch.")
        return (
            f"training {self.files.model.stem}: {spec.arch}, norm {spec.norm}, width {spec.width}, "
            f"on {len(self.photos.paths)} photos, {self.clock.budget()} on {self.device} ({dtype})"
        )

    def _objective(self) -> PerceptualObjective:
        config = self.config
        network = load_loss_network(config.loss_net).prepare(self.device, self.dtype)
        return PerceptualObjective(
            network,
            to_tensor(self.painting[None], self.device),
            config.content_layer,
            config.style_layers,
            Weights(config.content_weight, config.style_weight, config.tv_weight),
        )

    def begin(self) -> None:
        """Prepare a training from its start."""
        self.files.checkpoint.unlink(missing_ok=True)
        sample = self.photos.batch(0, _BALANCE_PHOTOS, self.config.size)
        self.objective.balance(to_tensor(sample, self.device))
        self.files.log.write_text("")

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """Train until the end, or until asked to stop; then return True."""
        saved_at = time.monotonic()
        self._take_snapshot()
        with closing(
            self.photos.batches(self.step, self.config.batch_size, self._crop_size)
        ) as all_:
            for photos in all_:
                if self.clock.progress(self.step) >= 1:
                    return False
                self._train_on(photos)
                if should_stop():
                    return True
                if time.monotonic() - saved_at > _CHECKPOINT_EVERY:
                    self.save_state()
                    saved_at = time.monotonic()
        raise AssertionError("the series of photos is endless")

    def _crop_size(self, step: int) -> int:
        size = self.config.size
        return size // 2 if self.clock.progress(step) < _SMALL_CROPS_UNTIL else size

    def _train_on(self, photos: Batch) -> None:
        began = time.monotonic()
        terms = self._losses(to_tensor(photos, self.device))
        losses = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
        if not (self._is_sound(losses["total"]) and self._backward(terms["total"])):
            self._roll_back()
            return
        if self.step % _SNAPSHOT_EVERY == 0:
            self._take_snapshot()
        rate = (
            self.config.lr * self.lr_factor * learning_rate_factor(self.clock.progress(self.step))
        )
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.step += 1
        self.recent.append(losses)
        self._tell(losses, time.monotonic() - began)

    def _losses(self, photos: Tensor) -> dict[str, Tensor]:
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=mixed):
            stylized = self.generator(photos)
        terms: dict[str, Tensor] = self.objective(stylized, self.objective.content_target(photos))
        return terms

    def _is_sound(self, total: float) -> bool:
        """Whether a loss is finite, and has not exploded: no training recovers from that."""
        usual = np.mean([losses["total"] for losses in self.recent] or [math.inf])
        return math.isfinite(total) and total < _EXPLOSION * float(usual)

    def _backward(self, total: Tensor) -> bool:
        """Compute gradients; tell whether they are finite."""
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.generator.parameters() if p.grad is not None]
        return bool(torch.nn.utils.get_total_norm(gradients).isfinite())

    def _take_snapshot(self) -> None:
        self.snapshot = deepcopy((self.generator.state_dict(), self.optimizer.state_dict()))

    def _roll_back(self) -> None:
        self.rollbacks += 1
        if self.rollbacks > _MAX_ROLLBACKS:
            raise StyleCliError(
                f"the training diverged {self.rollbacks} times, last at step {self.step}",
                hint=f"start again with --lr below {self.config.lr:g}, or --precision float32",
                exit_code=1,
            )
        weights, optimizer = deepcopy(self.snapshot)
        self.generator.load_state_dict(weights)
        self.optimizer.load_state_dict(optimizer)
        self.lr_factor /= 2
        self.step += 1  # the photos that broke it are not tried again
        self.report(
            Notice(
                f"the loss exploded at step {self.step}: back to the last good weights, "
                f"learning rate halved to {self.config.lr * self.lr_factor:.2g}"
            )
        )

    def _tell(self, losses: dict[str, float], seconds: float) -> None:
        progress = self.clock.progress(self.step)
        smooth = 0.9 if self.seconds_per_step else 0.0
        self.seconds_per_step = smooth * self.seconds_per_step + (1 - smooth) * seconds
        rate = self.config.batch_size / self.seconds_per_step
        left = self.clock.seconds_left(self.step, self.seconds_per_step)
        self.report(Step(self.step, progress, losses, rate, max(0.0, left)))
        if self.step % _LOG_EVERY == 0:
            line = {"step": self.step, "seconds": round(self.clock.elapsed(), 2), **losses}
            with self.files.log.open("a") as log:
                log.write(json.dumps(line) + "\n")
        if self.config.preview_every and self.step % self.config.preview_every == 0:
            self.write_preview()

    def write_preview(self) -> None:
        """Three bundled photos, and below each what the network now makes of it."""
        photos = [_square(read_rgb(bundled_photos()[i], 256), 256) for i in (14, 15, 7)]
        stylized = TorchBackend(self.generator, self.device, self.dtype)(np.stack(photos))
        rows = [np.concatenate(list(row), axis=1) for row in (photos, stylized)]
        write_picture(self.files.preview, Picture(np.concatenate(rows)))

    def suspend(self) -> TrainResult:
        """Save the state, for a resume."""
        self.save_state()
        return self._result(finished=False)

    def finish(self) -> TrainResult:
        """Write the model; the checkpoint is not needed any more."""
        self.write_preview()
        result = self._result(finished=True)
        save_model(self.files.model, self.generator, self._info(result))
        self.files.checkpoint.unlink(missing_ok=True)
        if self.photos.bad:
            self.report(Notice(f"{len(self.photos.bad)} content photos could not be read"))
        return result

    def _result(self, *, finished: bool) -> TrainResult:
        names = self.recent[0] if self.recent else {}
        losses = {name: float(np.mean([one[name] for one in self.recent])) for name in names}
        return TrainResult(self.files.model, finished, self.step, self.clock.elapsed(), losses)

    def _info(self, result: TrainResult) -> ModelInfo:
        config = self.config
        training = {
            **_plain(config),
            "style": config.style.name,
            "content": config.content.name if config.content else "bundled",
            "output": None,
            "content_photos": len(self.photos.paths),
            "photos_seen": result.steps * config.batch_size,
            "steps_done": result.steps,
            "seconds": round(result.seconds, 1),
            "style_scale": self.objective.style_scale,
            "device": str(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "stylecli": __version__,
            "torch": torch.__version__,
        }
        return ModelInfo(
            name=result.path.stem,
            **asdict(self.generator.spec),
            training=training,
            losses=result.losses,
            thumbnail=_thumbnail(self.painting),
            license=config.license,
        )

    def save_state(self) -> None:
        """Write everything that a bit-for-bit resume needs; crops follow from seed and step."""
        tensors = {f"weights.{k}": v for k, v in self.generator.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{k}": v for k, v in state.items()}
        metadata = {
            "config": _plain(self.config),
            "step": self.step,
            "seconds": self.clock.elapsed(),
            "lr_factor": self.lr_factor,
            "style_scale": self.objective.style_scale,
            "style_sha": _digest(self.painting),
            "photos_sha": self.photos.fingerprint(),
            "recent": list(self.recent),
        }
        save_tensors(self.files.checkpoint, tensors, metadata)

    def restore(self) -> None:
        """Take up the state that :meth:`save_state` wrote."""
        saved = read_metadata(self.files.checkpoint)
        self._check_same(saved)
        tensors = load_tensors(self.files.checkpoint)
        weights = {k.removeprefix("weights."): v for k, v in tensors.items() if k[0] == "w"}
        self.generator.load_state_dict(weights)
        optimizer = self.optimizer.state_dict()
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                optimizer["state"].setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(optimizer)
        self.step, self.lr_factor = saved["step"], saved["lr_factor"]
        self.objective.style_scale = saved["style_scale"]
        self.recent.extend(saved["recent"])
        self.clock.started -= saved["seconds"]
        self._cut_log()

    def _check_same(self, saved: dict[str, Any]) -> None:
        if saved["style_sha"] != _digest(self.painting):
            raise StyleCliError(
                f"{self.config.style} is not the painting that this training began with",
                hint="pass that one, or start again with --overwrite",
            )
        now = _plain(self.config)
        changed = [k for k in now if k not in _FREE_ON_RESUME and now[k] != saved["config"][k]]
        if changed:
            was = ", ".join(f"{key} {saved['config'][key]}" for key in changed)
            raise StyleCliError(
                f"a resumed training cannot change its settings; it began with {was}",
                hint="leave those options out, or start again with --overwrite",
            )
        if saved["photos_sha"] != self.photos.fingerprint():
            self.report(Notice("the content photos are not those that this training began with"))

    def _cut_log(self) -> None:
        """Drop what a killed run logged after its last checkpoint."""
        lines = self.files.log.read_text().splitlines() if self.files.log.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        self.files.log.write_text("".join(f"{line}\n" for line in kept))


def _check_numbers(config: TrainConfig) -> None:
    least = {"batch_size": 1, "size": 64, "style_size": 64}
    for name, value in least.items():
        if getattr(config, name) < value:
            option = name.replace("_", "-")
            raise StyleCliError(
                f"--{option} {getattr(config, name)} is too small", hint=f"it is at least {value}"
            )
    if not (math.isfinite(config.lr) and config.lr > 0):
        raise StyleCliError(f"--lr {config.lr} is not a positive number", hint="try 0.002")


def _initial_generator(config: TrainConfig) -> Generator:
    """The network to train: a new one from the seed, or a trained one of the same kind."""
    if config.init is None:
        torch.manual_seed(config.seed)
        return build_generator(GeneratorSpec(config.arch, config.norm, config.width))
    generator, info = load_model(config.init)
    asked = (config.arch, config.norm, config.width or info.width)
    if asked != (info.arch, info.norm, info.width):
        raise StyleCliError(
            f"--init {config.init} is {info.arch}, {info.norm}, width {info.width}; "
            f"asked for: {config.arch}, {config.norm}, width {config.width}",
            hint="pass the same --arch, --norm and --width, or leave --init out",
        )
    return generator


def _plain(config: TrainConfig) -> dict[str, Any]:
    """The config as JSON can hold it."""
    values = {**asdict(config), "style_layers": list(config.style_layers)}
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}


def _digest(rgb: Rgb) -> str:
    return sha256(rgb.tobytes()).hexdigest()


def _square(rgb: Rgb, side: int) -> Rgb:
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    return rgb[top : top + side, left : left + side]


def _thumbnail(rgb: Rgb) -> str:
    image = Image.fromarray(rgb)
    image.thumbnail((96, 96))
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()
