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


def test_a_checkpoint_has_the_names_that_other_versions_know(stopped):
    path = TrainFiles(stopped.output).checkpoint
    assert set(tensor_files.read_metadata(path)) == {
        *("config", "format_version", "spec", "style_names", "first_row", "origin"),
        *("base_license", "step", "seconds", "recent", "rollbacks", "outliers"),
        *("left_out", "overwrite", "devices", "scales", "style_sha", "photos_sha"),
    }
    names = load_file(path).keys()
    assert {tuple(name.split(".")[:2]) for name in names} == {
        *(("now", "weights"), ("now", "moments"), ("snapshot", "weights")),
    }
    assert {"now.weights.body.0.0.weight", "now.moments.0.0.exp_avg"} < names


def with_metadata(path, **changes):
    """Change what a checkpoint says, and leave its tensors."""
    metadata = {**tensor_files.read_metadata(path), **changes}
    tensor_files.save_tensors(path, tensor_files.load_tensors(path), metadata)


def test_a_checkpoint_that_names_the_usual_activation_resumes_and_one_of_another_does_not(stopped):
    """Those of earlier versions name both."""
    path = TrainFiles(stopped.output).checkpoint
    spec = tensor_files.read_metadata(path)["spec"]
    with_metadata(path, spec={**spec, "output": "tanh", "activation": "relu"})
    with pytest.raises(StyleCliError, match="its output is 'tanh', and only linear is supported"):
        train(stopped, resume=True)
    with_metadata(path, spec={**spec, "output": "linear", "activation": "relu"})
    assert train(stopped, resume=True).finished


GONE = "gone"


@pytest.mark.parametrize("change", [{"brush": "wide"}, {"loss_padding": GONE}])
def test_a_checkpoint_of_another_version_says_so(config, change):
    train(config, should_stop=stop_after(2))
    path = TrainFiles(config.output).checkpoint
    changed = {**tensor_files.read_metadata(path)["config"], **change}
    with_metadata(path, config={key: value for key, value in changed.items() if value != GONE})
    with pytest.raises(StyleCliError, match="another version of stylecli"):
        resumed(config.output, {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, None) for key in ("step", "seconds", "recent", "rollbacks", "scales")),
        *((key, None) for key in ("style_sha", "photos_sha", "spec", "style_names", "first_row")),
        ("step", "3"),
        ("step", True),
        ("devices", None),
        ("devices", "1"),
        ("recent", [3]),
        ("spec", {"width": True}),
        ("spec", {"brush": 1}),
        ("spec", {"arch": ["residual"]}),
        ("spec", {"norm": None}),
        ("spec", {"width": "16"}),
        ("style_names", [1]),
        ("style_names", []),
        ("scales", {"style": [1.0], "tv": [1.0]}),
        ("scales", 2 * [{"style": 1.0}]),
        ("scales", 2 * [{"style": [1.0]}]),
        ("scales", 2 * [{"style": [1.0, 2.0], "tv": [1.0]}]),
        ("scales", 2 * [{"style": [1.0], "tv": []}]),
        ("scales", [{"style": [1.0], "tv": [1.0]}]),
        ("config", {}),
        ("config", 5),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_line(stopped, key, value):
    files = TrainFiles(stopped.output)
    metadata = {k: v for k, v in tensor_files.read_metadata(files.checkpoint).items() if k != key}
    metadata |= {key: value} if value is not None else {}
    tensor_files.save_tensors(
        files.checkpoint, tensor_files.load_tensors(files.checkpoint), metadata
    )
    with pytest.raises(StyleCliError, match=r"m\.checkpoint\.safetensors") as caught:
        train(stopped, resume=True)
    assert "\n" not in caught.value.message
    assert "--overwrite" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("styles", "x"), ("styles", [1]), ("size", None), ("size", "64"), ("size", 64.5)),
        *(("arch", ["residual"]), ("arch", {}), ("seed", -1)),
        *(("style_layers", 3), ("style_layers", [[]]), ("output", 5), ("lr", "fast"), ("lr", [])),
    ],
)
def test_an_odd_setting_in_a_checkpoint_is_one_clear_line(stopped, name, value):
    path = TrainFiles(stopped.output).checkpoint
    with_metadata(path, config={**tensor_files.read_metadata(path)["config"], name: value})
    with pytest.raises(StyleCliError, match=r"m\.checkpoint\.safetensors is damaged"):
        train(stopped, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {k: v for k, v in tensors.items() if not k.startswith("now.weights")},
        lambda tensors: {k: v for k, v in tensors.items() if not k.startswith("snapshot")},
        lambda tensors: {k: v for k, v in tensors.items() if "momentum_buffer" not in k},
        lambda tensors: {**tensors, "now.moments.what": torch.zeros(1)},
        lambda tensors: {k: v[:1] if v.ndim else v for k, v in tensors.items()},
    ],
)
def test_a_checkpoint_without_some_tensors_is_one_clear_line(stopped, change):
    files = TrainFiles(stopped.output)
    metadata, tensors = (f(files.checkpoint) for f in (tensor_files.read_metadata, load_file))
    tensor_files.save_tensors(files.checkpoint, change(tensors), metadata)
    with pytest.raises(StyleCliError, match=r"m\.checkpoint\.safetensors is damaged") as caught:
        train(stopped, resume=True)
    assert "\n" not in caught.value.message


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
