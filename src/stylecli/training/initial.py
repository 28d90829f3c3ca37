"""The network that a training begins with: a new one, or a trained one turned to new paintings."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stylecli.config import GALLERY, TrainConfig
from stylecli.core.generators import Generator, build_generator
from stylecli.core.losses import PerceptualObjective
from stylecli.core.model_files import (
    SUFFIX,
    ModelInfo,
    bundled_models,
    find_model,
    load_generator,
    read_info,
)
from stylecli.core.spec import GeneratorSpec
from stylecli.core.tensors import to_tensor
from stylecli.errors import StyleCliError
from stylecli.files.content import ContentPhotos
from stylecli.training.files import style_name

_TRIAL_PHOTOS = 4
_KIND = ("arch", "norm", "noise", "upsampling", "activation")  # and width, which has a default


@dataclass(frozen=True)
class Start:
    """A network to train, and what of it.

    Attributes:
        generator: with a row of scales and shifts for each style.
        styles: their names.
        first_row: of the styles that are trained; those before it were there, and stay.
        origin: where the weights come from: ``scratch``, or a model's name.
        license: of the model that a style is added to.
    """

    generator: Generator
    styles: list[str]
    first_row: int
    origin: str
    license: str = ""

    def trainable(self) -> list[nn.Parameter]:
        """All parameters; or, where a style is added, only its own scales and shifts."""
        if not self.first_row:
            return list(self.generator.parameters())
        self.generator.requires_grad_(False)
        tables = [table for _, table in self.generator.tables()]
        for table in tables:
            table.requires_grad_(True)
            table.register_hook(self._without_old_rows)  # type: ignore[no-untyped-call]
        return tables

    def _without_old_rows(self, gradient: Tensor) -> Tensor:
        """The gradient with zeros for the styles that stay as they are."""
        kept = gradient.clone()
        kept[: self.first_row] = 0
        return kept

    def metadata(self) -> dict[str, Any]:
        """What :meth:`restored` needs."""
        return {
            "spec": asdict(self.generator.spec),
            "style_names": self.styles,
            "first_row": self.first_row,
            "origin": self.origin,
            "base_license": self.license,
        }

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> "Start":
        """From :meth:`metadata`; the weights are still to be loaded."""
        styles = saved["style_names"]
        generator = build_generator(GeneratorSpec(**saved["spec"]))
        generator.remix(torch.ones(len(styles), 1))
        first_row, origin = saved["first_row"], saved["origin"]
        return cls(generator, styles, first_row, origin, saved["base_license"])


def check_start(config: TrainConfig) -> None:
    """Before anything is computed: refuse what a training cannot start from.

    Raises:
        StyleCliError: no such model, one of another kind, a network that cannot be built, or two
            paintings of one name.
    """
    names = [style_name(path) for path in config.paintings]
    path = _trained(config)
    if path is None:
        _new(config, len(names))
    elif config.add_style:
        names = read_info(path).styles + names
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
    """Where a training starts from, by its settings.

    Args:
        config: names a trained model, ``auto`` or ``scratch``; :func:`check_start` accepted it.
        objective: for its paintings, balanced: of a model with several styles, each painting
            starts from the style that suits it best.
        photos: for that trial.
        device: for that trial.
    """
    names = [style_name(path) for path in config.paintings]
    path = _trained(config)
    if path is None:
        return Start(_new(config, len(names)), names, 0, "scratch")
    generator, info = load_generator(path), read_info(path)
    if config.init in info.styles:
        one = torch.eye(generator.styles)[info.styles.index(config.init)]
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
    torch.manual_seed(config.seed)
    kind = {name: getattr(config, name) for name in _KIND}
    return build_generator(GeneratorSpec(**kind, width=config.width)).remix(torch.ones(styles, 1))


def _trained(config: TrainConfig) -> Path | None:
    """The file of the model to start from; None is from scratch."""
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
            hint=f"pass {' '.join(f'--{name} {value}' for name, value in has)}",
        )
    return path


def _fits(config: TrainConfig, info: ModelInfo) -> bool:
    same = all(getattr(config, name) == getattr(info, name) for name in _KIND)
    return same and config.width in (None, info.width)


@torch.no_grad()
def _nearest(generator: Generator, objective: PerceptualObjective, photos: Tensor) -> Tensor:
    """For each painting, which style of a trained generator has the least loss: (K, S)."""
    if generator.styles == 1:
        return torch.ones(len(objective.scales["style"]), 1)
    content = objective.content_target(photos)
    paintings = range(len(objective.scales["style"]))
    losses = torch.empty(len(paintings), generator.styles)
    rows = torch.eye(generator.styles)
    for s in range(generator.styles):
        stylized = generator.of_style(rows[s])(photos)
        for k in paintings:
            losses[k, s] = objective(stylized, content, [k])["total"]
    return rows[losses.argmin(1)]
