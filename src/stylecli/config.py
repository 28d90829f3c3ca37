"""What a command can be told, and the defaults: the command line reads both from here.

No import of torch: ``stylecli --help`` shows these.
"""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from rich.markup import escape

from stylecli.errors import StyleCliError, choose_from

DEFAULT_MODEL = "starry-night"
GALLERY = "gallery"  # the bundled model of many styles; trainings start from it
LOSS_PADDINGS = ("replicate", "zeros")


def _option(default: Any, help_: str, *, may_change: bool = False) -> Any:
    return field(default=default, metadata={"help": help_, "may_change": may_change})


def help_of(config: type, name: str) -> str:
    """What a field of a config class says of itself, for a help text."""
    text = next(f.metadata["help"] for f in fields(config) if f.name == name)
    return escape(str(text))  # or rich takes [default: …] for a color


def fixed_on_resume(config: type) -> tuple[str, ...]:
    """The fields of a config class that a resume may not change: else it were another training."""
    return tuple(f.name for f in fields(config) if not f.metadata["may_change"])


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is minimized, by a training or by the slow optimization, and on what hardware.

    The loss follows Johnson et al. 2016 as in their released code: VGG-16, content at relu3_3,
    style at relu1_2, relu2_2, relu3_3 and relu4_3, content : style of 1 : 5 for The Starry
    Night, and balanced like it for every other painting. Each field says what it is.
    """

    style_size: int = _option(384, "Short side of the painting, px: larger makes larger strokes.")
    style_weight: float = _option(1.0, "More painting; 1 is balanced for each painting.")
    content_weight: float = _option(1.0, "More photo.")
    tv_weight: float = _option(0.2, "Weight of total variation: larger is smoother.")
    content_layer: str = _option("relu3_3", "Layer of the loss network for the content loss.")
    style_layers: tuple[str, ...] = _option(
        ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
        "Layers for the style loss, with commas between.",
    )
    loss_padding: str = _option(
        "replicate",
        "What the loss network sees beyond an image: replicate, its edge; or zeros, as Johnson's, "
        "for which a network fades to gray at its edges.",
    )
    loss_net: str = _option(
        "vgg16",
        "Loss network: vgg16 (bundled), vgg16-torchvision or vgg19 (downloaded), or a file.",
    )
    seed: int = _option(
        0, "Seed of everything random; with --steps, the same seed is the same result."
    )
    device: str = _option("auto", "auto, cpu, cuda, cuda:N or mps.", may_change=True)
    precision: str = _option(
        "auto",
        "auto (bfloat16 where there is hardware for it), float32 or bfloat16.",
        may_change=True,
    )

    def check(self) -> None:
        """Raise StyleCliError if a setting is of another type, or a number cannot be meant."""
        self._check_types()
        for name, least in _LEAST.items():
            given = getattr(self, name, None)
            if given is not None and not (math.isfinite(given) and given >= least):
                option = f"--{name.replace('_', '-')}"
                hint = f"it is {f'at least {least}' if least != _MORE_THAN_0 else 'more than 0'}"
                raise StyleCliError(f"{option} {given} is out of range", hint=hint)
        if self.loss_padding not in LOSS_PADDINGS:
            hint = choose_from(self.loss_padding, LOSS_PADDINGS)
            raise StyleCliError(f"unknown --loss-padding {self.loss_padding!r}", hint=hint)
        if getattr(self, "small_crops", 0) > 1:
            raise StyleCliError("--small-crops is out of range", hint="it is a share: 0 to 1")
        if getattr(self, "loss_margin", 0) > 0.4:
            raise StyleCliError("--loss-margin is out of range", hint="it is a share: 0 to 0.4")
        if getattr(self, "steps", None) and getattr(self, "minutes", None):
            raise StyleCliError("both --steps and --minutes were given", hint="choose one of them")
        if self.seed >= 2**63:
            raise StyleCliError(f"--seed {self.seed} is out of range", hint="it is below 2^63")

    def _check_types(self) -> None:
        """From Python, and from a damaged checkpoint, anything may come."""
        for name, hint in get_type_hints(type(self)).items():
            kinds = tuple(get_origin(kind) or kind for kind in get_args(hint) or (hint,))
            kinds = (tuple,) if get_origin(hint) is tuple else kinds
            given = getattr(self, name)
            whole_will_do = float in kinds and isinstance(given, int)
            if isinstance(given, bool) != (bool in kinds) or not (
                isinstance(given, kinds) or whole_will_do
            ):
                option = f"--{name.replace('_', '-')}"
                expected = " or ".join(kind.__name__ for kind in kinds)
                raise StyleCliError(f"{option} {given!r} is no {expected}", hint="see --help")


_MORE_THAN_0 = 1e-12
_LEAST: dict[str, float] = {
    "batch_size": 1,
    "size": 64,
    "style_size": 64,
    "seed": 0,
    "small_crops": 0,
    "loss_margin": 0,
    "gatys_steps": 1,
    "steps": 1,
}
_LEAST |= {"preview_every": 0, "style_weight": 0, "content_weight": 0, "tv_weight": 0}
_LEAST |= {"lr": _MORE_THAN_0, "minutes": _MORE_THAN_0}


@dataclass(frozen=True)
class TrainConfig(ObjectiveConfig):
    """One training of one generator, of one style or of several."""

    styles: tuple[Path, ...] = _option(
        (),
        "The painting: any image file; or several, for one network of many styles.",
        may_change=True,
    )
    add_style: Path | None = _option(
        None,
        "Add this painting to the model --init, whose kind and other styles stay as they are.",
        may_change=True,
    )
    output: Path | None = _option(
        None, "The model file. [default: models/NAME.safetensors]", may_change=True
    )
    content: Path | None = _option(
        None,
        "Folder of training photos, nested or flat. [default: the 24 that are bundled]",
        may_change=True,
    )
    arch: str = _option("residual", "Generator: residual (Johnson 2016) or pyramid (Ulyanov 2016).")
    norm: str = _option("in", "Norm: in (instance), bn (batch) or none.")
    noise: str = _option(
        "none",
        "none: as the papers; gaussian: fixed noise inside, for irregular strokes in flat areas.",
    )
    upsampling: str = _option(
        "nearest", "Of the residual generator: nearest, as the papers, or bilinear."
    )
    activation: str = _option("relu", "relu, or leaky_relu.")
    width: int | None = _option(
        None, "Channels of the first layer; 32 is Johnson's. [default: residual 16, pyramid 8]"
    )
    steps: int | None = _option(
        None, "Train for this many batches, in place of --minutes.", may_change=True
    )
    minutes: float | None = _option(
        None,
        "Train for this long, all told. [default: CPU 10, Apple GPU 5, CUDA 1]",
        may_change=True,
    )
    batch_size: int | None = _option(
        None, "Photos in a batch. [default: CPU 2, Apple GPU 4, CUDA 8; batch norm 4 or more]"
    )
    size: int = _option(256, "Side of the training crops, px.")
    small_crops: float = _option(
        0.67, "Share of the training that comes first and runs at half the size: it is cheap."
    )
    loss_margin: float = _option(
        0.0,
        "Share of a crop's side that the loss leaves out at its edges, at random: with 0.16, no "
        "colors gather there in a long training from scratch.",
    )
    optimizer: str = _option("muon", "muon, with Adam for what is no matrix; or adam.")
    lr: float = _option(2e-3, "Peak learning rate of Adam; Muon's is ten times as large.")
    init: str = _option(
        "auto",
        "Start from this trained model; auto: a bundled one, if it fits; or scratch.",
        may_change=True,
    )
    preview_every: int = _option(
        100, "Steps between preview pictures; 0: only one, at the end.", may_change=True
    )
    license: str = _option(
        "", "A line stored in the model: who may do what with it.", may_change=True
    )

    @property
    def paintings(self) -> tuple[Path, ...]:
        """What is learned: the styles, or the one that is added to a model."""
        return (self.add_style,) if self.add_style else self.styles

    def check(self) -> None:
        """Raise StyleCliError if the settings cannot be meant."""
        super().check()
        if not self.paintings:
            raise StyleCliError("no painting was given", hint="stylecli train STYLE")
        if self.add_style and (self.styles or self.init in ("auto", "scratch")):
            raise StyleCliError(
                "--add-style adds one painting to a trained model, and to nothing else",
                hint=f"stylecli train --add-style {self.add_style} --init MODEL",
            )


@dataclass(frozen=True)
class GatysConfig(ObjectiveConfig):
    """One slow optimization of one picture."""

    style: Path = _option(None, "The painting: any image file.")
    steps: int = _option(300, "Steps of the optimizer.")
    size: int = _option(512, "Long side of the picture, px: the photo is scaled down to it.")
    optimizer: str = _option("lbfgs", "lbfgs, as in the paper, or adam.")
    lr: float = _option(0.02, "Learning rate of adam.")
    start: str = _option("photo", "Start from the photo, or from noise.")
    precision: str = _option("float32", "float32, auto or bfloat16, too rough for L-BFGS.")
    preview_every: int = _option(50, "Steps between writing the best picture so far; 0: never.")


@dataclass(frozen=True)
class StylizeConfig:
    """How photos are read, painted and written."""

    strength: float = _option(1.0, "0 to 1: how much of the painting, mixed with the photo.")
    preserve_color: bool = _option(False, "Keep the photo's colors; take light and dark only.")
    max_size: int | None = _option(None, "Scale larger photos down to this long side, px, first.")
    format: str | None = _option(None, "Write all as jpg, png, webp … [default: as the photo]")
    steady: float = _option(
        0.0, "0 to 0.95: of videos and animations, how much stays where nothing moves."
    )
    suffix: str = _option("", "Added to each name, before its ending; for example -painted.")
    quality: int = _option(95, "Of JPEG, WebP, AVIF, HEIC and videos, 1 to 100.")
    strip_metadata: bool = _option(False, "Leave EXIF out: no place, no date, no camera.")
    max_pixels: int = _option(200_000_000, "Refuse to open images of more pixels than this.")

    def check(self) -> None:
        """Raise StyleCliError if a number cannot be meant."""
        ranges: dict[str, tuple[float, float]] = {"strength": (0, 1), "steady": (0, 0.95)}
        ranges |= {"quality": (1, 100), "max_pixels": (1, 10**12)}
        ranges |= {"max_size": (16, 10**6)} if self.max_size is not None else {}
        for name, (least, most) in ranges.items():
            given = getattr(self, name)
            if not least <= given <= most:
                option = f"--{name.replace('_', '-')}"
                hint = f"it is from {least} to {most}"
                raise StyleCliError(f"{option} {given} is out of range", hint=hint)
        if "/" in self.suffix or "\\" in self.suffix:
            raise StyleCliError(f"--suffix {self.suffix!r} holds a slash", hint="such as: -painted")


@dataclass(frozen=True)
class CompareConfig(ObjectiveConfig):
    """One comparison of norms and architectures on the same photos."""

    photos: tuple[Path, ...] = _option(
        (), "Photos and folders to compare on. [default: four that are bundled]"
    )
    style: str = _option(
        DEFAULT_MODEL, "starry-night, whose arms are bundled; or a painting, to train arms for."
    )
    norms: tuple[str, ...] = _option(("bn", "in"), "Norms to compare, by commas: bn, in, none.")
    archs: tuple[str, ...] = _option(("residual",), "Generators, by commas: residual, pyramid.")
    gatys: bool = _option(False, "Also optimize each photo the slow way, for reference.")
    gatys_steps: int = _option(100, "Steps of L-BFGS for --gatys.")
    size: int = _option(384, "Long side at which the photos are compared, px.")
    out: Path = _option(Path("comparison"), "The folder to write.")
    steps: int | None = _option(None, "Train each missing arm for this many batches.")
    minutes: float | None = _option(
        None, "Train each missing arm for this long. [default: CPU 10, Apple GPU 5, CUDA 1]"
    )
    batch_size: int = _option(
        4, "Photos in a batch, at least 4: of 1, batch norm is instance norm."
    )
    content: Path | None = _option(
        None, "Folder of training photos. [default: the bundled ones that are not compared on]"
    )
    precision: str = _option("auto", "Of the training; pictures are compared in float32.")

    def check(self) -> None:
        """Raise StyleCliError if the settings cannot be meant."""
        super().check()
        if self.batch_size < 4:
            raise StyleCliError(
                f"--batch-size {self.batch_size} is too small for batch norm",
                hint="at 1 it is instance norm: pass at least 4",
            )
