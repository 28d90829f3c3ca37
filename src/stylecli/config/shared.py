"""Options that several commands have, and the titles under which the help shows all."""

from dataclasses import dataclass
from typing import ClassVar

from stylecli.core import choices
from stylecli.options import check_options, option

DEFAULT_MODEL = "starry-night"
GALLERY = "gallery"  # the bundled model of many styles; trainings start from it

# A resume may change it, and arms of a comparison may differ in it.
FREE = {"may_change": True, "alike": False}
# Panels of the help; an option is in that of its class, unless it names another. The first has the
# title that typer gives to --help, and holds what most users need.
BASIC = "Options"
LOOK, FILES = "Look", "Files"
OBJECTIVE, NETWORK, TRAINING = "Objective", "Network", "Training"
COMPUTING, MACHINES = "Computing", "Several machines"


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is minimized, by a training or by the slow optimization.

    The loss follows Johnson et al. 2016 as in their released code: VGG-16, content at relu3_3,
    style at relu1_2, relu2_2, relu3_3 and relu4_3, content : style of 1 : 5 for The Starry
    Night, and balanced like it for every other painting. Each field says what it is.
    """

    PANEL: ClassVar[str] = OBJECTIVE

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
    loss_padding: choices.LossPadding = option(
        "replicate",
        "What the loss network sees beyond the edge of an image: the edge repeated, or zeros, as "
        "in Johnson's code, with which pictures fade to gray at their edges.",
    )
    loss_net: str = option(
        "vgg16",
        "Loss network: vgg16 (bundled), vgg16-torchvision or vgg19 (both are downloaded), or a "
        "file.",
        offered=("vgg16", "vgg16-torchvision", "vgg19"),
    )

    def check(self) -> None:
        """Raise StyleCliError if a setting cannot be meant."""
        check_options(self)


@dataclass(frozen=True)
class ComputeConfig(ObjectiveConfig):
    """And how it is computed."""

    PANEL: ClassVar[str] = COMPUTING

    device: str = option(
        "auto",
        "auto (the best there is), cpu, cuda, cuda:N or mps.",
        offered=("auto", "cpu", "cuda", "mps"),
        **FREE,
    )
    precision: choices.Precision = option(
        "auto", "auto: bfloat16 where the hardware has it, otherwise float32.", may_change=True
    )
    seed: int = option(
        0,
        "Seed of everything random; with --steps, the same seed gives the same result.",
        least=0,
        most=2**63 - 1,
    )
