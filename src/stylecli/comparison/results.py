"""The results of a comparison: what the grid, the page, the table and the JSON show."""

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
        milliseconds: for the first photo, alone.
        losses: the weighted terms of the objective and their total.
        contrast: see :func:`stylecli.comparison.metrics.contrast_sensitivity`.
        batch_dependence: see :func:`stylecli.comparison.metrics.batch_dependence`.
        gatys_steps: how many steps of L-BFGS are as good; None is more than were taken.
        generator: its settings that are not compared, such as the activation.
        training: how the model was made.
    """

    name: str
    arch: str
    norm: str
    model: str
    parameters: int
    milliseconds: float
    losses: list[dict[str, float]]
    contrast: list[dict[str, dict[str, float]]]
    batch_dependence: list[float]
    gatys_steps: list[int | None]
    generator: dict[str, Any]
    training: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """All results of a comparison.

    Attributes:
        style: the name of the style.
        photos: their names.
        arms: in the order of the columns.
        gatys: for each photo, the losses of the slow optimization; empty without it.
        gatys_losses: for each photo, the objective after 0, 1, 2 … steps; empty without Gatys.
        about: machine, versions, settings.
        pictures: (H, W, 3) in 0..255: the name of the column to a picture for each photo.
    """

    style: str
    photos: list[str]
    arms: list[ArmResult]
    gatys: list[dict[str, float]]
    gatys_losses: list[list[float]]
    about: dict[str, Any]
    pictures: dict[str, list[Rgb]] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """All but the pictures."""
        return asdict(replace(self, pictures={})) | {"columns": list(self.pictures)}
