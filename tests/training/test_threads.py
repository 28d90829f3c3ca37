"""Threads give way to other programs, and come back."""

import time
from itertools import count

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylecli.training import parallel
from stylecli.training.parallel import CpuTimes, ThreadCount, adapted_threads, cpu_times


class Machine:
    """Made-up cores, shared by a training and programs that could each use a share of a core."""

    def __init__(self, cores):
        self.cores, self.wall, self.own, self.total = cores, 0.0, 0.0, 0.0

    def times(self):
        return CpuTimes(self.wall, self.own, self.total)

    def run(self, own_threads, others, seconds=5.0):
        wanted = own_threads + sum(others)
        share = min(1.0, self.cores / wanted)
        self.wall += seconds
        self.own += own_threads * share * seconds
        self.total += wanted * share * seconds
        return self.times()


def settled(count, machine, others, windows=4):
    """The numbers of threads that are chosen, window by window."""
    return [count.update(machine.run(count.count, others)) for _ in range(windows)]


def test_a_program_on_one_of_two_cores_gets_it_and_gives_it_back():
    machine = Machine(2)
    count = ThreadCount(2, 2, 2, machine.times())
    assert settled(count, machine, [0.05]) == [2] * 4  # a desktop that does nothing
    assert settled(count, machine, [1.0]) == [1] * 4
    assert settled(count, machine, [0.02]) == [2] * 4
    assert settled(count, machine, [1.0, 1.0, 1.0]) == [1] * 4


@pytest.mark.parametrize(
    ("most", "cores", "physical", "others", "chosen"),
    [
        (16, 16, 16, [1.0] * 4, 12),
        (16, 16, 16, [0.3], 16),
        (4, 8, 4, [0.5], 4),  # two logical cores in each
        (4, 8, 4, [1.0] * 2, 3),
        (4, 16, 16, [1.0] * 4, 4),  # OMP_NUM_THREADS=4 leaves room
        (8, 8, 4, [0.1], 8),  # OMP_NUM_THREADS=8: as the user says
        (1, 2, 2, [1.0], 1),
    ],
)
def test_on_larger_machines_as_many_as_there_is_room_for(most, cores, physical, others, chosen):
    machine = Machine(cores)
    count = ThreadCount(most, cores, physical, machine.times())
    assert settled(count, machine, others)[-1] == chosen


def test_two_trainings_take_half_of_the_cores_each():
    one, other = ThreadCount(2, 2, 2, CpuTimes(0, 0, 0)), ThreadCount(2, 2, 2, CpuTimes(0, 0, 0))
    machine, mirror = Machine(2), Machine(2)
    for _ in range(3):
        mine, theirs = one.count, other.count
        one.update(machine.run(mine, [1.0] * theirs))
        other.update(mirror.run(theirs, [1.0] * mine))
    assert (one.count, other.count) == (1, 1)
    assert settled(one, machine, []) == [2] * 4  # the other one has ended


@given(st.lists(st.tuples(*[st.floats(0, 1e6)] * 3), max_size=8), st.integers(1, 64))
def test_whatever_is_measured_there_is_one_thread_at_least(measurements, most):
    count = ThreadCount(most, 2 * most, most, CpuTimes(0, 0, 0))
    for measurement in measurements:
        assert 1 <= count.update(CpuTimes(*measurement)) <= most


def test_what_is_measured_here_only_grows():
    before = cpu_times()
    while time.process_time() - before.own < 0.05:
        pass
    after = cpu_times()
    assert after.wall > before.wall
    assert after.own >= before.own + 0.05
    assert after.total >= before.total


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("enabled", "during"), [(True, 1), (False, 2)])
def test_torch_has_as_many_threads_afterwards_as_before(two_threads, monkeypatch, enabled, during):
    busy = (CpuTimes(second, 0.0, 1e6 * second) for second in count())
    monkeypatch.setattr(parallel, "_EVERY", 0.0)
    monkeypatch.setattr(parallel, "cpu_times", lambda: next(busy))
    with adapted_threads(enabled=enabled) as adapt:
        adapt()
        adapt()
        assert torch.get_num_threads() == during
    assert torch.get_num_threads() == 2
