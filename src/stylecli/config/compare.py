"""The options of ``stylecli compare``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stylecli.config.shared import BASIC, DEFAULT_MODEL, ComputeConfig
from stylecli.core import choices
from stylecli.options import option

_TRAINING = "Training of what is missing"


@dataclass(frozen=True)
class CompareConfig(ComputeConfig):
    """One comparison of norms and architectures on the same photos.

    Another run into the same folder may have other values of the options with ``may_change``: the
    arms were not trained with those. The folder itself sees to it that photos and painting are the
    same (:class:`stylecli.comparison.folder.ComparisonFolder`).
    """

    PANEL: ClassVar[str] = BASIC

    photos: tuple[Path, ...] = option(
        (),
        "Photos and folders to compare on. [default: four that are bundled]",
        argument="PHOTO...",
        may_change=True,
    )
    style: str = option(
        DEFAULT_MODEL,
        "starry-night, whose networks are bundled; or a painting, to train them: a file, or the "
        "name of a bundled one.",
        may_change=True,
    )
    norms: tuple[choices.Norm, ...] = option(
        ("bn", "in"), "Norms to compare, with commas between.", flag="--norm", may_change=True
    )
    archs: tuple[choices.Arch, ...] = option(
        ("residual",),
        "Generators to compare, with commas between.",
        flag="--arch",
        may_change=True,
    )
    gatys: bool = option(
        False,
        "Also optimize each photo the slow way (Gatys et al. 2016), for reference.",
        may_change=True,
    )
    gatys_steps: int = option(
        100, "Steps of the optimizer (L-BFGS) for --gatys.", least=1, may_change=True
    )
    size: int = option(
        384, "Long side at which the photos are compared, px.", least=64, may_change=True
    )
    out: Path = option(Path("comparison"), "The folder to write.", short="-o", may_change=True)
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
    precision: choices.Precision = option(
        "auto", "Of the training; pictures are compared in float32.", panel=_TRAINING
    )
