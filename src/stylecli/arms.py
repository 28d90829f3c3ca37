"""The arms of a comparison: which networks, where their models are, training what is missing."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylecli.config import CompareConfig, TrainConfig
from stylecli.core.checkpoints import SUFFIX, ModelInfo, find_model, load_model, read_info
from stylecli.core.generators import ARCHS, Generator
from stylecli.core.norms import NORMS, use_batch_statistics
from stylecli.errors import StyleCliError, choose_from
from stylecli.events import Notice, Report
from stylecli.files.content import bundled_photos
from stylecli.train import train
from stylecli.training_files import TrainFiles, saved_config

_BATCH = "bn-batch"


@dataclass(frozen=True)
class Arm:
    """One column of a comparison.

    Attributes:
        arch: of the generator.
        norm: ``in``, ``none``, ``bn`` (with running statistics) or ``bn-batch`` (the same
            network with the statistics of the batch at hand).
        path: its model file.
    """

    arch: str
    norm: str
    path: Path

    @property
    def name(self) -> str:
        """Such as ``residual-in``."""
        return f"{self.arch}-{self.norm}"

    @property
    def info(self) -> ModelInfo:
        """What the model file says of itself."""
        return read_info(self.path)

    def load(self) -> Generator:
        """The network, ready to stylize."""
        generator, _ = load_model(str(self.path))
        if self.norm == _BATCH:
            use_batch_statistics(generator)
        return generator


def check_names(archs: Sequence[str], norms: Sequence[str]) -> None:
    """Raise StyleCliError for a name that there is not, or that was given twice."""
    for kind, given, known in (("architecture", archs, ARCHS), ("norm", norms, NORMS)):
        for name in given:
            if name not in known:
                raise StyleCliError(f"unknown {kind} {name!r}", hint=choose_from(name, known))
        if len(set(given)) < len(given):
            what = ", ".join(given)
            raise StyleCliError(f"{what}: one {kind} was given twice", hint="once is enough")


def bundled_arms(config: CompareConfig) -> list[Arm]:
    """The arms of a style that is bundled or found by name.

    Raises:
        StyleCliError: a model is missing, or is not what its name says.
    """
    arms = []
    for arch, norm in _pairs(config):
        name = f"{config.style}-{arch}-{norm}"
        try:
            path = find_model(name)
        except StyleCliError as error:
            raise StyleCliError(
                f"no model {name} for --style {config.style}: {error.hint}",
                hint="pass a painting, --style PAINTING.jpg, to train what is missing",
            ) from error
        _check_kind(path, arch, norm)
        arms += _as_arms(arch, norm, path)
    return arms


def trained_arms(
    config: CompareConfig,
    painting_sha: str,
    compared: Sequence[Path],
    report: Report,
    should_stop: Callable[[], bool],
) -> list[Arm] | None:
    """The arms of a painting, from the output folder; what is missing is trained, one by one.

    All have the same painting, photos, order, batch, objective, seed and budget, and start from
    scratch.

    Args:
        config: the comparison.
        painting_sha: fingerprint of its painting.
        compared: photos that must not be trained on.
        report: told of the trainings.
        should_stop: ends them; asked again, the same comparison goes on.

    Returns:
        None if it was stopped.

    Raises:
        StyleCliError: a model that is there belongs to another painting.
    """
    content = config.content or _other_photos(config.out / "content", compared)
    arms = []
    for arch, norm in _pairs(config):
        path = config.out / "models" / f"{arch}-{norm}{SUFFIX}"
        if not path.exists():
            asked = _training(config, arch, norm, content, path)
            if not _trained(asked, report, should_stop):
                return None
        else:
            report(Notice(f"{path} is there already"))
        _check_kind(path, arch, norm)
        if read_info(path).training.get("paintings_sha") != painting_sha:
            raise StyleCliError(
                f"{path} was trained for another painting than {config.style}",
                hint="pass another folder with --out, or remove that model",
            )
        arms += _as_arms(arch, norm, path)
    return arms


def _pairs(config: CompareConfig) -> list[tuple[str, str]]:
    return [(arch, norm) for arch in config.archs for norm in config.norms]


def _as_arms(arch: str, norm: str, path: Path) -> list[Arm]:
    """Batch norm is shown as what it is: with running statistics, and with the batch's own."""
    return [Arm(arch, one, path) for one in ((norm, _BATCH) if norm == "bn" else (norm,))]


def _check_kind(path: Path, arch: str, norm: str) -> None:
    info = read_info(path)
    if (info.arch, info.norm) != (arch, norm):
        raise StyleCliError(
            f"{path} is {info.arch} with norm {info.norm}, not {arch} with {norm}",
            hint="remove or rename that model",
        )


def _training(
    config: CompareConfig, arch: str, norm: str, content: Path, path: Path
) -> TrainConfig:
    minutes = None if config.steps else config.minutes or 10.0
    return TrainConfig(
        styles=(Path(config.style),),
        arch=arch,
        norm=norm,
        output=path,
        content=content,
        init="scratch",
        steps=config.steps,
        minutes=minutes,
        batch_size=config.batch_size,
        seed=config.seed,
        device=config.device,
        style_size=config.style_size,
        style_weight=config.style_weight,
        content_weight=config.content_weight,
        tv_weight=config.tv_weight,
        content_layer=config.content_layer,
        style_layers=config.style_layers,
        loss_net=config.loss_net,
    )


def _trained(config: TrainConfig, report: Report, should_stop: Callable[[], bool]) -> bool:
    files = TrainFiles.of(config)
    resume = files.checkpoint.exists()
    if resume:
        config = saved_config(files, {})
    return train(config, report, should_stop, resume=resume).finished


def _other_photos(folder: Path, compared: Sequence[Path]) -> Path:
    """The bundled photos but those that are compared on, in a folder of their own."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        names = {path.name for path in compared}
        for path in bundled_photos():
            if path.name not in names:
                shutil.copyfile(path, folder / path.name)
    return folder


def painter(generator: Generator, companions: Tensor | None) -> Callable[[Tensor], Tensor]:
    """A call that stylizes, as it would be saved: clipped to [0, 1].

    Args:
        generator: of one style.
        companions: (N, 3, H, W) to be in the batch too and left out of the answer.
    """

    @torch.no_grad()
    def paint(photos: Tensor) -> Tensor:
        batch = photos if companions is None else torch.cat([photos, companions])
        return generator(batch)[: len(photos)].clamp(0, 1)  # type: ignore[no-any-return]

    return paint
