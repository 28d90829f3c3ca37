"""The options of the commands: each is one field, with its default, its help and its bounds.

There is a class for each command, and one for what several commands share. Nothing here imports
torch: ``stylecli --help`` shows these.
"""

import math
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stylecli.core.model_files import bundled_painting, find_model, match_name, read_info
from stylecli.core.spec import (
    Arch,
    BackendChoice,
    GeneratorConfig,
    LossPadding,
    Norm,
    Optimizer,
    Precision,
    Recipe,
)
from stylecli.errors import StyleCliError, choose_from
from stylecli.files.formats import MAX_PIXELS, READABLE, USUAL_ENDINGS, WRITABLE_VIDEOS
from stylecli.options import Config, option

DEFAULT_MODEL = "starry-night"
ALL = "all"  # in the place of a model: every style there is
GALLERY = "gallery"  # the bundled model of many styles; trainings start from it

# Panels of the help; an option is in that of its class, unless it names another. The first has the
# title that typer gives to --help, and holds what most users need.
BASIC = "Options"
LOOK, FILES = "Look", "Files"
OBJECTIVE, NETWORK, TRAINING = "Objective", GeneratorConfig.panel, "Training"
COMPUTING, MACHINES = "Computing", "Several machines"


@dataclass(frozen=True)
class ObjectiveConfig(Config, panel=OBJECTIVE):
    """What is minimized, by a training or by the slow optimization.

    The loss follows Johnson et al. 2016 as in their released code: VGG-16, content at relu3_3,
    style at relu1_2, relu2_2, relu3_3 and relu4_3, content : style of 1 : 5 for The Starry
    Night, and balanced like it for every other painting. Each field says what it is.
    """

    style_weight: float = option(
        1.0,
        "Weight of the painting: larger is more painting. 1 is balanced for each painting.",
        least=0,
    )
    content_weight: float = option(
        1.0, "Weight of the photo: larger keeps more of the photo.", least=0
    )
    style_size: int = option(
        384,
        "Short side to which the painting is scaled, px: small values make small, dense strokes.",
        least=64,
    )
    tv_weight: float = option(
        0.2, "Weight of total variation: larger makes smoother pictures.", least=0
    )
    content_layer: str = option("relu3_3", "Layer of the loss network for the content loss.")
    style_layers: tuple[str, ...] = option(
        ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
        "Layers of the loss network for the style loss, with commas between.",
    )
    loss_padding: LossPadding = option(
        "replicate",
        "What the loss network sees beyond the edge of an image: the edge repeated, or zeros, as "
        "in Johnson's code, with which pictures fade to gray at their edges.",
    )
    loss_net: str = option(
        "vgg16",
        "Loss network: vgg16 (bundled), vgg19 (downloaded), or a file.",
        offered=("vgg16", "vgg19"),
    )


@dataclass(frozen=True)
class DeviceConfig(Config, panel=COMPUTING):
    """Where and how exactly it is computed."""

    device: str = option(
        "auto",
        "auto (the best there is), cpu, cuda, cuda:N or mps.",
        offered=("auto", "cpu", "cuda", "mps"),
    )
    precision: Precision = option(
        "auto", "auto: bfloat16 where the hardware has it, otherwise float32."
    )


@dataclass(frozen=True)
class ComputeConfig(DeviceConfig, ObjectiveConfig, panel=COMPUTING):
    """What is minimized, and how that is computed."""

    seed: int = option(
        0,
        "Seed of everything random; with --steps, the same seed gives the same result.",
        least=0,
        most=2**63 - 1,
    )


@dataclass(frozen=True)
class ModelConfig(DeviceConfig, panel=COMPUTING):
    """Which model paints, and on what: the arguments of a :class:`stylecli.Stylizer`."""

    model: str = option(
        DEFAULT_MODEL,
        "A model or a style by its name, as `stylecli models` lists them; or a model's file or "
        "URL. Several with commas between, or all, for a folder of pictures in each style.",
        panel=BASIC,
        short="-m",
        completes="models",
        offered=(ALL,),
    )
    style: str | None = option(
        None,
        "One style of a model that has several, such as udnie; or a blend, such as "
        "udnie:0.7,great-wave:0.3.",
        panel=BASIC,
        completes="styles",
    )
    backend: BackendChoice = option(
        "auto", "auto: OpenVINO on a CPU, where it is installed; otherwise torch."
    )
    batch_size: int | None = option(
        None,
        "Photos of one size that are painted at once. [default: CPU 1, CUDA 8]",
        metavar="N",
        least=1,
    )
    max_memory: float | None = option(
        None,
        "GiB: a third for images that are read and written, of which one may be larger; the rest "
        "for the network, which works in strips where it needs more. [default: three quarters of "
        "what is free]",
        metavar="GIB",
        above=0,
    )
    seed: int = option(
        0,
        "For models with noise inside: another number gives other strokes.",
        panel=LOOK,
        least=0,
        most=2**31 - 1,
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of a Stylizer, which have the same names; the memory in bytes."""
        memory = None if self.max_memory is None else math.ceil(self.max_memory * 2**30)
        return self.values_of(ModelConfig) | {"max_memory": memory}


@dataclass(frozen=True)
class LookConfig(Config, panel=LOOK):
    """How a picture looks."""

    strength: float = option(
        1.0,
        "How much of the painted picture, 0 to 1; the rest is the photo.",
        least=0,
        most=1,
    )
    preserve_color: bool = option(False, "Keep the photo's colors; take light and dark only.")
    layers: int | None = option(
        None,
        "How often the picture is painted, each time finer and over the layer before; 1 looks more "
        "like a filter. [default: 2; with --stroke-size network 1]",
        least=1,
        most=5,
    )
    stroke_size: float | Literal["network"] = option(
        1.0,
        "Width of the strokes against the picture: 2 is twice as wide, 0.5 half; network: as many "
        "pixels as the network paints, at full size, as in the paper.",
        metavar="FLOAT|network",
        word="network",
        least=0.05,
        most=16,
    )


@dataclass(frozen=True)
class PhotoConfig(Config, panel=FILES):
    """How a photo is read and written."""

    max_size: int | None = option(
        None,
        "Long side, px, to which larger photos are scaled down before they are painted.",
        panel=LOOK,
        least=16,
        most=10**6,
    )
    quality: int = option(
        95, "Quality of JPEG, WebP, AVIF, HEIC and videos, 1 to 100.", least=1, most=100
    )
    strip_metadata: bool = option(
        False, "Leave EXIF, XMP and the like out: no place, no date, no camera."
    )
    max_pixels: int = option(
        MAX_PIXELS, "Refuse to open images of more pixels than this.", least=1, most=10**12
    )


@dataclass(frozen=True)
class FilesConfig(PhotoConfig, panel=FILES):
    """How files are read, named and written."""

    format: str | None = option(
        None,
        "Write all files as jpg, png, webp and so on; films and animations as mp4, gif and so on, "
        "too. [default: as the file]",
        offered=tuple(sorted(suffix[1:] for suffix in USUAL_ENDINGS | WRITABLE_VIDEOS)),
    )
    suffix: str = option("", "Added to each file's name, before its ending, such as -painted.")


@dataclass(frozen=True)
class StylizeConfig(LookConfig, FilesConfig):
    """How photos are read, painted and written."""

    def check(self) -> None:
        """Raise StyleCliError if the settings are not valid."""
        super().check()
        if "/" in self.suffix or "\\" in self.suffix:
            raise StyleCliError(f"--suffix {self.suffix!r} holds a slash", hint="such as: -painted")
        known = [ending[1:] for ending in READABLE | WRITABLE_VIDEOS]
        if self.format is not None and self.format.lower().lstrip(".") not in known:
            hint = choose_from(self.format, known)
            raise StyleCliError(f"unknown --format {self.format!r}", hint=hint)


@dataclass(frozen=True)
class CourseConfig(Config, panel=MACHINES):
    """How a run goes: who shares its files, and whether it repeats what is done or stops early."""

    shard: str | None = option(
        None,
        "Do only every N-th file, from number I on, counted from 0; so several processes or "
        "machines share a folder. auto: the part of this task of SLURM's srun, or of torchrun.",
        metavar="I/N",
    )
    ray: str | None = option(
        None,
        "Share the files among the machines of a Ray cluster: HOST:PORT, such as 10.0.0.1:6379; "
        "or auto for the one of RAY_ADDRESS or of this machine.",
        metavar="ADDRESS",
    )
    workers: int | None = option(
        None,
        "For --ray: how many workers. Each takes a GPU, or all cores of a machine. "
        "[default: as many as there is room for]",
        least=1,
    )
    overwrite: bool = option(False, "Do again what is there already.", panel=BASIC)
    fail_fast: bool = option(False, "Stop at the first bad file.", panel=BASIC)
    dry_run: bool = option(False, "Only say what would be done.", panel=BASIC)

    def check(self) -> None:
        """Raise StyleCliError if a setting is not valid."""
        super().check()
        if self.ray is not None and not re.fullmatch(r"auto|[^/\s]+:\d+", self.ray):
            raise StyleCliError(
                f"--ray {self.ray or '(nothing)'} is not the address of a cluster",
                hint="pass HOST:PORT, such as 10.0.0.1:6379; or auto: see stylize --help",
            )
        if self.workers is not None and self.ray is None:
            raise StyleCliError(
                "--workers was given without --ray", hint="add --ray, or leave it out"
            )


@dataclass(frozen=True)
class RunConfig(StylizeConfig, ModelConfig, CourseConfig):
    """One run over photos and films: all options of ``stylize``."""


@dataclass(frozen=True)
class SheetConfig(LookConfig, DeviceConfig, panel=BASIC):
    """One photo in every style, on one page."""

    size: int = option(
        640,
        "Long side of each picture on the page, px; those of a shorter row are larger.",
        least=64,
        most=10**4,
    )
    paintings: bool = option(False, "Show each style's painting, small, beside its name.")


@dataclass(frozen=True)
class TrainConfig(ComputeConfig, GeneratorConfig, panel=BASIC):
    """One training of one generator, of one style or of several."""

    styles: tuple[Path, ...] = option(
        (),
        "The painting: any image file, or the name of a bundled one; several paintings make one "
        "model of several styles.",
        argument="STYLE...",
    )
    output: Path | None = option(
        None,
        "The model file to write. [default: models/NAME.safetensors]",
        short="-o",
    )
    content: Path | None = option(
        None,
        "Folder of photos to train on, nested or flat. [default: the 24 that are bundled]",
    )
    minutes: float | None = option(
        None,
        "Minutes to train in all, those before a --resume included. "
        "[default: CPU 3, Apple GPU 2, CUDA 1; recipe paper 10, 5, 1]",
        above=0,
    )
    steps: int | None = option(
        None,
        "Train for this many batches of photos, in place of --minutes.",
        least=1,
        instead_of="minutes",
    )
    license: str = option(
        "",
        "A line that is stored in the model: who may do what with it.",
    )
    recipe: Recipe = option(
        "layers",
        "layers: for painting in layers, with noise inside the network and losses at three scales; "
        "paper: one pass at one scale, as the papers train.",
        panel=TRAINING,
    )
    init: str = option(
        "auto",
        "The trained model to start from; auto: a bundled one, if it fits; scratch: none.",
        offered=("auto", "scratch"),
        completes="models",
        panel=NETWORK,
    )
    add_style: Path | None = option(
        None,
        "Add this painting to the model that --init names; its network and its other styles stay "
        "as they are.",
        panel=NETWORK,
    )
    batch_size: int | None = option(
        None,
        "Photos in a batch, on all devices together. [default, for each device: CPU 1, Apple GPU "
        "4, CUDA 8; recipe paper 2, 4, 8; with batch norm 4 or more]",
        panel=TRAINING,
        least=1,
    )
    size: int = option(
        256,
        "Side of the training crops, px; those of the first two thirds are smaller.",
        panel=TRAINING,
        least=64,
    )
    optimizer: Optimizer = option(
        "muon", "muon: Muon for matrices and Adam for the rest; adam: Adam for all.", panel=TRAINING
    )
    lr: float | None = option(
        None,
        "Peak learning rate of Adam; that of Muon is ten times as large. [default: layers 0.003, "
        "paper 0.002]",
        panel=TRAINING,
        above=0,
    )

    @property
    def paintings(self) -> tuple[Path, ...]:
        """The files that are learned from: the styles, or the one that is added to a model.

        Raises:
            StyleCliError: a name is neither that of a file nor that of a bundled painting.
        """
        given = (self.add_style,) if self.add_style else self.styles
        return tuple(map(bundled_painting, given))

    def check(self) -> None:
        """Raise StyleCliError if the settings are not valid."""
        super().check()
        if not self.paintings:
            raise StyleCliError("no painting was given", hint="stylecli train STYLE")
        if self.add_style and (self.styles or self.init in ("auto", "scratch")):
            raise StyleCliError(
                "--add-style adds one painting to a trained model, and to nothing else",
                hint=f"stylecli train --add-style {shlex.quote(str(self.add_style))} --init MODEL",
            )


@dataclass(frozen=True)
class GatysConfig(ComputeConfig, PhotoConfig, panel=BASIC):
    """One slow optimization of one photo, and how it is read and written."""

    style: Path | None = option(
        None, "The painting: any image file, or the name of a bundled one.", argument="STYLE"
    )
    size: int = option(
        384,
        "Short side at which the picture is optimized, px; then it is enlarged to the photo's own "
        "size. More makes finer strokes.",
        least=64,
        most=4096,
    )
    steps: int | None = option(
        None, "Steps of the optimizer. [default: 300; from a model 20]", least=1
    )
    optimizer: Literal["lbfgs", "adam"] = option("lbfgs", "lbfgs is that of the paper.")
    lr: float = option(0.02, "Learning rate of adam; lbfgs has none.", above=0)
    start: str = option(
        "photo",
        "What the picture is at first: photo, noise, or what a trained model paints: the name of "
        "the model or style.",
        offered=("photo", "noise"),
        completes="models",
    )
    preview_every: int = option(
        50, "Steps after which the best picture so far is written; 0: only at the end.", least=0
    )
    precision: Precision = option("float32", "bfloat16 is too rough for lbfgs.", panel=COMPUTING)

    @property
    def painting(self) -> Path | None:
        """The file of the painting."""
        return self.style and bundled_painting(self.style)

    @property
    def from_model(self) -> bool:
        """Whether it starts from what a model paints."""
        return self.start not in ("photo", "noise")

    @property
    def most_steps(self) -> int:
        """The steps that were asked for, or else what suits the start."""
        return self.steps or (20 if self.from_model else 300)

    def check(self) -> None:
        """Raise StyleCliError if the settings are not valid."""
        super().check()
        if self.style:
            bundled_painting(self.style)  # raises for an unknown name
        if not self.from_model or "://" in self.start:  # a check downloads nothing
            return
        try:
            styles = read_info(find_model(self.start)).styles
        except StyleCliError as error:
            hint = f"photo, noise, or a model: {error.hint}"
            raise StyleCliError(error.message, hint=hint) from error
        if match_name(self.start, styles) is None and len(styles) > 1:
            raise StyleCliError(
                f"--start {self.start} is a model of {len(styles)} styles",
                hint=choose_from("", styles),
            )


_TRAINING = "Training of what is missing"


@dataclass(frozen=True)
class CompareConfig(ComputeConfig, panel=BASIC):
    """One comparison of norms and architectures on the same photos.

    :class:`stylecli.comparison.folder.ComparisonFolder` checks what another run into the same
    folder may change, and that photos and painting are the same.
    """

    photos: tuple[Path, ...] = option(
        (),
        "Photos and folders to compare on. [default: four that are bundled]",
        argument="PHOTO...",
    )
    style: str = option(
        DEFAULT_MODEL,
        "starry-night, whose networks are bundled; or a painting, to train them: a file, or the "
        "name of a bundled one.",
    )
    norms: tuple[Norm, ...] = option(
        ("bn", "in"), "Norms to compare, with commas between.", flag="--norm"
    )
    archs: tuple[Arch, ...] = option(
        ("residual",),
        "Generators to compare, with commas between.",
        flag="--arch",
    )
    gatys: bool = option(
        False,
        "Also optimize each photo the slow way (Gatys et al. 2016), for reference.",
    )
    gatys_steps: int = option(100, "Steps of the optimizer (L-BFGS) for --gatys.", least=1)
    size: int = option(384, "Long side at which the photos are compared, px.", least=64)
    out: Path = option(Path("comparison"), "The folder to write.", flag="--output", short="-o")
    minutes: float | None = option(
        None,
        "Minutes to train each network that is missing. [default: CPU 10, Apple GPU 5, CUDA 1]",
        panel=_TRAINING,
        above=0,
    )
    steps: int | None = option(
        None,
        "Train each for this many batches of photos, in place of --minutes.",
        panel=_TRAINING,
        least=1,
        instead_of="minutes",
    )
    batch_size: int = option(
        4,
        "Photos in a batch, at least 4: on a batch of 1, batch norm is instance norm.",
        panel=_TRAINING,
        least=4,
    )
    content: Path | None = option(
        None,
        "Folder of photos to train on. [default: the bundled ones that are not compared on]",
        panel=_TRAINING,
    )
    precision: Precision = option(
        "auto", "Of the training; pictures are compared in float32.", panel=_TRAINING
    )
