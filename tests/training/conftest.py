"""Trainings that take seconds."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stylecli.config import TrainConfig
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb, write_picture
from stylecli.files.pictures import Picture
from stylecli.training.loop import train
from trainings import stop_after


def small(painting: Path, folder: Path) -> TrainConfig:
    """A training that takes seconds: small crops, a narrow network, the bundled photos."""
    return TrainConfig(
        styles=(painting,),
        output=folder / "m.safetensors",
        steps=20,
        size=64,
        style_size=64,
        content_layer="relu2_2",  # most of the loss network is behind it
        style_layers=("relu1_2", "relu2_2"),
        width=4,
        batch_size=2,
        device="cpu",  # where a resume is promised to be exact
    )


@pytest.fixture
def config(budget, painting, tmp_path) -> TrainConfig:
    """A small training in the test's own folder."""
    return small(painting, tmp_path)


@pytest.fixture
def trio(config, tmp_path) -> TrainConfig:
    """A training of three paintings in one network."""
    paintings = []
    for i, name in enumerate(["one", "two", "Three!"]):
        paintings.append(tmp_path / f"{name}.png")
        write_picture(paintings[-1], Picture(read_rgb(bundled_photos()[i], 64)))
    output = tmp_path / "trio.safetensors"
    return replace(config, styles=tuple(paintings), output=output, steps=12)


@pytest.fixture(scope="module")
def stopped_once(budget, painting, tmp_path_factory) -> TrainConfig:
    """A training that was stopped after two steps; tests have copies of its files."""
    config = small(painting, tmp_path_factory.mktemp("stopped"))
    train(config, should_stop=stop_after(2))
    return config


@pytest.fixture
def stopped(stopped_once, config) -> TrainConfig:
    """A training that was stopped after two steps, in the test's own folder."""
    shutil.copytree(stopped_once.output.parent, config.output.parent, dirs_exist_ok=True)
    return config
