"""The options of ``stylecli gatys``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from stylecli.config.shared import BASIC, COMPUTING, ComputeConfig
from stylecli.core import choices
from stylecli.options import option


@dataclass(frozen=True)
class GatysConfig(ComputeConfig):
    """One slow optimization of one picture."""

    PANEL: ClassVar[str] = BASIC

    style: Path | None = option(None, "The painting: any image file.", argument="STYLE")
    size: int = option(
        512, "Long side of the picture, px; a larger photo is scaled down to it.", least=64
    )
    steps: int = option(300, "Steps of the optimizer.", least=1)
    optimizer: Literal["lbfgs", "adam"] = option("lbfgs", "lbfgs is that of the paper.")
    lr: float = option(0.02, "Learning rate of adam; lbfgs has none.", above=0)
    start: Literal["photo", "noise"] = option("photo", "What the picture is at first.")
    preview_every: int = option(
        50, "Steps after which the best picture so far is written; 0: only at the end.", least=0
    )
    precision: choices.Precision = option(
        "float32", "bfloat16 is too rough for lbfgs.", panel=COMPUTING
    )
