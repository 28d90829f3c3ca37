"""Values that are made once, and of which the last used are kept."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stylecli.page.recent import Recent


def test_a_value_is_made_once_until_others_were_used_after_it():
    made: list[str] = []
    recent = Recent[str, str](2)

    def get(key: str) -> str:
        return recent.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "abacab"] == list("ABACAB")
    assert made == ["a", "b", "c", "b"]  # c replaced b, as a was used after b
    recent.drop("a")
    get("a")
    assert made[-1] == "a"


def test_of_threads_that_ask_at_once_one_makes_the_value():
    recent, asked, made = Recent[str, int](1), threading.Event(), []

    def make() -> int:
        made.append(1)
        assert asked.wait(30)
        return 7

    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(recent.get, "a", make) for _ in range(4)]
        asked.set()
        assert [answer.result(30) for answer in answers] == [7] * 4
    assert made == [1]


def test_an_error_is_raised_and_not_kept():
    recent = Recent[str, float](1)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 / 0)
    assert recent.get("a", lambda: 2.0) == 2
