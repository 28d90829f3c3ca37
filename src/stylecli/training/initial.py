"""The network that a training begins with: a new one, or a trained one for new style images."""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from stylecli.config import GALLERY, GeneratorConfig, TrainConfig
from stylecli.core.generators import Generator
from stylecli.core.model_files import (
    ModelInfo,
    bundled_models,
    find_model,
    load_generator,
    read_info,
)
from stylecli.core.model_names import match_name, style_name
from stylecli.core.objective import PerceptualObjective
from stylecli.core.schema import MAX_STYLES
from stylecli.core.spec import GeneratorSpec
from stylecli.core.tensor_files import SUFFIX
from stylecli.core.tensors import to_tensor
from stylecli.errors import StyleCliError
from stylecli.files.content import ContentPhotos

_TRIAL_PHOTOS = 4
# Of the generator; its width, which has a default of its own, is compared apart.
_KIND = tuple(one.name for one in fields(GeneratorConfig) if one.name != "width")


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

    def trained_parameters(self) -> list[nn.Parameter]:
        """All parameters; or, where a style is added, the tables that it has a row in."""
        if self.first_row:
            return [table for _, table in self.generator.tables()]
        return list(self.generator.parameters())

    def freeze_the_rest(self) -> None:
        """Let a training change nothing else, and no row of a style that is kept."""
        trained = self.trained_parameters()
        self.generator.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
            if self.first_row:
                parameter.register_hook(self._without_kept_rows)  # type: ignore[no-untyped-call]

    def _without_kept_rows(self, gradient: Tensor) -> Tensor:
        """The gradient with zeros for the styles that are kept."""
        changed = gradient.clone()
        changed[: self.first_row] = 0
        return changed


def check_start(config: TrainConfig) -> None:
    """Refuse, before anything is computed, what a training cannot start from.

    Raises:
        StyleCliError: no such model, one of another kind, a network that cannot be built, too
            many style images, or two of one name.
    """
    names = [style_name(path) for path in config.paintings]
    path = _trained(config)
    if path is None:
        _new(config, len(names))
    elif config.add_style:
        names = read_info(path).styles + names
    if len(names) > MAX_STYLES:
        raise StyleCliError(
            f"a model of {len(names)} styles, and the most is {MAX_STYLES}",
            hint="train several models, each of some of the paintings",
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise StyleCliError(
            f"two styles are named {', '.join(sorted(twice))}",
            hint="rename one of the paintings: a style is called by its file",
        )


def first_start(
    config: TrainConfig,
    objective: PerceptualObjective,
    photos: ContentPhotos,
    device: torch.device,
) -> Start:
    """The network that a new training starts with.

    Args:
        config: names a trained model, ``auto`` or ``scratch``; :func:`check_start` accepted it.
        objective: of this training. If the trained model has several styles, each style image
            starts from the one with the least loss.
        photos: to compute that loss on.
        device: to compute it with.
    """
    names = [style_name(path) for path in config.paintings]
    path = _trained(config)
    if path is None:
        return Start(_new(config, len(names)), names, 0, "scratch")
    generator, info = load_generator(path), read_info(path)
    if named := match_name(config.init, info.styles):
        one = torch.eye(generator.styles)[info.styles.index(named)]
        mixes = one.expand(len(names), -1)
    else:
        sample = photos.batch(0, _TRIAL_PHOTOS, config.size // 2)
        mixes = _nearest(generator.to(device), objective, to_tensor(sample, device))
    if config.add_style is None:
        return Start(generator.remix(mixes), names, 0, info.name)
    kept = torch.eye(generator.styles)
    generator.remix(torch.cat([kept, mixes]))
    return Start(generator, info.styles + names, len(kept), info.name, info.license)


def _new(config: TrainConfig, styles: int) -> Generator:
    """A network with random weights, the same for the same seed."""
    torch.manual_seed(config.seed)
    kind = {name: getattr(config, name) for name in _KIND}
    return Generator(GeneratorSpec(**kind, width=config.width)).remix(torch.ones(styles, 1))


def _trained(config: TrainConfig) -> Path | None:
    """The file of the model to start from; None means from scratch."""
    if config.init == "scratch":
        return None
    if config.init == "auto":
        bundled = bundled_models() / f"{GALLERY}{SUFFIX}"
        return bundled if bundled.is_file() and _fits(config, read_info(bundled)) else None
    path = find_model(config.init)
    info = read_info(path)
    if config.add_style and info.norm != "in":
        raise StyleCliError(
            f"{config.init} has norm {info.norm}, and only instance norm can hold several styles",
            hint="train a model of its own: leave --add-style and --init out",
        )
    if not (_fits(config, info) or config.add_style):
        names = (*_KIND, "width")
        asked = ", ".join(f"{name} {getattr(config, name) or info.width}" for name in names)
        has = [(name, getattr(info, name)) for name in names]
        raise StyleCliError(
            f"--init {config.init} has {', '.join(f'{name} {value}' for name, value in has)}; "
            f"asked for: {asked}",
            hint=f"pass {shlex.join(f'--{name}={value}' for name, value in has)}",
        )
    return path


def _fits(config: TrainConfig, info: ModelInfo) -> bool:
    """Whether a model has the kind of network that is asked for."""
    same = all(getattr(config, name) == getattr(info, name) for name in _KIND)
    return same and config.width in (None, info.width)


@torch.no_grad()
def _nearest(generator: Generator, objective: PerceptualObjective, photos: Tensor) -> Tensor:
    """Which style of a trained generator has the least loss, for each style image.

    Returns:
        (K, S): for each of K style images a row that is 1 at one of S styles, and 0 elsewhere.
    """
    count = len(objective.scales.style)
    if generator.styles == 1:
        return torch.ones(count, 1)
    content = objective.content_target(photos)
    losses = torch.empty(count, generator.styles)
    rows = torch.eye(generator.styles)
    for s in range(generator.styles):
        stylized = generator.of_style(rows[s])(photos)
        features = objective.features(stylized)
        for k in range(count):
            losses[k, s] = objective.terms(stylized, features, content, [k])["total"]
    return rows[losses.argmin(1)]
