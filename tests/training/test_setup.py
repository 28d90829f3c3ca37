"""How a training begins: its photos, its settings, its network."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stylecli.core import model_files
from stylecli.core.model_files import read_info
from stylecli.errors import StyleCliError
from stylecli.events import Notice
from stylecli.training.loop import train
from stylecli.training.setup import make_start
from trainings import stop_after


def test_a_large_scan_is_a_painting_too(config, tmp_path):
    scan = tmp_path / "scan.png"
    Image.new("1", (15_000, 13_000)).save(scan)
    train(replace(config, styles=(scan,), steps=1))
    assert config.output.is_file()


def test_what_may_surprise_is_said(config):
    events = []
    train(replace(config, norm="bn", batch_size=1, style_size=500, steps=1), events.append)
    texts = " ".join(event.text for event in events if isinstance(event, Notice))
    assert "enlarged to 500" in texts
    assert "batch norm is instance norm" in texts


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 5, "minutes": 1.0}, "both --steps and --minutes"),
        ({"steps": None, "minutes": float("inf")}, "--minutes inf is out of range"),
        ({"steps": None, "minutes": 0.0}, "--minutes 0.0 is out of range"),
        ({"steps": 0}, "--steps 0 is out of range"),
        ({"recipe": "layer"}, "unknown --recipe 'layer'"),
        ({"batch_size": 0}, "--batch-size 0 is out of range"),
        ({"size": 10}, "--size 10 is out of range"),
        ({"style_weight": float("nan")}, "--style-weight nan"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 10**20}, "--seed 1000"),
        ({"lr": -1.0}, "--lr -1.0"),
        ({"norm": "batch"}, "unknown --norm"),
        ({"content_layer": "relu9_9"}, "no layer 'relu9_9'"),
        ({"device": "gpu"}, "unknown device"),
        ({"precision": "half"}, "unknown --precision"),
        ({"init": "no-such-model"}, "no model named"),
        ({"loss_net": "resnet"}, "unknown loss network"),
    ],
)
def test_a_bad_setting_is_an_error_before_anything_is_written_or_computed(
    config, tmp_path, monkeypatch, changes, says
):
    monkeypatch.setattr("stylecli.training.setup.balance", None)  # it takes seconds
    new = tmp_path / "new" / "m.safetensors"
    with pytest.raises(StyleCliError, match=says):
        train(replace(config, output=new, **changes))
    assert not new.parent.exists()


def test_an_added_style_learns_its_own_rows_and_nothing_else_changes(trio, painting, tmp_path):
    train(replace(trio, license="mine"))
    before = load_file(trio.output)
    output = tmp_path / "four.safetensors"
    more = replace(trio, styles=(), add_style=painting, init=str(trio.output), output=output)
    train(more)
    straight = load_file(output)
    train(more, should_stop=stop_after(4), overwrite=True)
    train(more, resume=True)
    after = load_file(output)
    assert all(torch.equal(straight[key], after[key]) for key in after)
    assert read_info(output).license == "mine"
    assert read_info(output).styles == ["one", "two", "three", "waves-lines"]
    for key, tensor in after.items():
        if tensor.shape == before[key].shape:
            assert torch.equal(tensor, before[key])
        else:
            assert torch.equal(tensor[:3], before[key])
            rows = (before[key] == tensor[3]).all(1)
            assert not rows.any(), f"{key} learned nothing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"styles": ()}, "no painting"),
        ({"norm": "bn"}, "holds one style"),
        ({"add_style": Path("x.png")}, "adds one painting"),
        ({"styles": (), "add_style": Path("x.png")}, "adds one painting"),
    ],
)
def test_styles_that_cannot_be_trained_are_refused(trio, changes, message):
    with pytest.raises(StyleCliError, match=message):
        train(replace(trio, **changes))
    assert not trio.output.exists()


def test_a_style_cannot_be_added_to_a_model_without_instance_norm(trio, tmp_path):
    train(replace(trio, styles=trio.styles[:1], norm="bn"))
    more = replace(trio, styles=(), add_style=trio.styles[1], init=str(trio.output))
    with pytest.raises(StyleCliError, match="only instance norm can hold several"):
        train(replace(more, output=tmp_path / "more.safetensors"))


def first_weights(config) -> dict[str, torch.Tensor]:
    """Those that a training begins with, but for a step that changes next to nothing."""
    train(replace(config, steps=1, lr=1e-12))
    return load_file(config.output)


def test_a_new_painting_starts_from_the_mean_of_the_gallery_unless_told_otherwise(config, tmp_path):
    ours = first_weights(replace(config, width=None))
    assert read_info(config.output).training["init"] == "gallery"
    bundled = load_file(model_files.bundled_models() / "gallery.safetensors")
    for key, tensor in ours.items():
        wanted = bundled[key].mean(0) if bundled[key].ndim > tensor.ndim else bundled[key]
        torch.testing.assert_close(tensor, wanted, msg=key)
    other = tmp_path / "other.safetensors"
    for changes in ({"init": "scratch"}, {"norm": "bn"}, {"arch": "pyramid"}, {"recipe": "paper"}):
        train(replace(config, width=None, steps=1, output=other, **changes), overwrite=True)
        assert read_info(other).training["init"] == "scratch"


def test_two_paintings_of_one_name_are_refused(trio, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "ONE.png"
    twin.write_bytes(trio.styles[0].read_bytes())
    with pytest.raises(StyleCliError, match="two styles are named one"):
        train(replace(trio, styles=(*trio.styles, twin)))


def test_paintings_that_a_model_knows_keep_their_rows_and_a_new_one_gets_their_mean(
    trio, painting, tmp_path
):
    train(replace(trio, steps=3))
    paintings = (trio.styles[2], painting, trio.styles[0])
    output = tmp_path / "again.safetensors"
    again = replace(trio, styles=paintings, init=str(trio.output), output=output, width=None)
    weights, before = first_weights(again), load_file(trio.output)
    assert read_info(output).spec.width == 4
    for key in ("body.0.1.weight", "body.1.1.strength"):
        rows = before[key]
        torch.testing.assert_close(weights[key], torch.stack([rows[2], rows.mean(0), rows[0]]))
    with pytest.raises(StyleCliError, match="has arch residual, norm in, width 4; asked") as caught:
        train(replace(again, width=5, output=tmp_path / "no.safetensors"))
    assert caught.value.hint == "pass --arch=residual --norm=in --width=4"


@pytest.mark.parametrize("style", ["udnie", "cezanne"])
def test_a_training_starts_from_the_style_that_was_named(config, style):
    weights = first_weights(replace(config, width=None, init=style))
    gallery = model_files.bundled_models() / "gallery.safetensors"
    row = read_info(gallery).styles.index(style)
    key = "body.0.1.weight"
    torch.testing.assert_close(weights[key], load_file(gallery)[key][row])


def test_a_trained_network_stays_what_it_is_under_another_recipe(config, tmp_path):
    train(replace(config, recipe="paper", steps=1))
    more = replace(config, init=str(config.output), output=tmp_path / "more.safetensors", steps=1)
    train(more)
    info = read_info(more.output)
    assert (info.spec.noise, info.spec.upsampling) == ("none", "nearest")
    assert info.training["recipe"] == "layers"
    assert "hatch" in info.losses


def test_init_starts_from_the_trained_weights_and_refuses_another_kind(config, tmp_path):
    train(replace(config, steps=5))
    warm = replace(
        config, steps=1, lr=1e-9, init=str(config.output), output=tmp_path / "w.safetensors"
    )
    train(warm)
    first, second = load_file(config.output), load_file(warm.output)
    assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in first)
    with pytest.raises(StyleCliError, match="has arch residual, norm in, width 4"):
        train(replace(warm, norm="bn"), overwrite=True)


def test_what_a_training_cannot_start_from_is_refused_before_anything_is_read(config, monkeypatch):
    monkeypatch.setattr("stylecli.training.setup.read_inputs", None)
    with pytest.raises(StyleCliError, match="no model named 'nowhere'"):
        train(replace(config, init="nowhere"))
    many = tuple(config.styles[0].with_name(f"{number}.png") for number in range(1001))
    with pytest.raises(StyleCliError, match="a model of 1001 styles, and the most is 1000"):
        make_start(replace(config, styles=many))
