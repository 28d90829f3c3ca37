"""What is read, said and refused before the first step."""

from dataclasses import replace

import pytest
from PIL import Image

from stylecli.errors import StyleCliError
from stylecli.events import Notice
from stylecli.training.loop import train


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


@pytest.mark.parametrize(
    "changes", [{"size": 384.5}, {"seed": 0.5}, {"optimizer": []}, {"style_layers": "relu1_2"}]
)
def test_a_setting_of_another_type_is_one_clear_line(config, changes):
    (name,) = changes
    with pytest.raises(StyleCliError, match=f"--{name.replace('_', '-')} "):
        train(replace(config, **changes))
