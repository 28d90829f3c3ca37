"""Threads that do the most urgent first, and nothing that was cancelled."""

import threading
import time

import pytest

from stylecli.page.workers import Urgency, Workers


@pytest.fixture
def held():
    """A worker whose one thread is busy until it is let go."""
    workers, let_go = Workers(), threading.Event()
    begun = threading.Event()
    workers.submit(lambda: (begun.set(), let_go.wait(30)))
    assert begun.wait(30)
    yield workers, let_go
    let_go.set()


def test_small_pictures_come_before_large_ones_and_frames_before_all(held):
    workers, let_go = held
    done: list[str] = []
    order = [("full", Urgency.FULL), ("screen", Urgency.SCREEN), ("small", Urgency.SMALL)]
    order += [("second small", Urgency.SMALL), ("frame", Urgency.FRAME)]
    futures = [workers.submit(lambda name=name: done.append(name), how) for name, how in order]
    let_go.set()
    for future in futures:
        future.result(30)
    assert done == ["frame", "small", "second small", "screen", "full"]


def test_what_is_cancelled_before_it_begins_never_runs(held):
    workers, let_go = held
    done: list[str] = []
    given_up = workers.submit(lambda: done.append("given up"))
    kept = workers.submit(lambda: done.append("kept"), Urgency.FULL)
    assert given_up.cancel()
    let_go.set()
    kept.result(30)
    workers.wait_until_idle(30)
    assert done == ["kept"]


def test_an_error_is_the_callers_and_the_thread_goes_on():
    workers = Workers()
    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: 1 // 0).result(30)
    assert workers.submit(lambda: 2).result(30) == 2


def test_to_wait_until_idle_has_an_end(held):
    workers, let_go = held
    began = time.monotonic()
    workers.wait_until_idle(0.05)
    assert 0.04 < time.monotonic() - began < 20
    let_go.set()
    workers.wait_until_idle(30)
    assert time.monotonic() - began < 20
