"""Trainings, optimizations and comparisons that take seconds: few photos, small crops.

As a program, ``python tests/budget.py WORDS`` is ``stylecli WORDS`` with this budget, in a process
of its own.
"""

from functools import partial

import pytest

from stylecli.config import TrainConfig

BUDGET = {
    "training.loop._PREVIEW_SIDE": 64,
    "training.setup.BALANCE_PHOTOS": 2,
    "gatys.BALANCE_PHOTOS": 2,
    "gatys._BALANCE_SIZE": 64,
    "comparison.arms.TrainConfig": partial(TrainConfig, size=64),
    "comparison.metrics._ROUNDS": 1,
}


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Set the budget in this process."""
    for name, value in BUDGET.items():
        patch.setattr(f"stylecli.{name}", value)


if __name__ == "__main__":
    from stylecli.__main__ import main

    shorten(pytest.MonkeyPatch())
    main()
