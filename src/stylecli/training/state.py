"""What a training consists of: its inputs, which stay, and the state that every step changes."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stylecli.config import TrainConfig
from stylecli.core.generators import Generator
from stylecli.core.objective import PerceptualObjective
from stylecli.core.optimizers import GeneratorOptimizer
from stylecli.core.vgg import LossNetwork
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Report
from stylecli.files.colors import Rgb
from stylecli.files.content import ContentPhotos
from stylecli.training.divergence import Guard
from stylecli.training.files import TrainFiles
from stylecli.training.initial import Start
from stylecli.training.ranks import Ranks
from stylecli.training.schedule import Schedule


@dataclass(frozen=True)
class Inputs:
    """What a training reads before it begins.

    Attributes:
        device: where to compute.
        dtype: of the convolutions.
        batch_size: photos in a batch, of all ranks together.
        style_images: each (H, W, 3) in 0..255, at the size that sets the strokes.
        photos: the content photos.
        network: the loss network, ready for use.
        targets: for each scale of the recipe, layer to (S, C, C): the Gram matrices of the S style
            images at a size that is smaller by it.
    """

    device: torch.device
    dtype: torch.dtype
    batch_size: int
    style_images: list[Rgb]
    photos: ContentPhotos
    network: LossNetwork
    targets: tuple[dict[str, Tensor], ...]


@dataclass
class Training:
    """A training under way.

    Attributes:
        config: the settings, with numbers where the default depends on device or model.
        files: where it writes.
        report: told of every step.
        overwrite: whether a model that is there is replaced.
        ranks: the processes that train together; only the first writes files.
        inputs: what it has read.
        schedule: its clock, and what follows from progress.
        objectives: what is minimized, one for each scale of the recipe.
        start: the network, and which part of it is trained.
        optimizer: changes the network.
        guard: keeps the losses of the last steps, and undoes what breaks the network.
        step: how many steps are done.
        preview_at: when the next preview is due, in seconds of training.
        seconds_per_step: a running mean.
        told: problems that were reported already and are not reported again.
    """

    config: TrainConfig
    files: TrainFiles
    report: Report
    overwrite: bool
    ranks: Ranks
    inputs: Inputs
    schedule: Schedule
    objectives: tuple[PerceptualObjective, ...]
    start: Start
    optimizer: GeneratorOptimizer
    guard: Guard
    step: int = 0
    preview_at: float = 0.0
    seconds_per_step: float = 0.0
    told: set[str] = field(default_factory=set)

    @property
    def generator(self) -> Generator:
        """The network that is trained."""
        return self.start.generator

    @property
    def share(self) -> int:
        """Photos of a batch that this rank learns from."""
        return self.inputs.batch_size // self.ranks.count

    def report_once(self, text: str) -> None:
        """Report a problem, unless it was reported already."""
        if text not in self.told:
            self.report(Notice(text))
        self.told.add(text)

    def try_to_write(self, write: Callable[[], object]) -> None:
        """Write a file that is only for looking at; if that fails, the training goes on."""
        try:
            if self.ranks.first:
                write()
        except (OSError, RuntimeError, MemoryError, StyleCliError) as error:
            self.report_once(str(error))
