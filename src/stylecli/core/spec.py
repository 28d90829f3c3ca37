"""What a generator is, and the names that options choose from."""

from dataclasses import dataclass
from typing import Literal

from stylecli.options import Config, option

Arch = Literal["residual", "pyramid"]  # each is a module of stylecli.core.architectures
Norm = Literal["in", "bn", "none"]
Noise = Literal["none", "gaussian"]
Upsampling = Literal["nearest", "bilinear"]
Recipe = Literal["layers", "paper"]  # of a training
Optimizer = Literal["muon", "adam"]
LossPadding = Literal["replicate", "zeros"]
Precision = Literal["auto", "float32", "bfloat16"]
BackendChoice = Literal["auto", "openvino", "torch"]

MAX_STYLES = 1000
MAX_WIDTH = 512

# Images are RGB in [0, 1]. The network's input is centered on gray and has about unit variance;
# its output is in units of 150 / 255 around gray, as Johnson's.
GRAY = 0.5
INPUT_GAIN = 4.0
OUTPUT_RANGE = 150 / 255
# A step of Adam moves all of the thousand weights of the last layer at once. Without this factor,
# the whole picture jumps, and training is slow at best and diverges at worst.
LAST_LAYER_GAIN = 0.17
EPSILON = 1e-5  # under the root of every norm


@dataclass(frozen=True)
class GeneratorConfig(Config, panel="Network"):
    """The part of a generator that is chosen by option; the recipe of a training has the rest."""

    arch: Arch = option(
        "residual", "Generator of Johnson 2016 (residual) or Ulyanov 2016 (pyramid)."
    )
    norm: Norm = option("in", "Instance norm (in), batch norm (bn) or none.")
    width: int | None = option(
        None,
        "Channels of the first layer; Johnson's has 32. [default: residual 16, pyramid 8]",
        least=1,
        most=MAX_WIDTH,
    )


@dataclass(frozen=True)
class GeneratorSpec(GeneratorConfig):
    """All that is needed to build a generator. A new field stands here, and in no other list.

    Without noise, a flat area can only get a pattern that repeats at the network's own stride.
    The noise is a plane of fixed numbers after some layers, times a learned strength for each
    channel (Karras et al. 2019).
    """

    noise: Noise = option(
        "none", "Inside the network: none, as in the papers, or gaussian.", flag="noise"
    )
    upsampling: Upsampling = option(
        "nearest",
        "bilinear adds no pattern of its own; the pyramid has nearest in any case.",
        flag="upsampling",
    )

    @property
    def channels(self) -> int:
        """Channels of the first layer, where the width is a number."""
        assert self.width is not None
        return self.width
