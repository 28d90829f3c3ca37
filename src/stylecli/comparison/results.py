"""The results of a comparison: what the grid, the page, the table and the JSON show."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from stylecli.files.colors import Rgb


@dataclass(frozen=True)
class ArmResult:
    """The measurements of one arm; lists have an entry for each photo.

    Attributes:
        name: such as ``residual-in``.
        arch: of the generator.
        norm: and how it is applied.
        model: the name of its file.
        parameters: how many.
        losses: the weighted terms of the objective and their total.
        style_at_scales: see :func:`stylecli.comparison.metrics.style_at_scales`.
        contrast: see :func:`stylecli.comparison.metrics.contrast_sensitivity`.
        batch_dependence: see :func:`stylecli.comparison.metrics.batch_dependence`.
        gatys_steps: how many steps of L-BFGS are as good; None is more than were taken.
        generator: its settings that are not compared, such as the activation.
        training: how the model was made.
        milliseconds: for the first photo, alone; nan until all arms are timed, in turns.
    """

    name: str
    arch: str
    norm: str
    model: str
    parameters: int
    losses: list[dict[str, float]]
    style_at_scales: list[tuple[float, ...]]
    contrast: list[dict[str, dict[str, float]]]
    batch_dependence: list[float]
    gatys_steps: list[int | None]
    generator: dict[str, Any]
    training: dict[str, Any]
    milliseconds: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """All results of a comparison.

    Attributes:
        style: the name of the style.
        photos: their names.
        arms: in the order of the columns.
        gatys: for each photo, the losses of the slow optimization; empty without it.
        gatys_losses: for each photo, the objective after 0, 1, 2 … steps; empty without Gatys.
        gatys_style_at_scales: for each photo, as of an arm; empty without Gatys.
        about: machine, versions, settings.
        pictures: (H, W, 3) in 0..255: the name of the column to a picture for each photo.
    """

    style: str
    photos: list[str]
    arms: list[ArmResult]
    gatys: list[dict[str, float]]
    gatys_losses: list[list[float]]
    gatys_style_at_scales: list[tuple[float, ...]]
    about: dict[str, Any]
    pictures: dict[str, list[Rgb]] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """All but the pictures."""
        return asdict(replace(self, pictures={})) | {"columns": list(self.pictures)}
