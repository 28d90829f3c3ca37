"""The arms of a comparison, the networks compared: found by name, or trained alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylecli.comparison.folder import FIXED, ComparisonFolder, find_networks
from stylecli.config import CompareConfig, ObjectiveConfig, TrainConfig
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, load_model, read_info
from stylecli.core.spec import Arch, GeneratorSpec, Norm
from stylecli.core.tensor_files import SUFFIX
from stylecli.core.torch_layers import use_batch_statistics
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Report
from stylecli.options import from_json, options_of
from stylecli.training.loop import train
from stylecli.training.outputs import TrainFiles

BATCH = "bn-batch"

_COMPARED = ("arch", "norm")
# The settings of a generator that are not compared; those of a training in which arms may differ;
# and the others, which arms share.
GENERATOR = tuple(one.name for one in fields(GeneratorSpec) if one.name not in _COMPARED)
_FREE = {"styles", "add_style", "output", "content", "license", "device"}
SHARED = tuple(
    one.name for one in options_of(TrainConfig) if one.name not in {*_FREE, *_COMPARED, *GENERATOR}
)


class StoppedError(Exception):
    """The user asked to stop."""


@dataclass(frozen=True)
class Arm:
    """A network that is compared: one column of a comparison.

    Attributes:
        arch: of the generator.
        norm: ``in``, ``none``, ``bn`` (with running statistics) or ``bn-batch`` (the same
            network with the statistics of the batch at hand).
        path: its model file.
        info: the description in that file.
    """

    arch: str
    norm: str
    path: Path
    info: ModelInfo

    @property
    def name(self) -> str:
        """Such as ``residual-in``."""
        return f"{self.arch}-{self.norm}"

    @property
    def generator(self) -> dict[str, Any]:
        """The settings of its generator that are not compared: name to value."""
        return {key: getattr(self.info.spec, key) for key in GENERATOR}

    def load(self) -> Generator:
        """The network, ready to stylize."""
        generator, _ = load_model(str(self.path))
        if self.norm == BATCH:
            use_batch_statistics(generator)
        return generator


def find_arms(config: CompareConfig) -> list[Arm]:
    """The arms of a style whose networks are bundled, or found by name; [] if it has none.

    Raises:
        StyleCliError: a model is missing, or is not what its name says.
    """
    networks = find_networks(config.style)
    arms = []
    for pair in _pairs(config) if networks else []:
        if pair not in networks:
            there = ", ".join(sorted(map("-".join, networks)))
            raise StyleCliError(
                f"{config.style} has no network {'-'.join(pair)}",
                hint=f"it has {there}; to train one, pass a painting's file: --style PAINTING.jpg",
            )
        arms += _read_arms(*pair, networks[pair])
    return arms


def train_arms(
    folder: ComparisonFolder, report: Report, should_stop: Callable[[], bool]
) -> list[Arm]:
    """The arms of a painting, from the folder of the comparison; missing ones are trained.

    All have the same painting, photos in the same order, batch size, objective, seed and time, and
    start from scratch.

    Raises:
        StyleCliError: a model in the folder was trained for another painting, or in another way.
        StoppedError: the user asked to stop; a later run goes on with the training.
    """
    paths = {pair: folder.models / f"{'-'.join(pair)}{SUFFIX}" for pair in _pairs(folder.config)}
    there = [_read_arms(*pair, path)[0] for pair, path in paths.items() if path.exists()]
    check_alike(there, folder.identity["painting"])
    arms = []
    for (arch, norm), path in paths.items():
        if path.exists():
            report(Notice(f"{path} is there already"))
        elif not _train_arm(folder, arch, norm, path, report, should_stop):
            raise StoppedError
        arms += _read_arms(arch, norm, path)
    return arms


def check_alike(arms: Sequence[Arm], painting_sha256: str) -> None:
    """Raise StyleCliError unless all arms were trained for one painting, under equal conditions.

    Their generators differ in norm and architecture alone; each architecture has a width of its
    own.
    """
    for arm in arms:
        if arm.info.training.get("paintings_sha") != painting_sha256:
            raise StyleCliError(
                f"{arm.path} was trained for another painting",
                hint="remove or rename that model, or compare another style",
            )
        for key in ("content_photos", "scales", *SHARED, *GENERATOR):
            like = next(one for one in arms if key != "width" or one.arch == arm.arch)
            ours, theirs = ({**a.info.training, **a.generator}.get(key) for a in (arm, like))
            if ours != theirs:
                raise StyleCliError(
                    f"{arm.path} was trained with {key} {ours}, and {like.path} with {theirs}",
                    hint="networks are comparable only if they differ in nothing but norm and "
                    "architecture",
                )


def read_objective(arm: Arm, loss_net: str) -> tuple[ObjectiveConfig, dict[str, list[float]]]:
    """The objective that an arm was trained on: its settings, and its scales.

    Args:
        arm: a model from anywhere: its file does not decide what is opened or downloaded.
        loss_net: name or file of the loss network; the model has to name the same.

    Raises:
        StyleCliError: the model states no objective, an unknown one, or another loss network.
    """
    known = arm.info.training
    stated = [*(one.name for one in fields(ObjectiveConfig)), "scales"]
    missing = [key for key in stated if key not in known]
    if missing:
        raise StyleCliError(
            f"{arm.path} does not say what it was trained to minimize: {' and '.join(missing)}",
            hint="remove or rename that model",
        )
    if (count := len(known["scales"]["style"])) != 1:
        raise StyleCliError(
            f"{arm.path} has the scales of {count} paintings, and an arm has one",
            hint="remove or rename that model",
        )
    objective = from_json(ObjectiveConfig, known)
    if Path(objective.loss_net).name != Path(loss_net).name:
        raise StyleCliError(
            f"{arm.path} was trained against the loss network {objective.loss_net}, not {loss_net}",
            hint="remove or rename that model; for an own painting, --loss-net is that of training",
        )
    objective = replace(objective, loss_net=loss_net)
    try:
        objective.check()
    except StyleCliError as error:
        raise StyleCliError(
            f"{arm.path} was trained to minimize what is not known: {error.message}",
            hint="remove or rename that model",
        ) from error
    return objective, known["scales"]


def _pairs(config: CompareConfig) -> list[tuple[Arch, Norm]]:
    return [(arch, norm) for arch in config.archs for norm in config.norms]


def _read_arms(arch: str, norm: str, path: Path) -> list[Arm]:
    """The arms of a model; one with batch norm has two, with running or with batch statistics."""
    info = read_info(path)
    if (info.spec.arch, info.spec.norm) != (arch, norm):
        raise StyleCliError(
            f"{path} is {info.spec.arch} with norm {info.spec.norm}, not {arch} with {norm}",
            hint="remove or rename that model",
        )
    return [Arm(arch, one, path, info) for one in ((norm, BATCH) if norm == "bn" else (norm,))]


def _train_arm(
    folder: ComparisonFolder,
    arch: Arch,
    norm: Norm,
    path: Path,
    report: Report,
    should_stop: Callable[[], bool],
) -> bool:
    """Train an arm, or go on with its training; return whether it is finished."""
    config, checkpoint = folder.config, TrainFiles(path).checkpoint
    settings = {name: getattr(config, name) for name in FIXED}
    here: dict[str, Any] = {"styles": (Path(config.style),), "output": path}
    here |= {"content": folder.content(), "device": config.device}
    as_in_paper: dict[str, Any] = {"recipe": "paper", "init": "scratch"}
    asked = TrainConfig(**{**settings, **here, **as_in_paper}, arch=arch, norm=norm)
    try:
        return train(asked, report, should_stop, resume=checkpoint.exists(), changes=here).finished
    except StyleCliError as error:
        raise _advise(error, f"{arch}-{norm}", checkpoint) from error


def _advise(error: StyleCliError, arm: str, checkpoint: Path) -> StyleCliError:
    """The error of a training, with a hint that names options of ``compare``."""
    hint = error.hint
    if "--" in hint:
        hint = "the same command goes on; if memory ran out, pass a smaller --batch-size"
        if checkpoint.exists():
            hint += f"; to begin this network again, remove {checkpoint}"
    return StyleCliError(f"{arm}: {error.message}", hint=hint, exit_code=error.exit_code)


@torch.no_grad()
def paint(generator: Generator, companions: Tensor | None, photos: Tensor) -> Tensor:
    """Stylize photos (N, 3, H, W) RGB in [0, 1], clipped to [0, 1] as in a file.

    Args:
        generator: of one style.
        companions: (M, 3, H, W), which are in the batch too and left out of the result.
        photos: the photos.
    """
    batch = photos if companions is None else torch.cat([photos, companions])
    return generator(batch)[: len(photos)].clamp(0, 1)  # type: ignore[no-any-return]
