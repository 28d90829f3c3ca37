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
    TRAINING,
    ComputeConfig,
)
from stylecli.core import choices
from stylecli.core.model_files import bundled_painting
from stylecli.core.schema import MAX_WIDTH
from stylecli.errors import StyleCliError
from stylecli.options import option


@dataclass(frozen=True)
class GeneratorConfig:
    """The generator that is trained; the recipe decides on the rest of it."""

    PANEL: ClassVar[str] = NETWORK

    arch: choices.Arch = option(
        "residual", "Generator of Johnson 2016 (residual) or Ulyanov 2016 (pyramid)."
    )
    norm: choices.Norm = option("in", "Instance norm (in), batch norm (bn) or none.")
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
        "The painting: any image file, or the name of a bundled one; several paintings make one "
        "model of several styles.",
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
        "[default: CPU 3, Apple GPU 2, CUDA 1; recipe paper 10, 5, 1]",
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
    license: str = option(
        "", "A line that is stored in the model: who may do what with it.", **FREE
    )
    recipe: choices.Recipe = option(
        "layers",
        "layers: for painting in layers, with noise inside the network and losses at two scales; "
        "paper: one pass at one scale, as the papers train.",
        panel=TRAINING,
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
    optimizer: choices.Optimizer = option(
        "muon", "muon: Muon for matrices and Adam for the rest; adam: Adam for all.", panel=TRAINING
    )
    lr: float | None = option(
        None,
        "Peak learning rate of Adam; that of Muon is ten times as large. [default: layers 0.003, "
        "paper 0.002]",
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
        """The files that are learned from: the styles, or the one that is added to a model.

        Raises:
            StyleCliError: a name is neither that of a file nor that of a bundled painting.
        """
        given = (self.add_style,) if self.add_style else self.styles
        return tuple(map(bundled_painting, given))

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
