"""The arms of a comparison: which networks, where their models are, training what is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from stylecli.comparison.folder import ComparisonFolder
from stylecli.config import CompareConfig, ObjectiveConfig, TrainConfig, fixed_on_resume
from stylecli.core.choices import Arch, Norm
from stylecli.core.generators import Generator
from stylecli.core.model_files import (
    SUFFIX,
    ModelInfo,
    bundled_models,
    list_models,
    load_model,
    model_folders,
    read_info,
)
from stylecli.core.norms import use_batch_statistics
from stylecli.core.spec import GeneratorSpec
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Report
from stylecli.options import alike_in_arms
from stylecli.training.files import TrainFiles
from stylecli.training.loop import train

BATCH = "bn-batch"

_COMPARED = ("arch", "norm")
# Settings of the generator that are not compared; trainings of arms share all else.
GENERATOR = tuple(one.name for one in fields(GeneratorSpec) if one.name not in _COMPARED)
SHARED = tuple(name for name in alike_in_arms(TrainConfig) if name not in (*_COMPARED, *GENERATOR))
_OBJECTIVE = tuple(one.name for one in fields(ObjectiveConfig))


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

    @property
    def generator(self) -> dict[str, Any]:
        """The settings of its generator that are not compared: name to value."""
        return {key: getattr(self.info, key) for key in GENERATOR}

    def load(self) -> Generator:
        """The network, ready to stylize."""
        generator, _ = load_model(str(self.path))
        if self.norm == BATCH:
            use_batch_statistics(generator)
        return generator


def bundled_arms(config: CompareConfig) -> list[Arm]:
    """The arms of a style that is bundled or found by name.

    Raises:
        StyleCliError: a model is missing, or is not what its name says.
    """
    arms = []
    for arch, norm in _pairs(config):
        file = f"{config.style}-{arch}-{norm}{SUFFIX}"
        path = next((one / file for one in model_folders() if (one / file).is_file()), None)
        if path is None:
            raise _missing(config.style, f"{arch}-{norm}")
        arms += _as_arms(arch, norm, path)
    return arms


def _missing(style: str, arm: str) -> StyleCliError:
    names = [f"{arch}-{norm}" for arch in get_args(Arch) for norm in get_args(Norm)]
    every = {f"{style}-{name}": name for name in names}
    there = sorted({every[path.stem] for path, _ in list_models() if path.stem in every})
    has = f"it has {', '.join(there)}" if there else "it has none"
    return StyleCliError(
        f"{style} has no arm {arm}",
        hint=f"{has}; to train any, pass a painting's file: --style PAINTING.jpg",
    )


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
    """Raise StyleCliError unless all arms were trained for a painting, under equal conditions.

    The arms that ship may differ in settings of the generator, of which the report tells: the
    paper's own pyramid did.
    """
    for arm in arms:
        if arm.info.training.get("paintings_sha") != painting_sha:  # or made before there was one
            raise StyleCliError(
                f"{arm.path} was trained for another painting",
                hint="remove or rename that model, or compare another style",
            )
        for key in ("paintings_sha", "content_photos", "scales", *SHARED):
            one, other = arms[0].info.training.get(key), arm.info.training.get(key)
            if one != other:
                raise StyleCliError(
                    f"{arm.path} was trained with {key} {other}, and {arms[0].path} with {one}",
                    hint="arms are comparable only if they were trained alike",
                )
    bundled = bundled_models().resolve()
    if any(arm.path.resolve().parent != bundled for arm in arms):
        _check_generators(arms)


def _check_generators(arms: Sequence[Arm]) -> None:
    """Raise StyleCliError unless the generators differ in nothing but what is compared."""
    for arm in arms:
        for key in GENERATOR:
            # Each architecture has a width of its own.
            like = next(a for a in arms if key != "width" or a.arch == arm.arch)
            one, other = getattr(like.info, key), getattr(arm.info, key)
            if one != other:
                raise StyleCliError(
                    f"the generator of {arm.path} has {key} {other}, and that of {like.path} has "
                    f"{key} {one}",
                    hint="arms are comparable only if they differ in nothing but norm and "
                    "architecture",
                )


def shared_and_different(values: Mapping[str, Mapping[str, object]]) -> tuple[str, list[str]]:
    """Settings of several arms in words: those that all share, and a line for each other one.

    Args:
        values: the name of each arm to its settings, name to value.
    """
    shared, different = [], []
    for key in next(iter(values.values())):
        names: dict[str, list[str]] = {}
        for arm, settings in values.items():
            names.setdefault(str(settings[key]), []).append(arm)
        if len(names) == 1:
            shared.append(f"{key.replace('_', ' ')} {next(iter(names))}")
        else:
            each = [f"{value} in {', '.join(some)}" for value, some in names.items()]
            different.append(f"{key.replace('_', ' ')}: {'; '.join(each)}")
    return ", ".join(shared), different


def objective_of(arm: Arm) -> tuple[ObjectiveConfig, dict[str, list[float]]]:
    """What an arm was trained to minimize: the settings, and their scales."""
    known = arm.info.training
    missing = [key for key in ("style_layers", "scales") if key not in known]
    if missing:
        raise StyleCliError(
            f"{arm.path} does not say what it was trained to minimize: {' and '.join(missing)}",
            hint="remove or rename that model",
        )
    settings: dict[str, Any] = {"loss_padding": "zeros"}  # of those older than the setting
    settings |= {key: known[key] for key in _OBJECTIVE if key in known}
    settings["style_layers"] = tuple(settings["style_layers"])
    return ObjectiveConfig(**settings), known["scales"]


def _pairs(config: CompareConfig) -> list[tuple[Arch, Norm]]:
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
    arch: Arch,
    norm: Norm,
    content: Path,
    path: Path,
    report: Report,
    should_stop: Callable[[], bool],
) -> bool:
    """Train an arm, or go on with it; tell whether it is finished."""
    settings = {name: getattr(config, name) for name in fixed_on_resume(CompareConfig)}
    here: dict[str, Any] = {"styles": (Path(config.style),), "output": path, "content": content}
    here["device"] = config.device
    resume = TrainFiles(path).checkpoint.exists()
    papers: dict[str, Any] = {"noise": "none", "upsampling": "nearest", "activation": "relu"}
    papers |= {"loss_margin": 0.0, "init": "scratch"}
    asked = TrainConfig(**{**settings, **here, **papers}, arch=arch, norm=norm)
    try:
        return train(asked, report, should_stop, resume=resume, changes=here).finished
    except StyleCliError as error:
        raise _in_our_options(error, f"{arch}-{norm}", TrainFiles(path).checkpoint) from error


def _in_our_options(error: StyleCliError, arm: str, checkpoint: Path) -> StyleCliError:
    """What a training complains of, without the advice that names options of `train`."""
    hint = error.hint
    if "--" in hint:
        hint = "the same command goes on; if memory ran out, pass a smaller --batch-size"
        if checkpoint.exists():
            hint += f"; to begin this arm again, remove {checkpoint}"
    return StyleCliError(f"{arm}: {error.message}", hint=hint, exit_code=error.exit_code)


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
