"""What tests of training share: when to stop, how to break a loss, what a resume would do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stylecli.config import TrainConfig
from stylecli.training import loop
from stylecli.training.outputs import TrainFiles
from stylecli.training.state import read_checkpoint, resume_config


def stop_after(steps: int) -> Callable[[], bool]:
    """Asks a training to stop when it has done some steps."""
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= steps


def resumed(output: Path, changes: dict[str, Any]) -> TrainConfig:
    """The settings that a resume of the training with that output would have."""
    return resume_config(read_checkpoint(TrainFiles(output).checkpoint), changes)


def break_losses(
    monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool], factor: float = torch.nan
) -> None:
    """Make the loss not a number, or much too large, at some steps."""
    sound = loop.compute_losses

    def losses(training, photos):
        terms = sound(training, photos)
        # nothing is recent while the training sets itself up
        broken = training.guard.recent and when(training.step)
        return {**terms, "total": terms["total"] * factor} if broken else terms

    monkeypatch.setattr(loop, "compute_losses", losses)
