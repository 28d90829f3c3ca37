"""Movement for a term that keeps films still."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from stylecli.core.model_files import load_arrays
from stylecli.training.files import TrainFiles
from stylecli.training.loop import train
from stylecli.training.motion import Motion, stability_loss, with_grain
from trainings import stop_after

HEIGHT, WIDTH = 120, 150


def motion(seed=0):
    return Motion(seed, 7, torch.zeros(2, 3, HEIGHT, WIDTH))


def test_a_movement_is_smooth_random_and_the_same_for_the_same_seed():
    columns = torch.arange(WIDTH, dtype=torch.float32).expand(1, 1, HEIGHT, WIDTH)
    rows = torch.arange(HEIGHT, dtype=torch.float32)[:, None].expand(1, 1, HEIGHT, WIDTH)
    images = torch.cat((columns, rows), 1)  # each pixel says where it is, px
    flow = motion()(images) - images
    assert torch.equal(motion()(images) - images, flow)
    assert not torch.equal(motion(1)(images) - images, flow)
    inner = flow.where(motion().inside, torch.nan)[:, :, 20:-20, 20:-20]
    assert 1 < inner.nan_to_num().abs().max() < 60
    steps = inner.diff(dim=2).nan_to_num().abs().max(), inner.diff(dim=3).nan_to_num().abs().max()
    assert max(steps) < 1  # neighbors stay neighbors, and nothing is folded


def test_what_comes_from_beyond_the_edges_does_not_count():
    moves = motion()
    stylized = torch.rand(2, 3, HEIGHT, WIDTH)
    after = moves(stylized)
    assert stability_loss(moves, stylized, after) == 0
    spoiled = after + (~moves.inside).float()
    assert stability_loss(moves, stylized, spoiled) == 0
    assert stability_loss(moves, stylized, after + 0.25).item() == pytest.approx(0.25, rel=1e-4)


def test_the_grain_of_a_photo_depends_on_its_number_alone():
    photos = torch.rand(4, 3, HEIGHT, WIDTH)
    grain = with_grain(photos, 0, 10) - photos
    assert grain.std().item() == pytest.approx(0.01, rel=0.05)
    assert abs(grain.mean().item()) < 1e-3
    halves = [with_grain(photos[:2], 0, 10), with_grain(photos[2:], 0, 12)]  # of two processes
    assert torch.equal(torch.cat(halves), with_grain(photos, 0, 10))
    assert not torch.equal(grain[0], grain[1])


def test_a_training_for_films_goes_on_after_an_interrupt_as_if_there_was_none(config, tmp_path):
    config = replace(config, stable=True, noise="gaussian")
    train(config)
    whole = TrainFiles.of(config)
    stopped = replace(config, output=tmp_path / "stopped.safetensors")
    train(stopped, should_stop=stop_after(7))
    train(stopped, resume=True)
    ours, theirs = load_arrays(whole.model), load_arrays(stopped.output)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    lines = [json.loads(line) for line in whole.log.read_text().splitlines()]
    terms = ("content", "style", "tv", "stable", "hatch")
    parts = [sum(line[name] for name in terms) for line in lines]
    assert np.allclose(parts, [line["total"] for line in lines], rtol=1e-4)
    assert all(line["stable"] > 0 for line in lines)
