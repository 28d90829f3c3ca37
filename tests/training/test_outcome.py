"""What a training leaves: model file, losses, preview."""

import base64
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from budget import BUDGET
from stylecli.core.model_files import bundled_models, load_generator, read_info
from stylecli.events import Step
from stylecli.files.images import read_rgb
from stylecli.files.pictures import center_square
from stylecli.training.loop import train
from stylecli.training.outputs import TrainFiles
from trainings import stop_after

SIDE = BUDGET["training.loop._PREVIEW_SIDE"]


def test_the_preview_has_the_paintings_beside_the_pictures(trio):
    train(replace(trio, steps=1))
    with Image.open(TrainFiles(trio.output).preview) as preview:
        assert preview.size == (4 * SIDE, 4 * SIDE)
        rgb = np.asarray(preview)
    assert (rgb[:SIDE, :SIDE] == 255).all()
    for row, path in enumerate(trio.styles, 1):
        expected = center_square(read_rgb(path, SIDE), SIDE).astype(float)
        shown = rgb[SIDE * row : SIDE * (row + 1), :SIDE]
        assert np.abs(shown - expected).mean() < 12  # it was trained on at 64 px
    more = {"styles": (), "add_style": trio.styles[0], "init": str(trio.output)}
    path = trio.output.with_name("more.safetensors")
    renamed = trio.styles[0].rename(trio.styles[0].with_name("four.png"))
    train(replace(trio, **{**more, "add_style": renamed}, output=path, steps=1))
    with Image.open(TrainFiles(path).preview) as preview:
        assert preview.size == (4 * SIDE, 2 * SIDE)  # not the styles that are kept


def test_a_preview_shows_a_handful_of_many_styles(config, tmp_path, monkeypatch):
    paintings = [tmp_path / f"{number}.png" for number in range(7)]
    for path in paintings:
        path.write_bytes(config.styles[0].read_bytes())
    train(replace(config, styles=tuple(paintings), steps=1))
    with Image.open(TrainFiles(config.output).preview) as preview:
        assert preview.size == (4 * SIDE, 5 * SIDE)


def test_a_training_that_is_stopped_leaves_a_model_that_works(config):
    files = TrainFiles(config.output)
    train(config, should_stop=stop_after(3))
    info, _ = read_info(files.so_far), load_generator(files.so_far)
    assert info.training["steps_done"] == 3
    assert not config.output.exists()
    train(config, should_stop=stop_after(2), resume=True)
    assert read_info(files.so_far).training["steps_done"] == 4
    assert train(config, resume=True).finished
    assert not files.so_far.exists()
    train(config, should_stop=stop_after(3), overwrite=True)
    train(replace(config, steps=1), overwrite=True)
    assert not files.so_far.exists()


def test_a_model_so_far_that_cannot_be_written_costs_nothing(config):
    files = TrainFiles(config.output)
    files.so_far.mkdir()
    assert train(config, should_stop=stop_after(3)).steps == 3
    files.so_far.rmdir()
    assert train(config, resume=True).steps == 20


def test_the_style_loss_falls_and_the_log_and_model_say_so(config):
    events = []
    result = train(replace(config, steps=60), events.append)
    steps = [event for event in events if isinstance(event, Step)]
    assert [event.step for event in steps] == list(range(1, 61))
    last = sum(event.losses["style"] for event in steps[-10:]) / 10
    assert last < 0.7 * steps[0].losses["style"]
    logged = [json.loads(line) for line in TrainFiles(config.output).log.read_text().splitlines()]
    assert [line["step"] for line in logged] == [10, 20, 30, 40, 50, 60]
    assert logged[-1]["style"] == steps[-1].losses["style"]
    info = read_info(config.output)
    assert info.losses == result.losses
    assert (info.spec.arch, info.spec.norm, info.spec.width) == ("residual", "in", 4)
    assert info.training["steps_done"] == 60
    assert [point["step"] for point in info.training["curve"]] == [10, 20, 30, 40, 50, 60]
    assert info.training["curve"][-1]["style"] == pytest.approx(logged[-1]["style"], abs=0.1)
    assert TrainFiles(config.output).preview.is_file()


def test_a_model_of_many_paintings_can_be_read(config, tmp_path):
    """Of hundreds, all their pictures would be longer than a reader accepts."""
    paintings = [tmp_path / f"{number}.png" for number in range(22)]
    for path in paintings:
        path.write_bytes(config.styles[0].read_bytes())
    train(replace(config, styles=tuple(paintings), steps=1))
    info = read_info(config.output)
    assert len(info.styles) == 22
    with Image.open(BytesIO(base64.b64decode(info.thumbnail))) as strip:
        assert strip.size == (20 * 96, 96)


def test_a_model_file_holds_the_name_of_a_loss_network_and_not_where_it_lies(config, tmp_path):
    network = tmp_path / "vgg.safetensors"
    network.write_bytes((bundled_models() / "vgg16_features.safetensors").read_bytes())
    train(replace(config, steps=1, loss_net=str(network)))
    assert read_info(config.output).training["loss_net"] == "vgg.safetensors"
    assert str(tmp_path).encode() not in config.output.read_bytes()
