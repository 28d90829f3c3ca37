"""Values that are made once, and of which the last used are kept."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stylecli.page.cache import LruCache


def test_a_value_is_made_once_until_others_were_used_after_it():
    made: list[str] = []
    cache = LruCache[str, str](2)

    def get(key: str) -> str:
        return cache.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "abacab"] == list("ABACAB")
    assert made == ["a", "b", "c", "b"]  # c replaced b, as a was used after b
    cache.drop("a")
    get("a")
    assert made[-1] == "a"


def test_of_threads_that_ask_at_once_one_makes_the_value():
    cache, asked, made = LruCache[str, int](1), threading.Event(), []

    def make() -> int:
        made.append(1)
        assert asked.wait(30)
        return 7

    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(cache.get, "a", make) for _ in range(4)]
        asked.set()
        assert [answer.result(30) for answer in answers] == [7] * 4
    assert made == [1]


def test_an_error_is_raised_and_not_kept():
    cache = LruCache[str, float](1)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 / 0)
    assert cache.get("a", lambda: 2.0) == 2
