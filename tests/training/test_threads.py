"""Threads give way to other programs, and come back."""

import subprocess
import sys
import time

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylecli.training import parallel
from stylecli.training.parallel import adapt_threads, choose_threads, measure_others


@pytest.mark.parametrize(
    ("most", "room", "cores", "others", "chosen"),
    [
        (2, 2, 2, 0.05, 2),  # a desktop that does nothing
        (2, 2, 2, 1.0, 1),
        (2, 2, 2, 2.0, 1),
        (16, 16, 16, 4.0, 12),
        (16, 16, 16, 0.3, 16),
        (4, 4, 8, 0.5, 4),  # two logical cores in each
        (4, 4, 8, 2.0, 3),
        (4, 16, 16, 4.0, 4),  # OMP_NUM_THREADS=4 leaves room
        (8, 8, 8, 0.1, 8),  # OMP_NUM_THREADS=8: as the user says
        (1, 2, 2, 1.0, 1),
    ],
)
def test_there_are_as_many_threads_as_there_is_room_for(most, room, cores, others, chosen):
    assert choose_threads(others / cores, most, room) == chosen


@given(st.floats(0, 1), st.integers(1, 64), st.integers(0, 64))
def test_whatever_is_measured_there_is_one_thread_at_least(others, most, more):
    assert 1 <= choose_threads(others, most, most + more) <= most


BUSY = "while True: pass"


@pytest.mark.skipif(not hasattr(psutil.Process, "cpu_affinity"), reason="needs a core of its own")
def test_what_others_use_is_measured_and_what_this_process_uses_is_not():
    """On one core, which both share: of what is used, each measures the other's part."""
    process = psutil.Process()
    before = process.cpu_affinity()
    process.cpu_affinity(before[:1])
    command = [sys.executable, "-c", BUSY]
    try:
        with subprocess.Popen(command) as other:
            measure_others(process)
            wall, own = time.monotonic(), time.process_time()
            while time.monotonic() - wall < 1:
                pass
            share = (time.process_time() - own) / (time.monotonic() - wall)
            measured = measure_others(process)
            other.kill()
    finally:
        process.cpu_affinity(before)
    assert measured == pytest.approx(1 - share, abs=0.15)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("enabled", "during"), [(True, 1), (False, 2)])
def test_torch_has_as_many_threads_afterwards_as_before(two_threads, monkeypatch, enabled, during):
    monkeypatch.setattr(parallel, "_EVERY", 0.0)
    monkeypatch.setattr(parallel, "measure_others", lambda process: 1.0)
    with adapt_threads(enabled=enabled) as adapt:
        adapt()
        adapt()
        assert torch.get_num_threads() == during
        monkeypatch.setattr(parallel, "measure_others", lambda process: 0.0)
        adapt()
        assert torch.get_num_threads() == 2  # the other program has ended
        monkeypatch.setattr(parallel, "measure_others", lambda process: 1.0)
        adapt()
    assert torch.get_num_threads() == 2
