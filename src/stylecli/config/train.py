"""The options of ``stylecli train``."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stylecli.config.shared import (
    BASIC,
    COMPUTING,
    FREE,
    NETWORK,
    OBJECTIVE,
    TRAINING,
    ComputeConfig,
)
from stylecli.core import choices
from stylecli.core.schema import MAX_WIDTH
from stylecli.errors import StyleCliError
from stylecli.options import option


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
        "none: as in the papers; gaussian: fixed noise inside the network, for less regular "
        "strokes in flat areas.",
    )
    upsampling: choices.Upsampling = option(
        "nearest", "How the residual generator enlarges; nearest is as in the papers."
    )
    activation: choices.Activation = option("relu", "The function after each norm.")
    width: int | None = option(
        None,
        "Channels of the first layer; Johnson's has 32. [default: residual 16, pyramid 8]",
        least=1,
        most=MAX_WIDTH,
    )


@dataclass(frozen=True)
class TrainConfig(ComputeConfig, GeneratorConfig):
    """One training of one generator, of one style or of several."""

    PANEL: ClassVar[str] = BASIC

    styles: tuple[Path, ...] = option(
        (),
        "The painting, any image file; several paintings make one model of several styles.",
        argument="STYLE...",
        **FREE,
    )
    output: Path | None = option(
        None, "The model file to write. [default: models/NAME.safetensors]", short="-o", **FREE
    )
    content: Path | None = option(
        None,
        "Folder of photos to train on, nested or flat. [default: the 24 that are bundled]",
        **FREE,
    )
    minutes: float | None = option(
        None,
        "Minutes to train in all, those before a --resume included. "
        "[default: CPU 10, Apple GPU 5, CUDA 1]",
        above=0,
        may_change=True,
    )
    steps: int | None = option(
        None,
        "Train for this many batches of photos, in place of --minutes.",
        least=1,
        instead_of="minutes",
        may_change=True,
    )
    preview_every: int = option(
        100, "Steps between preview pictures; 0: only one, at the end.", least=0, **FREE
    )
    license: str = option(
        "", "A line that is stored in the model: who may do what with it.", **FREE
    )
    stable: bool = option(
        False,
        "For films: a photo that moves a little is to become the same picture, moved. Each photo "
        "takes one more pass of the network.",
        panel=OBJECTIVE,
    )
    hatch_weight: float = option(
        1.0,
        "Factor of the term against texture that repeats, such as a ruled hatch; 0: none, as in "
        "the papers.",
        panel=OBJECTIVE,
        least=0,
    )
    init: str = option(
        "auto",
        "The trained model to start from; auto: a bundled one, if it fits; scratch: none.",
        offered=("auto", "scratch"),
        model=True,
        panel=NETWORK,
    )
    add_style: Path | None = option(
        None,
        "Add this painting to the model that --init names; its network and its other styles stay "
        "as they are.",
        panel=NETWORK,
        **FREE,
    )
    batch_size: int | None = option(
        None,
        "Photos in a batch, on all devices together. [default, for each device: CPU 2, Apple GPU "
        "4, CUDA 8; with batch norm 4 or more]",
        panel=TRAINING,
        least=1,
    )
    size: int = option(256, "Side of the training crops, px.", panel=TRAINING, least=64)
    small_crops: float = option(
        0.67,
        "Share of the training, 0 to 1, that takes crops of half that side; it comes first.",
        panel=TRAINING,
        least=0,
        most=1,
    )
    loss_margin: float = option(
        0.0,
        "Share of a crop's side, 0 to 0.4, that the loss leaves out at its edges, at random; with "
        "0.16, a band of color at the edges went away.",
        panel=TRAINING,
        least=0,
        most=0.4,
    )
    optimizer: choices.Optimizer = option(
        "muon", "muon: Muon for matrices and Adam for the rest; adam: Adam for all.", panel=TRAINING
    )
    lr: float = option(
        2e-3,
        "Peak learning rate of Adam; that of Muon is ten times as large.",
        panel=TRAINING,
        above=0,
    )
    devices: int = option(
        1,
        "How many GPUs of this machine, or processes on its CPU, share every batch; for several "
        "machines, use torchrun.",
        panel=COMPUTING,
        least=1,
        most=1024,
        alike=False,
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
                hint=f"stylecli train --add-style {shlex.quote(str(self.add_style))} --init MODEL",
            )
