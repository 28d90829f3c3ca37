"""The network that a training begins with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylecli.core import model_files
from stylecli.core.model_files import read_info
from stylecli.errors import StyleCliError
from stylecli.training.initial import check_start
from stylecli.training.loop import train
from trainings import gallery_kind, stop_after


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


def test_a_painting_starts_from_the_bundled_model_unless_told_otherwise(config, tmp_path):
    events = []
    quick = replace(config, width=None, steps=1, lr=1e-12, **gallery_kind())
    train(quick, events.append)
    assert read_info(config.output).training["init"] == "gallery"
    bundled = load_file(model_files.bundled_models() / "gallery.safetensors")
    for key, ours in load_file(config.output).items():
        rows = bundled[key] if bundled[key].ndim > ours.ndim else bundled[key][None]
        assert any(torch.allclose(ours, row, atol=1e-6) for row in rows), key
    other = tmp_path / "other.safetensors"
    for changes in ({"init": "scratch"}, {"norm": "bn"}, {"arch": "pyramid"}):
        train(replace(quick, output=other, **changes), overwrite=True)
        assert read_info(other).training["init"] == "scratch"


def test_two_paintings_of_one_name_are_refused(trio, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "ONE.png"
    twin.write_bytes(trio.styles[0].read_bytes())
    with pytest.raises(StyleCliError, match="two styles are named one"):
        train(replace(trio, styles=(*trio.styles, twin)))


def test_a_new_painting_starts_from_the_style_that_suits_it_best(trio, tmp_path):
    train(replace(trio, steps=150, lr=0.01))
    events = []
    output = tmp_path / "again.safetensors"
    again = replace(trio, styles=trio.styles[1:2], init=str(trio.output), output=output, steps=2)
    train(replace(again, lr=1e-12), events.append)
    assert "from trio" in events[0].text
    rows, one = load_file(trio.output), load_file(output)
    torch.testing.assert_close(one["body.0.1.weight"], rows["body.0.1.weight"][1])
    with pytest.raises(StyleCliError, match=r"has arch residual, norm in, .* width 4"):
        train(replace(again, width=5, output=tmp_path / "no.safetensors"))
    as_it_is = replace(again, width=None, lr=1e-12, output=tmp_path / "w.safetensors")
    train(as_it_is)
    assert read_info(as_it_is.output).width == 4


@pytest.mark.parametrize("style", ["udnie", "cezanne"])  # the painting is nearest to one at most
def test_a_training_starts_from_the_style_that_was_named(config, style):
    named = replace(config, width=None, init=style, steps=1, lr=1e-12, **gallery_kind())
    train(named)
    gallery = model_files.bundled_models() / "gallery.safetensors"
    row = read_info(gallery).styles.index(style)
    rows, one = load_file(gallery), load_file(named.output)
    torch.testing.assert_close(one["body.0.1.weight"], rows["body.0.1.weight"][row])


def test_init_starts_from_the_trained_weights_and_refuses_another_kind(config, tmp_path):
    train(replace(config, steps=5))
    warm = replace(
        config, steps=1, lr=1e-9, init=str(config.output), output=tmp_path / "w.safetensors"
    )
    train(warm)
    first, second = load_file(config.output), load_file(warm.output)
    assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in first)
    with pytest.raises(StyleCliError, match=r"has arch residual, norm in, .* width 4"):
        train(replace(warm, norm="bn"), overwrite=True)


def test_what_a_training_cannot_start_from_is_refused_before_anything_is_read(config, monkeypatch):
    monkeypatch.setattr("stylecli.training.setup.read_inputs", None)
    with pytest.raises(StyleCliError, match="no model named 'nowhere'"):
        train(replace(config, init="nowhere"))
    many = tuple(config.styles[0].with_name(f"{number}.png") for number in range(1001))
    with pytest.raises(StyleCliError, match="a model of 1001 styles, and the most is 1000"):
        check_start(replace(config, styles=many))
