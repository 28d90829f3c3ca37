"""Progress, learning rate, crops, time left."""

import pytest

from stylecli.config import TrainConfig
from stylecli.errors import choose_from
from stylecli.training.losses import inner_part
from stylecli.training.schedule import Schedule, learning_rate_factor, resolve_batch_size


@pytest.mark.parametrize(("recipe", "first"), [("layers", 192), ("paper", 128)])
def test_crops_are_smaller_for_two_thirds_of_the_training_but_for_the_first_step(recipe, first):
    schedule = Schedule(TrainConfig(steps=30, size=256, recipe=recipe), "cpu")
    sizes = [schedule.crop_size(step) for step in (0, 1, 20, 21, 29)]
    assert sizes == [256, first, first, 256, 256]


@pytest.mark.parametrize(("recipe", "longer"), [("layers", 16 / 9), ("paper", 4)])
def test_time_left_counts_a_crop_by_its_pixels(recipe, longer):
    schedule = Schedule(TrainConfig(steps=30, recipe=recipe), "cpu")
    schedule.per_step = 4.0
    assert schedule.seconds_left(11) == pytest.approx(4 * (10 + 9 * longer))
    assert schedule.seconds_left(25) == pytest.approx(4 * 5)
    assert schedule.seconds_left(30) == 0


class Clock:
    """Tells the time that it is set to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_minutes_are_counted_across_a_resume():
    schedule = Schedule(TrainConfig(minutes=2), "cpu")
    schedule.elapsed = 90
    assert schedule.progress(0) == pytest.approx(0.75)
    schedule.elapsed = 150
    assert schedule.progress(0) == 1
    assert schedule.seconds_left(0) == 0


def test_no_second_counts_before_the_clock_is_started():
    clock = Clock()
    schedule = Schedule(TrainConfig(minutes=1), "cpu", clock)
    clock.now += 50
    assert (schedule.elapsed, schedule.progress(0)) == (0, 0)
    schedule.start_clock()
    clock.now += 6
    schedule.end_step()
    assert schedule.elapsed == schedule.per_step == 6
    assert schedule.progress(1) == pytest.approx(0.1)


def test_time_in_which_a_training_was_suspended_does_not_count():
    clock = Clock()
    schedule = Schedule(TrainConfig(minutes=1), "cpu", clock)
    schedule.start_clock()
    for seconds in (2, 2, 3600, 2):
        clock.now += seconds
        schedule.end_step()
    assert schedule.elapsed == 2 + 2 + 3 * 2 + 2


def test_steps_that_become_slow_count_in_full_after_a_few():
    clock = Clock()
    schedule = Schedule(TrainConfig(minutes=100), "cpu", clock)
    schedule.start_clock()
    for seconds in (0.01, 0.01, 20, 20, 20, 20, 20):
        clock.now += seconds
        schedule.end_step()
    assert schedule.elapsed == pytest.approx(0.02 + 1 + 3 + 9 + 20 + 20)


def test_the_learning_rate_rises_then_falls_to_nearly_nothing():
    rates = [learning_rate_factor(i / 100) for i in range(101)]
    assert max(rates) > 0.95
    assert rates[0] < 0.2
    assert rates[-1] < 0.02
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(
    ("settings", "device", "photos"),
    [
        ({}, "cpu", 1),
        ({"recipe": "paper"}, "cpu", 2),
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


def test_the_edges_of_a_loss_lie_elsewhere_in_every_step():
    parts = [inner_part(0, step, (100, 200), 0.16) for step in range(300)]
    assert parts[7] == inner_part(0, 7, (100, 200), 0.16)
    assert parts != [inner_part(1, step, (100, 200), 0.16) for step in range(300)]
    assert {(down.stop - down.start, across.stop - across.start) for down, across in parts} == {
        (84, 168)
    }
    assert {down.start for down, _ in parts} == set(range(17))
    assert {across.start for _, across in parts} == set(range(33))
    assert inner_part(0, 7, (100, 200), 0.0) == (slice(0, 100), slice(0, 200))
