"""What a resume saves, restores, refuses and compares: it ends bit for bit as without."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from stylecli.config import TrainConfig
from stylecli.core import tensor_files
from stylecli.core.model_files import read_info
from stylecli.errors import StyleCliError
from stylecli.events import Step
from stylecli.files.content import bundled_photos
from stylecli.training import loop
from stylecli.training.loop import train
from stylecli.training.outputs import TrainFiles
from stylecli.training.schedule import RECIPES
from trainings import break_losses, resumed, stop_after


@pytest.mark.parametrize(
    ("arch", "norm", "recipe"),
    [
        ("residual", "in", "layers"),
        ("residual", "bn", "paper"),
        ("pyramid", "in", "layers"),
    ],
)
def test_twelve_steps_straight_equal_six_and_six_more(
    config, tmp_path, monkeypatch, arch, norm, recipe
):
    config = replace(config, steps=12, arch=arch, norm=norm, recipe=recipe)
    straight = train(config)
    halves = replace(config, output=tmp_path / "halves.safetensors")
    monkeypatch.setattr(loop, "FIRST_PREVIEW", 0.01)  # to look at a network changes nothing in it
    stopped = train(halves, should_stop=stop_after(6))
    assert (stopped.finished, stopped.steps) == (False, 6)
    assert not halves.output.exists()
    resumed = train(halves, resume=True)
    assert (resumed.finished, resumed.steps) == (True, 12)
    assert resumed.losses == straight.losses
    weights, again = load_file(config.output), load_file(halves.output)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_a_killed_training_goes_on_from_its_last_checkpoint(config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    config = replace(config, steps=12)
    files, kept = TrainFiles(config.output), tmp_path / "as-killed.safetensors"

    def watch(event):
        if isinstance(event, Step) and event.step == 8:  # of the state after seven
            kept.write_bytes(files.checkpoint.read_bytes())

    straight = train(config, watch)
    weights = load_file(config.output)
    config.output.unlink()
    kept.rename(files.checkpoint)
    assert train(config, watch, resume=True).losses == straight.losses
    again = load_file(config.output)
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_a_network_of_several_styles_resumes_bit_for_bit_too(trio, tmp_path):
    straight = train(trio)
    halves = replace(trio, output=tmp_path / "halves.safetensors")
    train(halves, should_stop=stop_after(5))
    saved = resumed(halves.output, {})
    assert train(saved, resume=True).losses == straight.losses
    weights, again = load_file(trio.output), load_file(halves.output)
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    info = read_info(trio.output)
    assert info.styles == ["one", "two", "three"]
    assert weights["body.0.1.weight"].shape == (3, 4)
    assert not torch.equal(weights["body.0.1.weight"][0], weights["body.0.1.weight"][1])


def test_a_roll_back_after_a_resume_is_the_same_as_without(config, tmp_path, monkeypatch):
    break_losses(monkeypatch, lambda step: step in (3, 9))
    config = replace(config, steps=12)
    train(config)
    halves = replace(config, output=tmp_path / "halves.safetensors")
    train(halves, should_stop=stop_after(6))
    train(halves, resume=True)
    weights, again = load_file(config.output), load_file(halves.output)
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_a_warm_start_resumes_even_if_the_model_it_began_with_is_gone(config, tmp_path):
    train(replace(config, steps=2))
    warm = replace(config, init=str(config.output), output=tmp_path / "w.safetensors")
    train(warm, should_stop=stop_after(2))
    config.output.unlink()
    assert train(replace(warm, width=4), resume=True).finished


def test_a_time_budget_is_that_of_the_device_it_began_on(config, monkeypatch):
    untimed = replace(config, steps=None)
    train(untimed, should_stop=stop_after(2))
    monkeypatch.setitem(RECIPES["layers"].minutes, "cpu", 0.001)  # as if another were faster
    saved = resumed(config.output, {})
    assert saved == replace(untimed, minutes=3.0, lr=0.003)


def test_a_resume_takes_the_settings_that_it_is_not_given_from_the_checkpoint(config, photos):
    config = replace(config, content=photos, license="mine", style_weight=2.0)
    train(config, should_stop=stop_after(3))
    assert train(TrainConfig(output=config.output), resume=True).steps == 20
    info = read_info(config.output)
    assert (info.license, info.training["content"]) == ("mine", "photos")
    assert info.training["style_weight"] == 2.0
    train(config, should_stop=stop_after(3), overwrite=True)
    result = train(TrainConfig(output=config.output, steps=5, license="ours"), resume=True)
    assert (result.steps, read_info(config.output).license) == (5, "ours")


def test_a_resume_refuses_other_settings_and_another_painting(config, tmp_path):
    with pytest.raises(StyleCliError, match="nothing to resume"):
        train(config, resume=True)
    train(config, should_stop=stop_after(2))
    with pytest.raises(StyleCliError, match=r"began with batch_size 2, lr 0\.003"):
        train(replace(config, batch_size=3, lr=1.0), resume=True)
    with pytest.raises(StyleCliError, match="began with style_size 64"):
        train(replace(config, style_size=80), resume=True)
    with pytest.raises(StyleCliError, match="began with init auto"):
        train(replace(config, init="gallery"), resume=True)
    with pytest.raises(StyleCliError, match="is not the painting"):
        train(replace(config, styles=(bundled_photos()[0],)), resume=True)
    longer = resumed(config.output, {"steps": 4})
    assert longer == replace(config, steps=4, lr=0.003)
    with pytest.raises(StyleCliError, match="less than the 2 steps that are done"):
        train(replace(config, steps=1), resume=True)
    assert train(longer, resume=True).steps == 4


def test_a_checkpoint_of_another_version_says_so(stopped, monkeypatch):
    monkeypatch.setattr("stylecli.training.state.__version__", "9.9")
    with pytest.raises(StyleCliError, match=r"checkpoint\.safetensors is of stylecli .*is 9\.9"):
        train(stopped, resume=True)


def change_number(description, tensors):
    description["step"] += 1


def change_setting(description, tensors):
    description["config"]["size"] = 80


def remove_field(description, tensors):
    del description["scales"]


def remove_checksum(description, tensors):
    del description["sha256"]


def change_weight(description, tensors):
    tensors["snapshot.weights.body.0.0.weight"][0, 0, 0, 0] += 1e-6


def change_shape(description, tensors):
    tensors["now.moments.0.0.exp_avg"] = tensors["now.moments.0.0.exp_avg"].flatten()


def change_type(description, tensors):
    weight = tensors["now.weights.body.0.0.weight"]
    tensors["now.weights.body.0.0.weight"] = weight.view(torch.bfloat16)


def rename_moments(description, tensors):
    tensors["now.moments.what"] = tensors.pop("now.moments.1.0.momentum_buffer")


@pytest.mark.parametrize(
    "damage",
    [
        *(change_number, change_setting, remove_field, remove_checksum),
        *(change_weight, change_shape, change_type, rename_moments),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_line(stopped, damage):
    path = TrainFiles(stopped.output).checkpoint
    description, tensors = tensor_files.read_metadata(path), load_file(path)
    damage(description, tensors)
    tensor_files.save_tensors(path, tensors, description)
    refuses_as_damaged(stopped)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 0.6, 0.999])
def test_a_changed_byte_in_a_checkpoint_is_one_clear_line(stopped, share):
    path = TrainFiles(stopped.output).checkpoint
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1
    path.write_bytes(data)
    refuses_as_damaged(stopped)


def refuses_as_damaged(config):
    with pytest.raises(StyleCliError, match=r"m\.checkpoint\.safetensors is damaged") as caught:
        train(config, resume=True)
    assert "\n" not in caught.value.message
    assert "--overwrite" in caught.value.hint


def test_a_damaged_checkpoint_can_be_overwritten(config):
    TrainFiles(config.output).checkpoint.write_bytes(b"half")
    with pytest.raises(StyleCliError, match="interrupted training"):
        train(config)
    with pytest.raises(StyleCliError, match=r"checkpoint\.safetensors is damaged") as caught:
        train(config, resume=True)
    assert "--overwrite" in caught.value.hint
    assert train(replace(config, steps=1), overwrite=True).finished


def test_an_interrupted_training_survives_a_failed_attempt_to_replace_it(config, tmp_path):
    train(config, should_stop=stop_after(3))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "text.jpg").write_text("no image")
    with pytest.raises(StyleCliError, match="none of the 1 content photos"):
        train(replace(config, content=bad), overwrite=True)
    assert train(config, resume=True).finished


def test_photos_that_are_gone_leave_a_training_that_the_hint_goes_on_with(config, photos, tmp_path):
    config = replace(config, content=photos)
    away = tmp_path / "away"
    with pytest.raises(StyleCliError, match="no content folder") as caught:
        train(replace(config, content=away))
    assert "--resume" not in caught.value.hint  # there is nothing to go on with

    def take_away(event):
        if isinstance(event, Step) and event.step == 3:
            photos.rename(away)

    with pytest.raises(StyleCliError, match="content photos can be read") as caught:
        train(config, take_away)
    assert "--resume goes on from" in caught.value.hint
    with pytest.raises(StyleCliError, match="no content folder") as caught:
        train(config, resume=True)
    assert "--content takes a folder" in caught.value.hint
    assert "--resume goes on from" in caught.value.hint
    assert train(replace(config, content=away), resume=True).steps == 20
