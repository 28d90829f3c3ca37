"""What a generator is: its architecture, norm, width and the choices that there are for each."""

from dataclasses import dataclass
from typing import Literal, get_args

from stylecli.core.schema import MAX_WIDTH
from stylecli.errors import StyleCliError, choose_from

Arch = Literal["residual", "pyramid"]  # each is a module of stylecli.core.architectures
Norm = Literal["in", "bn", "none"]
Output = Literal["linear", "tanh"]
Noise = Literal["none", "gaussian"]
Upsampling = Literal["nearest", "bilinear"]
Activation = Literal["relu", "leaky_relu"]
Recipe = Literal["layers", "paper"]  # of a training
Optimizer = Literal["muon", "adam"]
LossPadding = Literal["replicate", "zeros"]
Precision = Literal["auto", "float32", "bfloat16"]
BackendChoice = Literal["auto", "openvino", "torch"]


NORMS = get_args(Norm)

# Images are RGB in [0, 1]. The network's input is centered on gray and has about unit variance;
# its output is in units of 150 / 255 around gray, as Johnson's.
GRAY = 0.5
INPUT_GAIN = 4.0
OUTPUT_RANGE = 150 / 255
# A step of Adam moves all of the thousand weights of the last layer at once. Without this factor,
# the whole picture jumps, and training is slow at best and diverges at worst.
LAST_LAYER_GAIN = 0.17
LEAK = 0.01  # slope of a leaky ReLU below zero
EPSILON = 1e-5  # under the root of every norm


@dataclass(frozen=True)
class GeneratorSpec:
    """All that is needed to build a generator.

    Attributes:
        arch: ``residual`` (Johnson et al. 2016) or ``pyramid`` (Ulyanov et al. 2016).
        norm: ``in`` (instance norm), ``bn`` (batch norm) or ``none``.
        width: channels of the first layer; None is the architecture's own (16 and 8).
        output: ``linear``, or ``tanh`` as in Johnson's own code. A saturated tanh passes no
            gradient: bright flat clouds turn to white blobs that training cannot remove.
        noise: ``none``, as in the papers; or ``gaussian``: a plane of fixed noise after some
            layers, times a learned strength for each channel (Karras et al. 2019). Without noise,
            a flat area can only get a pattern that repeats at the network's own stride.
        upsampling: ``nearest``, or ``bilinear``, which adds no pattern of its own; the pyramid
            uses ``nearest`` in any case.
        activation: ``relu``, or ``leaky_relu`` with a slope of 0.01.
    """

    arch: str = "residual"
    norm: str = "in"
    width: int | None = None
    output: str = "linear"
    noise: str = "none"
    upsampling: str = "nearest"
    activation: str = "relu"

    def check(self) -> None:
        """Raise StyleCliError if it names what there is not, or has a bad width."""
        for what, given, kind in (
            ("architecture", self.arch, Arch),
            ("norm", self.norm, Norm),
            ("output", self.output, Output),
            ("noise", self.noise, Noise),
            ("upsampling", self.upsampling, Upsampling),
            ("activation", self.activation, Activation),
        ):
            known = get_args(kind)
            if given not in known:
                raise StyleCliError(
                    f"unknown {what} {given!r}", hint=choose_from(str(given), known)
                )
        if self.width is not None and not (
            isinstance(self.width, int) and 1 <= self.width <= MAX_WIDTH
        ):
            raise StyleCliError(
                f"width {self.width!r} is not from 1 to {MAX_WIDTH}", hint="the default is good"
            )
