"""The two recipes of training: for painting in layers, and as in the papers."""

from dataclasses import dataclass

from stylecli.config import TrainConfig
from stylecli.core.spec import GeneratorSpec


@dataclass(frozen=True)
class Recipe:
    """What ``--recipe`` sets, all of it together.

    Attributes:
        noise: inside a new network, see :class:`stylecli.core.spec.GeneratorSpec`.
        upsampling: of a new network.
        minutes: how long a training takes if neither minutes nor steps are asked for, by the kind
            of device.
        batch: photos in a batch on each device, if no number was asked for, by its kind.
        lr: peak learning rate, if none was asked for.
        first_side: side of the first crops, as a share of that of the later ones.
        first_share: share of the training that takes these smaller crops, 0 to 1.
        own_inputs: share of the steps whose input is the network's own painting, 0 to 1.
        scales: the loss network sees the painted crop averaged down by each of these.
        content_weight: of the content loss at each scale.
        style_weight: of the style loss at each scale.
        hatch_weight: of the term against texture that repeats.
        margin: share of a crop's side that the loss leaves out at its edges, at random.
    """

    noise: str
    upsampling: str
    minutes: dict[str, float]
    batch: dict[str, int]
    lr: float
    first_side: float
    first_share: float
    own_inputs: float
    scales: tuple[int, ...]
    content_weight: float
    style_weight: float
    hatch_weight: float
    margin: float


# "paper": one pass at one scale, as Johnson et al. 2016 and Ulyanov et al. 2017 train. "layers": a
# painting is painted small first, and larger over itself; each number was found by trial. Batches:
# a CPU learns more from each photo if fewer share a step; on a GPU, more cost next to nothing.
RECIPES = {
    "layers": Recipe(
        noise="gaussian",
        upsampling="bilinear",
        minutes={"cpu": 3.0, "mps": 2.0, "cuda": 1.0},
        batch={"cpu": 1, "mps": 4, "cuda": 8},
        lr=3e-3,
        first_side=0.75,
        first_share=0.67,
        own_inputs=0.55,
        scales=(1, 2),
        content_weight=1.5,
        style_weight=0.5,
        hatch_weight=0.4,
        margin=0.16,
    ),
    "paper": Recipe(
        noise="none",
        upsampling="nearest",
        minutes={"cpu": 10.0, "mps": 5.0, "cuda": 1.0},
        batch={"cpu": 2, "mps": 4, "cuda": 8},
        lr=2e-3,
        first_side=0.5,
        first_share=0.67,
        own_inputs=0.0,
        scales=(1,),
        content_weight=1.0,
        style_weight=1.0,
        hatch_weight=0.0,
        margin=0.0,
    ),
}


def recipe_of(config: TrainConfig) -> Recipe:
    """The recipe that a training follows."""
    return RECIPES[config.recipe]


def spec_of(config: TrainConfig) -> GeneratorSpec:
    """The generator that a training from scratch begins with."""
    recipe = recipe_of(config)
    return GeneratorSpec(
        arch=config.arch,
        norm=config.norm,
        width=config.width,
        noise=recipe.noise,
        upsampling=recipe.upsampling,
    )
