"""Progress, learning rate, crops, time left."""

from dataclasses import replace

import pytest

from stylecli.config import TrainConfig
from stylecli.errors import choose_from
from stylecli.training.schedule import (
    Schedule,
    inner_part,
    learning_rate_factor,
    resolve_batch_size,
)


@pytest.mark.parametrize(
    ("share", "sizes"), [(2 / 3, [128, 128, 256]), (0, [256] * 3), (1, [128] * 3)]
)
def test_crops_are_small_for_a_share_of_the_training_and_then_large(share, sizes):
    schedule = Schedule(TrainConfig(steps=30, size=256, small_crops=share), "cpu")
    assert [schedule.crop_size(step) for step in (0, 19, 20)] == sizes


def test_time_left_counts_large_crops_as_four_small_ones():
    schedule = Schedule(TrainConfig(steps=30, small_crops=2 / 3), "cpu")
    assert schedule.seconds_left(10, 1.0) == pytest.approx(10 + 4 * 10)
    assert schedule.seconds_left(25, 4.0) == pytest.approx(5 * 4)
    assert schedule.seconds_left(30, 4.0) == 0


def test_minutes_are_counted_across_a_resume():
    schedule = Schedule(TrainConfig(minutes=2), "cpu")
    schedule.add_elapsed(90)
    assert schedule.progress(0) == pytest.approx(0.75, abs=0.01)
    schedule.add_elapsed(60)
    assert schedule.progress(0) == 1
    assert schedule.seconds_left(0, 1.0) == 0


def test_no_second_counts_before_the_clock_is_started():
    schedule = Schedule(TrainConfig(minutes=1e-9), "cpu")
    assert (schedule.elapsed(), schedule.progress(0)) == (0, 0)
    schedule.start_clock()
    assert schedule.elapsed() > 0
    assert schedule.progress(0) == 1


def test_the_learning_rate_rises_then_falls_to_nearly_nothing():
    rates = [learning_rate_factor(i / 100) for i in range(101)]
    assert max(rates) > 0.95
    assert rates[0] < 0.2
    assert rates[-1] < 0.02
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(
    ("settings", "device", "photos"),
    [
        ({}, "cpu", 2),
        ({}, "cuda", 8),
        ({"norm": "bn"}, "cpu", 4),
        ({"norm": "bn"}, "cuda", 8),
        ({"batch_size": 3}, "cuda", 3),
        ({"norm": "bn", "batch_size": 1}, "cpu", 1),
    ],
)
def test_batches_suit_device_and_norm(settings, device, photos):
    assert resolve_batch_size(TrainConfig(**settings), device) == photos


def test_one_step_and_two_steps():
    assert str(Schedule(TrainConfig(steps=1), "cpu")) == "1 step"
    assert str(Schedule(TrainConfig(steps=2), "cpu")) == "2 steps"
    assert str(Schedule(TrainConfig(minutes=1), "cpu")) == "about 1 minute"
    assert str(Schedule(TrainConfig(minutes=1.5), "cpu")) == "about 1.5 minutes"
    assert choose_from("x", ["a"]) == "there is: a"
    assert choose_from("x", ["b", "a"]) == "there are: a, b"


def test_the_edges_of_a_loss_lie_elsewhere_in_every_step(config):
    config = replace(config, loss_margin=0.16)
    parts = [inner_part(config, step, (100, 200)) for step in range(300)]
    assert parts[7] == inner_part(config, 7, (100, 200))
    assert {(down.stop - down.start, across.stop - across.start) for down, across in parts} == {
        (84, 168)
    }
    assert {down.start for down, _ in parts} == set(range(17))
    assert {across.start for _, across in parts} == set(range(33))
    whole = inner_part(replace(config, loss_margin=0.0), 7, (100, 200))
    assert whole == (slice(0, 100), slice(0, 200))
