"""What a command can be told: every option once, with all that is said of it.

No import of torch: ``stylecli --help`` shows these.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from stylecli.core import choices
from stylecli.core.schema import MAX_WIDTH
from stylecli.errors import StyleCliError
from stylecli.options import check_options, option

DEFAULT_MODEL = "starry-night"
GALLERY = "gallery"  # the bundled model of many styles; trainings start from it

# A resume may change it, and arms of a comparison may differ in it.
FREE = {"may_change": True, "alike": False}
# Panels of the help; an option is in that of its class, unless it names another.
RUN, NETWORK, OBJECTIVE = "Run", "Network", "Objective"
TRAINING = "Training of what is missing"


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is minimized, by a training or by the slow optimization.

    The loss follows Johnson et al. 2016 as in their released code: VGG-16, content at relu3_3,
    style at relu1_2, relu2_2, relu3_3 and relu4_3, content : style of 1 : 5 for The Starry
    Night, and balanced like it for every other painting. Each field says what it is.
    """

    PANEL: ClassVar[str] = OBJECTIVE

    style_size: int = option(
        384,
        "Short side of the painting, px: larger makes larger strokes, for every photo; stylize "
        "--stroke-size does so for one.",
        least=64,
    )
    style_weight: float = option(1.0, "More painting; 1 is balanced for each painting.", least=0)
    content_weight: float = option(1.0, "More photo.", least=0)
    tv_weight: float = option(0.2, "Weight of total variation: larger is smoother.", least=0)
    content_layer: str = option("relu3_3", "Layer of the loss network for the content loss.")
    style_layers: tuple[str, ...] = option(
        ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
        "Layers for the style loss, with commas between.",
    )
    loss_padding: choices.LossPadding = option(
        "replicate",
        "What the loss network sees beyond an image: its edge, or zeros, as Johnson's, for "
        "which a network fades to gray at its edges.",
    )
    loss_net: str = option(
        "vgg16",
        "Loss network: vgg16 (bundled), vgg16-torchvision or vgg19 (downloaded), or a file.",
    )

    def check(self) -> None:
        """Raise StyleCliError if a setting cannot be meant."""
        check_options(self)


@dataclass(frozen=True)
class ComputeConfig(ObjectiveConfig):
    """And how it is computed."""

    PANEL: ClassVar[str] = RUN

    seed: int = option(
        0,
        "Seed of everything random; with --steps, the same seed is the same result.",
        least=0,
        most=2**63 - 1,
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.", **FREE)
    precision: choices.Precision = option(
        "auto", "auto: bfloat16 where there is hardware for it.", may_change=True
    )


@dataclass(frozen=True)
class GeneratorConfig:
    """The generator that is trained, as :class:`stylecli.core.spec.GeneratorSpec` has it."""

    PANEL: ClassVar[str] = NETWORK

    arch: choices.Arch = option(
        "residual", "Generator of Johnson 2016 (residual) or Ulyanov 2016 (pyramid)."
    )
    norm: choices.Norm = option("in", "Instance norm (in), batch norm (bn) or none.")
    noise: choices.Noise = option(
        "none",
        "none: as the papers; gaussian: fixed noise inside, for irregular strokes in flat areas.",
    )
    upsampling: choices.Upsampling = option(
        "nearest", "Of the residual generator; nearest: as the papers."
    )
    activation: choices.Activation = option("relu", "After each norm.")
    width: int | None = option(
        None,
        "Channels of the first layer; 32 is Johnson's. [default: residual 16, pyramid 8]",
        least=1,
        most=MAX_WIDTH,
    )


@dataclass(frozen=True)
class TrainConfig(ComputeConfig, GeneratorConfig):
    """One training of one generator, of one style or of several."""

    styles: tuple[Path, ...] = option(
        (),
        "The painting: any image file; or several, for one network of many styles.",
        argument="STYLE",
        **FREE,
    )
    output: Path | None = option(
        None, "The model file. [default: models/NAME.safetensors]", short="-o", **FREE
    )
    content: Path | None = option(
        None,
        "Folder of training photos, nested or flat. [default: the 24 that are bundled]",
        **FREE,
    )
    minutes: float | None = option(
        None,
        "Time to train, in all. [default: CPU 10, Apple GPU 5, CUDA 1]",
        above=0,
        may_change=True,
    )
    steps: int | None = option(
        None,
        "Train for this many batches, in place of --minutes.",
        least=1,
        instead_of="minutes",
        may_change=True,
    )
    batch_size: int | None = option(
        None,
        "Photos a batch, of all devices together. [default, for each device: CPU 2, Apple GPU 4, "
        "CUDA 8; batch norm 4 or more]",
        least=1,
    )
    size: int = option(256, "Side of the training crops, px.", least=64)
    small_crops: float = option(
        0.67, "Share of the training, from its start, at half the size.", least=0, most=1
    )
    loss_margin: float = option(
        0.0,
        "Share of a crop's side that the loss leaves out at its edges, at random: with 0.16, "
        "no colors gather there in a long training from scratch.",
        panel=OBJECTIVE,
        least=0,
        most=0.4,
    )
    stable: bool = option(
        False,
        "For films: a photo that moves a little is to become the same picture, moved. Each photo "
        "takes one more pass of the network.",
        panel=OBJECTIVE,
    )
    optimizer: choices.Optimizer = option("muon", "muon has Adam beside it for what is no matrix.")
    lr: float = option(2e-3, "Peak learning rate of Adam; Muon's is ten times as large.", above=0)
    devices: int = option(
        1,
        "GPUs of this machine, or processes on its CPU, that share every batch; torchrun does it "
        "for several machines.",
        panel=RUN,
        least=1,
        most=1024,
        alike=False,
    )
    preview_every: int = option(
        100, "Steps between preview pictures; 0: only one, at the end.", least=0, **FREE
    )
    license: str = option("", "A line stored in the model: who may do what with it.", **FREE)
    init: str = option(
        "auto",
        "Start from this trained model; auto: a bundled one, if it fits; or scratch.",
        panel=NETWORK,
        may_change=True,
    )
    add_style: Path | None = option(
        None,
        "Add this painting to the model --init, whose kind and other styles stay as they are.",
        panel=NETWORK,
        **FREE,
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
class GatysConfig(ComputeConfig):
    """One slow optimization of one picture."""

    style: Path | None = option(None, "The painting: any image file.", argument="STYLE")
    steps: int = option(300, "Steps of the optimizer.", least=1)
    size: int = option(
        512, "Long side of the picture, px: the photo is scaled down to it.", least=64
    )
    optimizer: Literal["lbfgs", "adam"] = option("lbfgs", "The paper's is lbfgs.")
    lr: float = option(0.02, "Learning rate of adam.", above=0)
    start: Literal["photo", "noise"] = option("photo", "What the picture is at first.")
    precision: choices.Precision = option("float32", "bfloat16 is too rough for lbfgs.")
    preview_every: int = option(
        50, "Steps between writing the best picture so far; 0: never.", least=0
    )


@dataclass(frozen=True)
class StylizeConfig:
    """How photos are read, painted and written."""

    strength: float = option(
        1.0, "0 to 1: how much of the painting, mixed with the photo.", least=0, most=1
    )
    preserve_color: bool = option(False, "Keep the photo's colors; take light and dark only.")
    max_size: int | None = option(
        None, "Scale larger photos down to this long side, px, first.", least=16, most=10**6
    )
    stroke_size: float | None = option(
        None,
        "How large strokes are against the picture: 1 is as the model paints, 2 is twice as wide; "
        "auto: on more than 2.5 megapixels, as on one megapixel. [default: auto]",
        auto=True,
        least=1,
        most=64,
    )
    format: str | None = option(None, "Write all as jpg, png, webp … [default: as the photo]")
    steady: float = option(
        0.0,
        "0 to 0.95: of videos and animations, how much stays where nothing moves.",
        least=0,
        most=0.95,
    )
    suffix: str = option("", "Added to each name, before its ending; for example -painted.")
    quality: int = option(95, "Of JPEG, WebP, AVIF, HEIC and videos, 1 to 100.", least=1, most=100)
    strip_metadata: bool = option(False, "Leave EXIF out: no place, no date, no camera.")
    max_pixels: int = option(
        200_000_000, "Refuse to open images of more pixels than this.", least=1, most=10**12
    )

    def check(self) -> None:
        """Raise StyleCliError if the settings cannot be meant."""
        check_options(self)
        if "/" in self.suffix or "\\" in self.suffix:
            raise StyleCliError(f"--suffix {self.suffix!r} holds a slash", hint="such as: -painted")


@dataclass(frozen=True)
class CompareConfig(ComputeConfig):
    """One comparison of norms and architectures on the same photos.

    What may change from run to run of a comparison is what its arms were not trained with.
    """

    photos: tuple[Path, ...] = option(
        (),
        "Photos and folders to compare on. [default: four that are bundled]",
        argument="PHOTO",
        may_change=True,
    )
    style: str = option(
        DEFAULT_MODEL,
        "starry-night, whose arms are bundled; or a painting, to train arms for.",
        may_change=True,
    )
    norms: tuple[choices.Norm, ...] = option(
        ("bn", "in"), "Norms to compare, with commas between.", flag="--norm", may_change=True
    )
    archs: tuple[choices.Arch, ...] = option(
        ("residual",), "Generators, with commas between.", flag="--arch", may_change=True
    )
    gatys: bool = option(
        False, "Also optimize each photo the slow way, for reference.", may_change=True
    )
    gatys_steps: int = option(100, "Steps of L-BFGS for --gatys.", least=1, may_change=True)
    size: int = option(
        384, "Long side at which the photos are compared, px.", least=64, may_change=True
    )
    out: Path = option(Path("comparison"), "The folder to write.", short="-o", may_change=True)
    steps: int | None = option(
        None,
        "Train each missing arm for this many batches.",
        panel=TRAINING,
        least=1,
        instead_of="minutes",
    )
    minutes: float | None = option(
        None,
        "Train each missing arm for this long. [default: CPU 10, Apple GPU 5, CUDA 1]",
        panel=TRAINING,
        above=0,
    )
    batch_size: int = option(
        4,
        "Photos in a batch, at least 4: of 1, batch norm is instance norm.",
        panel=TRAINING,
        least=4,
    )
    content: Path | None = option(
        None,
        "Folder of training photos. [default: the bundled ones that are not compared on]",
        panel=TRAINING,
    )
    precision: choices.Precision = option(
        "auto", "Of the training; pictures are compared in float32.", panel=TRAINING
    )
