"""Progress, learning rate, crop size, time left."""

import pytest

from stylecli.config import TrainConfig
from stylecli.training.schedule import Schedule, learning_rate_factor, photos_a_step


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
    assert photos_a_step(TrainConfig(**settings), device) == photos
