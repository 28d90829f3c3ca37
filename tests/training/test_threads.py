"""Threads give way to other programs, and come back."""

import subprocess
import sys
import time

import psutil
import pytest
import torch

from stylecli.training import parallel
from stylecli.training.parallel import adapt_threads, measure_free_cores

BUSY = "while True: pass"


@pytest.mark.skipif(not hasattr(psutil.Process, "cpu_affinity"), reason="needs a core of its own")
def test_what_others_use_is_not_free_and_what_this_process_uses_is():
    """On one core, which both share: what is free is this process's part."""
    process = psutil.Process()
    before = process.cpu_affinity()
    process.cpu_affinity(before[:1])
    command = [sys.executable, "-c", BUSY]
    try:
        with subprocess.Popen(command) as other:
            measure_free_cores(process)
            wall, own = time.monotonic(), time.process_time()
            while time.monotonic() - wall < 1:
                pass
            share = (time.process_time() - own) / (time.monotonic() - wall)
            measured = measure_free_cores(process)
            other.kill()
    finally:
        process.cpu_affinity(before)
    assert measured == pytest.approx(share, abs=0.15)


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("most", "free", "chosen"),
    [
        (2, 1.95, 2),  # a desktop that does nothing
        (2, 1.0, 1),
        (2, 0.0, 1),
        (3, 2.0, 2),
        (4, 3.7, 4),
        (4, 12.0, 4),  # OMP_NUM_THREADS=4 on a large machine: as the user says
        (1, 2.0, 1),
    ],
)
def test_there_are_as_many_threads_as_there_is_room_for(
    set_threads, monkeypatch, most, free, chosen
):
    set_threads(most)
    monkeypatch.setattr(parallel, "_EVERY", 0.0)
    monkeypatch.setattr(parallel, "measure_free_cores", lambda process: free)
    with adapt_threads(enabled=True) as adapt:
        adapt()
        assert torch.get_num_threads() == chosen
    assert torch.get_num_threads() == most


@pytest.mark.parametrize(("enabled", "during"), [(True, 1), (False, 2)])
def test_threads_come_back_when_the_other_program_has_ended(
    set_threads, monkeypatch, enabled, during
):
    set_threads(2)
    free = iter([2.0, 1.0, 1.0, 2.0])
    monkeypatch.setattr(parallel, "_EVERY", 0.0)
    monkeypatch.setattr(parallel, "measure_free_cores", lambda process: next(free))
    counts = []
    with adapt_threads(enabled=enabled) as adapt:
        for _ in range(3):
            adapt()
            counts.append(torch.get_num_threads())
    assert counts == [during, during, 2]
