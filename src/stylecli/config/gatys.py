"""The options of ``stylecli gatys``."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from stylecli.config.shared import BASIC, COMPUTING, ComputeConfig
from stylecli.core import choices
from stylecli.core.model_files import bundled_painting, find_model, read_info
from stylecli.core.model_names import match_name
from stylecli.errors import StyleCliError, choose_from
from stylecli.options import option


@dataclass(frozen=True)
class GatysConfig(ComputeConfig):
    """One slow optimization of one picture."""

    PANEL: ClassVar[str] = BASIC

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
        model=True,
    )
    preview_every: int = option(
        50, "Steps after which the best picture so far is written; 0: only at the end.", least=0
    )
    precision: choices.Precision = option(
        "float32", "bfloat16 is too rough for lbfgs.", panel=COMPUTING
    )

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
        """Raise StyleCliError if the settings cannot be meant."""
        super().check()
        if self.style:
            bundled_painting(self.style)  # raises for an unknown name
        if not self.from_model:
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
