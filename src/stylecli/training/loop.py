"""Training: a painting in, a model file out (Johnson et al. 2016, Ulyanov et al. 2017)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylecli import __version__
from stylecli.config import TrainConfig
from stylecli.core.backend import Batch
from stylecli.core.devices import resolve_device, resolve_precision
from stylecli.core.model_files import (
    FORMAT_VERSION,
    ModelInfo,
    load_tensors,
    save_model,
    save_tensors,
)
from stylecli.core.optimizers import GeneratorOptimizer
from stylecli.core.tensors import to_tensor
from stylecli.core.torch_backend import TorchBackend
from stylecli.core.vgg import DOWNLOADS
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Report, Step, TrainResult, counted
from stylecli.files.atomic import remove_leftovers
from stylecli.files.content import ContentPhotos, bundled_photos
from stylecli.files.images import (
    Picture,
    Rgb,
    center_square,
    read_rgb,
    read_short_side,
    thumbnail,
    write_picture,
)
from stylecli.objective import balance, build_objective
from stylecli.training.divergence import Guard
from stylecli.training.files import (
    TrainFiles,
    as_json,
    chosen,
    damaged_checkpoint,
    pack_state,
    refuse_changes,
    saved_config,
    unpack_state,
)
from stylecli.training.initial import Start, check_start, first_start
from stylecli.training.schedule import Schedule, learning_rate_factor, photos_a_step

CHECKPOINT_EVERY = 60.0  # seconds

_LOG_EVERY = 10  # steps
_SNAPSHOT_EVERY = 25  # steps
_PREVIEW_PHOTOS = (14, 15, 7)  # a face, a sky, a street
_TOLD_ELSEWHERE = (
    *("arch", "norm", "width", "noise", "upsampling", "activation"),
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
    """Train a generator for a painting and write its model file.

    Args:
        config: the settings.
        report: told of every step.
        should_stop: asked after every step; when true, the state is saved for a resume.
        resume: go on with the interrupted training of the same output, and with its settings.
        changes: the settings that a resume has otherwise; None is those of ``config`` that are
            not at their default.
        overwrite: replace a model that is there.

    Raises:
        StyleCliError: an input is bad, a file would be lost, or the training diverges.
    """
    files = TrainFiles.of(config)
    if not resume:
        config.check()
    with files.lock():
        saved = files.check(resume=resume, overwrite=overwrite)
        if resume:
            changes = chosen(config) if changes is None else changes
            config = saved_config(files, changes, overwrite=overwrite)
            config.check()
            refuse_changes(config, saved["config"])
        return _train(config, files, report, should_stop, saved, resume, overwrite)


def _train(
    config: TrainConfig,
    files: TrainFiles,
    report: Report,
    should_stop: Callable[[], bool],
    saved: dict[str, Any],
    resume: bool,
    overwrite: bool,
) -> TrainResult:
    """The same, when the files are locked and the checkpoint, ``saved``, is read."""
    resumable = resume
    try:
        before = saved if resume else {}
        training = _Training(config, files, report, before, overwrite=overwrite)
        report(Notice(training.describe()))
        if resume:
            training.restore()
        else:
            if saved.get("step"):
                dropped = counted(saved["step"], "step")
                report(Notice(f"an unfinished training of {dropped} is dropped"))
            training.begin()
        resumable = True
        stopped = training.run(should_stop)
        return training.suspend() if stopped else training.finish()
    except (RuntimeError, MemoryError) as error:  # of torch: out of memory, above all
        hint = "if memory ran out, try a lower --batch-size, --size or --style-size"
        if resumable:
            hint = f"--resume goes on from {files.checkpoint}; {hint}, with --overwrite"
        what = str(error).partition("\n")[0]
        raise StyleCliError(f"the training broke off: {what}", hint=hint, exit_code=1) from error


class _Training:
    """A training under way: the network, its optimizer, and how far they are.

    Args:
        config: the settings.
        files: where it writes.
        report: told of every step.
        saved: what the checkpoint says that it goes on from; {} if it begins.
        overwrite: replace a model that is there.
    """

    def __init__(
        self,
        config: TrainConfig,
        files: TrainFiles,
        report: Report,
        saved: dict[str, Any],
        *,
        overwrite: bool,
    ) -> None:
        self.config, self.files, self.report, self.saved = config, files, report, saved
        self.overwrite = overwrite or saved.get("overwrite", False)
        self.device = resolve_device(config.device)
        self.dtype = resolve_precision(config.precision, self.device)
        self.batch_size = photos_a_step(config, self.device.type)
        self.paintings = [read_rgb(path, config.style_size) for path in config.paintings]
        self.photos = ContentPhotos(config.content, config.seed)
        self._warn()
        self.objective = build_objective(config, self.paintings, self.device, self.dtype)
        if not saved:
            check_start(config)
        remove_leftovers(files.model.parent)
        self.schedule = Schedule(config, self.device.type)  # its clock starts: no download counts
        if saved:
            self.objective.scales = saved["scales"]
            with self._reading_checkpoint():
                self.start = Start.restored(saved)
        else:
            balance(self.objective, self.photos, config.size, self.device)
            self.start = first_start(config, self.objective, self.photos, self.device)
        self.generator = self.start.generator.to(self.device).train()
        trainable = self.start.trainable()
        self.optimizer = GeneratorOptimizer(trainable, config.optimizer, config.lr)
        self.guard = Guard(self.generator, self.optimizer)
        self.step = 0
        self.seconds_per_step = 0.0
        self.told: set[str] = set()

    def _warn(self) -> None:
        """Tell what may surprise."""
        config = self.config
        for path in config.paintings:
            if (side := read_short_side(path)) < config.style_size:
                text = f"{path} has a short side of {side} px, enlarged to {config.style_size}"
                self.report(Notice(f"{text}: a larger file, or --style-size {side}, is sharper"))
        if config.norm == "bn" and self.batch_size == 1:
            self.report(Notice("in batches of one, batch norm is instance norm while it trains"))
        blank, looked = self.photos.count_blank(config.size)
        if blank:
            of = looked if looked == len(self.photos.paths) else f"the first {looked}"
            text = f"{blank} of {of} content photos are mostly of one plain color"
            self.report(Notice(f"{text}: only crops with something in them are trained on"))
        if config.loss_net in DOWNLOADS:
            text = f"the loss network {config.loss_net} is downloaded once: up to 550 MB"
            self.report(Notice(text))

    def describe(self) -> str:
        """A line on what is about to happen."""
        spec, dtype = self.generator.spec, str(self.dtype).removeprefix("torch.")
        return (
            f"training {self.files.model.stem} from {self.start.origin}: {spec.arch}, "
            f"norm {spec.norm}, width {spec.width}, on {len(self.photos.paths)} photos, "
            f"{self.schedule} on {self.device} ({dtype})"
        )

    def begin(self) -> None:
        """Prepare a training from its start."""
        # Large crops come last: if they do not fit into memory, it shows now.
        sample = self.photos.batch(0, self.batch_size, self.config.size)
        self._losses(to_tensor(sample, self.device))["total"].backward()  # type: ignore[no-untyped-call]
        self.save_state()
        self._aside(lambda: self.files.log.write_text(""))

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """Train until the end, or until asked to stop; then return True."""
        saved_at = self.ended = time.monotonic()
        with closing(
            self.photos.batches(self.step, self.batch_size, self.schedule.crop_size)
        ) as all_:
            for photos in all_:
                if self.guard.recent and self.schedule.progress(self.step) >= 1:
                    return False
                self._train_on(photos)
                if should_stop():
                    return True
                if time.monotonic() - saved_at > CHECKPOINT_EVERY:
                    self._try_to_save()
                    saved_at = time.monotonic()
        raise AssertionError("the series of photos is endless")

    def _try_to_save(self) -> None:
        """Write a checkpoint; a disk that is full now may have room for the next one."""
        try:
            self.save_state()
        except StyleCliError as error:
            self._tell_once(f"{error}; the training goes on, and its next checkpoint may succeed")

    def _train_on(self, photos: Batch) -> None:
        terms = self._losses(to_tensor(photos, self.device))
        losses = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
        done = ""
        if self.guard.is_outlier(losses["total"]):
            done = self.guard.refuse(losses["total"])
        elif not self._backward(terms["total"]):
            done = self.guard.roll_back()
        self.step += 1
        if done:
            self.report(Notice(f"step {self.step}: {done}"))
            return
        self._learn()
        self.guard.accept(losses)
        self._tell(losses)

    def _learn(self) -> None:
        """Take a step along the gradients."""
        before = self.step - 1
        if before % _SNAPSHOT_EVERY == 0:
            self.guard.take_snapshot()
        factor = self.guard.lr_factor * learning_rate_factor(self.schedule.progress(before))
        self.optimizer.step(factor)

    def _losses(self, photos: Tensor) -> dict[str, Tensor]:
        mixed = self.dtype != torch.float32
        first = self.step * len(photos)  # the styles take turns
        styles = [(first + i) % len(self.paintings) for i in range(len(photos))]
        rows = torch.tensor(styles, device=self.device) + self.start.first_row
        with torch.autocast(self.device.type, self.dtype, enabled=mixed):
            stylized = self.generator(photos, rows, self._seeds(first, len(photos)))
        down, across = inner_part(self.config, self.step, photos.shape[2:])
        photos, stylized = photos[:, :, down, across], stylized[:, :, down, across]
        content = self.objective.content_target(photos)
        terms: dict[str, Tensor] = self.objective(stylized, content, styles)
        return terms

    def _seeds(self, first: int, images: int) -> Tensor:
        """Other noise for every image that is ever trained on, the same after a resume."""
        return torch.arange(first, first + images, device=self.device) % 2**31

    def _backward(self, total: Tensor) -> bool:
        """Compute gradients; tell whether they are finite."""
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.generator.parameters() if p.grad is not None]
        return bool(torch.nn.utils.get_total_norm(gradients).isfinite())

    def _tell(self, losses: dict[str, float]) -> None:
        seconds, self.ended = time.monotonic() - self.ended, time.monotonic()
        progress = self.schedule.progress(self.step)
        smooth = 0.9 if self.seconds_per_step else 0.0
        self.seconds_per_step = smooth * self.seconds_per_step + (1 - smooth) * seconds
        rate = self.batch_size / self.seconds_per_step
        left = self.schedule.seconds_left(self.step, self.seconds_per_step)
        self.report(Step(self.step, progress, losses, rate, left))
        if self.step % _LOG_EVERY == 0:
            line = {"step": self.step, "seconds": round(self.schedule.elapsed(), 2), **losses}
            self._aside(lambda: self.files.append_log(line))
        if self.config.preview_every and self.step % self.config.preview_every == 0:
            self._aside(self.write_preview)

    def _aside(self, write: Callable[[], object]) -> None:
        """Write what is only for looking at; a training does not end because it cannot."""
        try:
            write()
        except (OSError, RuntimeError, MemoryError, StyleCliError) as error:
            self._tell_once(str(error))

    def _tell_once(self, text: str) -> None:
        if text not in self.told:
            self.report(Notice(text))
        self.told.add(text)

    def write_preview(self) -> None:
        """Three bundled photos, and below them what becomes of them: a row for each style."""
        photos = [center_square(read_rgb(bundled_photos()[i], 256), 256) for i in _PREVIEW_PHOTOS]
        rows = [np.stack(photos)]
        for mix in torch.eye(self.generator.styles)[self.start.first_row :]:
            backend = TorchBackend(self.generator.of_style(mix), self.device, self.dtype)
            rows.append(backend(rows[0]))
        wide = [np.concatenate(list(row), axis=1) for row in rows]
        write_picture(self.files.preview, Picture(np.concatenate(wide)))

    def suspend(self) -> TrainResult:
        """Save the state, for a resume."""
        self.save_state()
        return self._result(finished=False)

    def finish(self) -> TrainResult:
        """Write the model; the checkpoint is not needed any more."""
        if self.guard.outliers:  # of the last steps: these weights may be off already
            self.guard.load(self.guard.snapshot)
            self.report(Notice("the last losses were off: the model is from a few steps before"))
        if self.files.model.exists() and not self.overwrite:
            self.save_state()
            hint = (
                "the training is kept: pass --resume --overwrite, or move that model and --resume"
            )
            raise StyleCliError(f"{self.files.model} exists", hint=hint)
        result = self._result(finished=True)
        try:
            save_model(self.files.model, self.generator, self._info(result))
        except StyleCliError as error:
            self.save_state()
            hint = f"{error.hint}; the training is kept: --resume tries again"
            raise StyleCliError(error.message, hint=hint) from error
        self._aside(lambda: self.files.checkpoint.unlink(missing_ok=True))
        self._aside(self.write_preview)
        if self.photos.bad:
            names = ", ".join(path.name for path in sorted(self.photos.bad)[:5])
            text = f"{len(self.photos.bad)} content photos could not be read: {names}"
            self.report(Notice(text + (" …" if len(self.photos.bad) > 5 else "")))
        return result

    def _result(self, *, finished: bool) -> TrainResult:
        recent = self.guard.recent
        names = recent[0] if recent else {}
        losses = {name: float(np.mean([one[name] for one in recent])) for name in names}
        return TrainResult(self.files.model, finished, self.step, self.schedule.elapsed(), losses)

    def _info(self, result: TrainResult) -> ModelInfo:
        config = self.config
        told = {
            key: value
            for key, value in as_json(self._settled()).items()
            if key not in _TOLD_ELSEWHERE
        }
        training = {
            **told,
            "paintings": [path.name for path in config.paintings],
            "paintings_sha": digest(self.paintings),
            "init": self.start.origin,
            "content": config.content.name if config.content else "bundled",
            "content_photos": len(self.photos.paths),
            "photos_seen": (result.steps - self.guard.left_out) * self.batch_size,
            "steps_done": result.steps,
            "steps_left_out": self.guard.left_out,
            "rollbacks": self.guard.rollbacks,
            "seconds": round(result.seconds, 1),
            "scales": self.objective.scales,
            "device": str(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "curve": self.files.curve(),
            "stylecli": __version__,
            "torch": torch.__version__,
        }
        return ModelInfo(
            name=result.path.stem,
            **asdict(self.generator.spec),
            training=training,
            losses=result.losses,
            styles=self.start.styles,
            thumbnail=thumbnail(*self.paintings),
            license=config.license or self.start.license,
        )

    def _settled(self) -> TrainConfig:
        """The settings with numbers in place of what was chosen by device or model."""
        minutes = None if self.config.steps else self.schedule.seconds / 60
        width, batch_size = self.generator.spec.width, self.batch_size
        return replace(self.config, width=width, batch_size=batch_size, minutes=minutes)

    def save_state(self) -> None:
        """Write everything that a bit-for-bit resume needs; crops follow from seed and step."""
        metadata = {
            "config": as_json(self._settled()),
            "format_version": FORMAT_VERSION,
            **self.start.metadata(),
            "step": self.step,
            "seconds": self.schedule.elapsed(),
            **self.guard.counts(),
            "overwrite": self.overwrite,
            "scales": self.objective.scales,
            "style_sha": digest(self.paintings),
            "photos_sha": self.photos.fingerprint(),
        }
        tensors = pack_state("now", self.guard.state())
        tensors |= pack_state("snapshot", self.guard.snapshot)
        save_tensors(self.files.checkpoint, tensors, metadata)

    def restore(self) -> None:
        """Take up the state that :meth:`save_state` wrote."""
        self._check_same()
        tensors = load_tensors(self.files.checkpoint)
        with self._reading_checkpoint():
            states = [unpack_state(name, tensors) for name in ("now", "snapshot")]
            self.guard.restore(self.saved, *states)
        self.step = self.saved["step"]
        self.schedule.add_elapsed(self.saved["seconds"])
        self._aside(lambda: self.files.cut_log(self.step))

    @contextmanager
    def _reading_checkpoint(self) -> Iterator[None]:
        """Say of what does not fit that the checkpoint is damaged."""
        try:
            yield
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            what = str(error).partition("\n")[0]
            raise damaged_checkpoint(self.files.checkpoint, what) from error

    def _check_same(self) -> None:
        if self.saved["style_sha"] != digest(self.paintings):
            given = ", ".join(map(str, self.config.paintings))
            raise StyleCliError(
                f"{given} is not the painting that this training began with",
                hint="pass the same, or start again with --overwrite",
            )
        if self.config.steps and self.config.steps < self.saved["step"]:
            done = counted(self.saved["step"], "step")
            raise StyleCliError(
                f"--steps {self.config.steps} is less than the {done} that are done",
                hint="pass more, or leave --steps out",
            )
        if self.saved["photos_sha"] != self.photos.fingerprint():
            self.report(Notice("the content photos are not those that this training began with"))


def inner_part(config: TrainConfig, step: int, size: Sequence[int]) -> tuple[slice, slice]:
    """The rows and columns of a step's crops that its loss is computed on.

    Features at the edges of what the loss network sees are held less to the photo. A generator
    whose own edges always lie there gathers the colors that the style has and the photo lacks: a
    band along the edges, seen after trainings from scratch. So the edges lie elsewhere each time.
    The part has one size, in multiples of 8 px: the loss network is slow on sizes that are new.

    Args:
        config: its seed, and the share of a side that is left out.
        step: the number of the step; the same number, the same part.
        size: of the crops: height and width, px.
    """
    random = np.random.default_rng([config.seed, step, 2])
    left_out = [8 * round(config.loss_margin * side / 8) for side in size]
    first = [int(random.integers(0, out + 1)) for out in left_out]
    down, across = (
        slice(start, start + side - out)
        for start, side, out in zip(first, size, left_out, strict=True)
    )
    return down, across


def digest(paintings: list[Rgb]) -> str:
    """A fingerprint of paintings as they are trained, (H, W, 3) each."""
    return sha256(b"".join(rgb.tobytes() for rgb in paintings)).hexdigest()
