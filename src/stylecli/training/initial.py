"""The network that a training begins with: a new one, or a trained one for new style images."""

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylecli.config import GALLERY, TrainConfig
from stylecli.core.generators import Generator
from stylecli.core.model_files import (
    ModelInfo,
    bundled_models,
    find_model,
    load_generator,
    match_name,
    read_info,
    style_name,
)
from stylecli.core.schema import MAX_STYLES
from stylecli.core.spec import GeneratorConfig
from stylecli.core.tensor_files import SUFFIX
from stylecli.errors import StyleCliError
from stylecli.training.schedule import spec_of

_OPTIONS = tuple(one.name for one in fields(GeneratorConfig))


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
        """Give no gradient to other parameters, nor to the rows of styles that are kept."""
        if not self.first_row:
            return
        trained = self.trained_parameters()
        self.generator.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
            parameter.register_hook(self._clear_kept_rows)  # type: ignore[no-untyped-call]

    def _clear_kept_rows(self, gradient: Tensor) -> Tensor:
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
    path = _find_trained(config)
    if path is None:
        _build_new(config, len(names))
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


def make_start(config: TrainConfig) -> Start:
    """Make the network that a new training starts with.

    Args:
        config: names a trained model, ``auto`` or ``scratch``; :func:`check_start` accepted it.
    """
    names = [style_name(path) for path in config.paintings]
    path = _find_trained(config)
    if path is None:
        return Start(_build_new(config, len(names)), names, 0, "scratch")
    generator, info = load_generator(path), read_info(path)
    mixes = torch.tensor([_choose_mix(config.init, name, info.styles) for name in names])
    if config.add_style is None:
        return Start(generator.remix(mixes), names, 0, info.name)
    kept = torch.eye(generator.styles)
    generator.remix(torch.cat([kept, mixes]))
    return Start(generator, info.styles + names, len(kept), info.name, info.license)


def _choose_mix(init: str, name: str, known: list[str]) -> list[float]:
    """The shares of a trained model's styles that a painting starts from.

    That is the style that ``init`` names, or else the one of the painting's own name, or else the
    mean of all.
    """
    for wanted in (init, name):
        if found := match_name(wanted, known):
            return [float(one == found) for one in known]
    return [1 / len(known)] * len(known)


def _build_new(config: TrainConfig, styles: int) -> Generator:
    """A network with random weights, the same for the same seed."""
    torch.manual_seed(config.seed)
    return Generator(spec_of(config)).remix(torch.ones(styles, 1))


def _find_trained(config: TrainConfig) -> Path | None:
    """The file of the model to start from; None means from scratch."""
    if config.init == "scratch":
        return None
    if config.init == "auto":
        bundled = bundled_models() / f"{GALLERY}{SUFFIX}"
        return bundled if bundled.is_file() and _is_like_new(config, read_info(bundled)) else None
    path = find_model(config.init)
    info = read_info(path)
    if config.add_style and info.spec.norm != "in":
        raise StyleCliError(
            f"{config.init} has norm {info.spec.norm}, and only instance norm can hold several "
            "styles",
            hint="train a model of its own: leave --add-style and --init out",
        )
    if not (_fits(config, info) or config.add_style):
        has = {name: getattr(info.spec, name) for name in _OPTIONS}
        asked = {name: getattr(config, name) or has[name] for name in _OPTIONS}
        raise StyleCliError(
            f"--init {config.init} has {_list(has)}; asked for: {_list(asked)}",
            hint=f"pass {shlex.join(f'--{name}={value}' for name, value in has.items())}",
        )
    return path


def _list(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _fits(config: TrainConfig, info: ModelInfo) -> bool:
    """Whether a model's network has what the options ask for; the recipe's part may differ."""
    pairs = ((getattr(config, name), getattr(info.spec, name)) for name in _OPTIONS)
    return all(asked in (None, has) for asked, has in pairs)


def _is_like_new(config: TrainConfig, info: ModelInfo) -> bool:
    """Whether a model's network is the one that a training from scratch would have."""
    return _fits(config, info) and replace(spec_of(config), width=info.width) == info.spec
