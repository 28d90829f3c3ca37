"""The arms of a comparison: which networks, where their models are, training what is missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylecli.comparison_folder import ComparisonFolder
from stylecli.config import CompareConfig, ObjectiveConfig, TrainConfig
from stylecli.core.checkpoints import SUFFIX, ModelInfo, find_model, load_model, read_info
from stylecli.core.generators import ARCHS, Generator
from stylecli.core.norms import NORMS, use_batch_statistics
from stylecli.errors import StyleCliError, choose_from
from stylecli.events import Notice, Report
from stylecli.train import train
from stylecli.training_files import TrainFiles

BATCH = "bn-batch"

_ALIKE = (
    *("paintings_sha", "seed", "steps", "minutes", "batch_size", "size", "small_crops", "lr"),
    *("content_photos", "precision", "init", "scales", "optimizer"),
)
_OBJECTIVE = tuple(
    field.name
    for field in fields(ObjectiveConfig)
    if field.name not in ("seed", "device", "precision")
)


@dataclass(frozen=True)
class Arm:
    """One column of a comparison.

    Attributes:
        arch: of the generator.
        norm: ``in``, ``none``, ``bn`` (with running statistics) or ``bn-batch`` (the same
            network with the statistics of the batch at hand).
        path: its model file.
        info: what that says of itself.
    """

    arch: str
    norm: str
    path: Path
    info: ModelInfo

    @property
    def name(self) -> str:
        """Such as ``residual-in``."""
        return f"{self.arch}-{self.norm}"

    def load(self) -> Generator:
        """The network, ready to stylize."""
        generator, _ = load_model(str(self.path))
        if self.norm == BATCH:
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
        arms += _as_arms(arch, norm, path)
    return arms


def trained_arms(
    config: CompareConfig,
    folder: ComparisonFolder,
    report: Report,
    should_stop: Callable[[], bool],
) -> list[Arm] | None:
    """The arms of a painting, from the comparison's folder; what is missing is trained.

    All have the same painting, photos, order, batch, objective, seed and budget, and start from
    scratch.

    Args:
        config: the comparison.
        folder: its folder, claimed.
        report: told of the trainings.
        should_stop: ends them; asked again, the same comparison goes on.

    Returns:
        None if it was stopped.

    Raises:
        StyleCliError: a model that is there belongs to another painting.
    """
    paths = {pair: folder.models / f"{'-'.join(pair)}{SUFFIX}" for pair in _pairs(config)}
    there = [arm for pair, path in paths.items() if path.exists() for arm in _as_arms(*pair, path)]
    check_alike(there, folder.identity["painting"])
    arms = []
    for (arch, norm), path in paths.items():
        if path.exists():
            report(Notice(f"{path} is there already"))
        elif not _trained(config, arch, norm, folder.content(), path, report, should_stop):
            return None
        arms += _as_arms(arch, norm, path)
    return arms


def check_alike(arms: Sequence[Arm], painting_sha: str) -> None:
    """Raise StyleCliError unless all arms were trained for a painting, under equal conditions."""
    for arm in arms:
        if arm.info.training.get("paintings_sha") != painting_sha:  # or made before there was one
            raise StyleCliError(
                f"{arm.path} was trained for another painting",
                hint="remove or rename that model, or compare another style",
            )
        for key in (*_ALIKE, *_OBJECTIVE):
            one, other = arms[0].info.training.get(key), arm.info.training.get(key)
            if one != other:
                raise StyleCliError(
                    f"{arm.path} was trained with {key} {other}, and {arms[0].path} with {one}",
                    hint="arms are comparable only if they were trained alike",
                )


def objective_of(arm: Arm) -> tuple[ObjectiveConfig, dict[str, list[float]]]:
    """What an arm was trained to minimize: the settings, and their scales."""
    known = arm.info.training
    settings: dict[str, Any] = {"loss_padding": "zeros"}  # of those older than the setting
    settings |= {key: known[key] for key in _OBJECTIVE if key in known}
    settings["style_layers"] = tuple(settings["style_layers"])
    return ObjectiveConfig(**settings), known["scales"]


def _pairs(config: CompareConfig) -> list[tuple[str, str]]:
    return [(arch, norm) for arch in config.archs for norm in config.norms]


def _as_arms(arch: str, norm: str, path: Path) -> list[Arm]:
    """Batch norm is shown as what it is: with running statistics, and with the batch's own."""
    info = read_info(path)
    if (info.arch, info.norm) != (arch, norm):
        raise StyleCliError(
            f"{path} is {info.arch} with norm {info.norm}, not {arch} with {norm}",
            hint="remove or rename that model",
        )
    return [Arm(arch, one, path, info) for one in ((norm, BATCH) if norm == "bn" else (norm,))]


def _trained(
    config: CompareConfig,
    arch: str,
    norm: str,
    content: Path,
    path: Path,
    report: Report,
    should_stop: Callable[[], bool],
) -> bool:
    """Train an arm, or go on with it; tell whether it is finished."""
    shared = (*_OBJECTIVE, "seed", "precision", "steps", "minutes", "batch_size")
    settings = {name: getattr(config, name) for name in shared}
    here: dict[str, Any] = {"styles": (Path(config.style),), "output": path, "content": content}
    here["device"] = config.device
    resume = TrainFiles(path).checkpoint.exists()
    papers = {"noise": "none", "upsampling": "nearest", "activation": "relu", "init": "scratch"}
    asked = TrainConfig(**{**settings, **here, **papers}, arch=arch, norm=norm)
    return train(asked, report, should_stop, resume=resume, changes=here).finished


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
