"""Trainings that take seconds."""

from dataclasses import replace

import pytest

from stylecli.config import TrainConfig
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb, write_picture
from stylecli.files.pictures import Picture
from stylecli.training.loop import train
from trainings import stop_after


@pytest.fixture
def config(budget, painting, tmp_path) -> TrainConfig:
    """A training that takes seconds: small crops, a narrow network, the bundled photos."""
    return TrainConfig(
        styles=(painting,),
        output=tmp_path / "m.safetensors",
        steps=20,
        size=64,
        style_size=64,
        style_layers=("relu1_2", "relu2_2", "relu3_3"),  # half of the loss network is behind them
        width=4,
        batch_size=2,
        device="cpu",  # where a resume is promised to be exact
    )


@pytest.fixture
def trio(config, tmp_path) -> TrainConfig:
    """A training of three paintings in one network."""
    paintings = []
    for i, name in enumerate(["one", "two", "Three!"]):
        paintings.append(tmp_path / f"{name}.png")
        write_picture(paintings[-1], Picture(read_rgb(bundled_photos()[i], 64)))
    output = tmp_path / "trio.safetensors"
    return replace(config, styles=tuple(paintings), output=output, steps=12)


@pytest.fixture
def stopped(config) -> TrainConfig:
    """A training that was stopped after two steps."""
    train(config, should_stop=stop_after(2))
    return config
