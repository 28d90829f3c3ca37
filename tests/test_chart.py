"""The chart of trainings: where its points and its numbers lie."""

import re

import pytest

from stylecli.comparison.report import draw_chart


def points_of(path: str) -> list[tuple[float, float]]:
    """The points of a path, from 0 to 1, from the left and from the top."""
    return [tuple(map(float, point)) for point in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_points_and_numbers_lie_where_a_logarithm_puts_them():
    chart = draw_chart({"a": [(0, 1000), (50, 100), (100, 10)], "b": [(100, 100)]})
    (left, top), (half, middle), (right, bottom) = points_of(chart.paths["a"])
    assert [left, half, right] == [0, 0.5, 1]
    assert 0 < top < middle < bottom < 1
    assert middle == pytest.approx((top + bottom) / 2)
    assert points_of(chart.paths["b"]) == [(1, middle)]
    assert chart.across == ["0", "25", "50", "75", "100"]
    assert chart.down[2] == "100"
    above, below = (float(chart.down[i].replace(",", "")) for i in (0, 4))
    assert 1000 < above < 1100
    assert 9 < below < 10


@pytest.mark.parametrize(
    "values", [(4.01e5, 4.02e5), (3e5, 9e6), (7.0, 7.0), (0.02, 0.9), (1, 1e9)]
)
def test_the_numbers_beside_every_range_differ_and_enclose_it(values):
    chart = draw_chart({"a": list(enumerate(values))})
    numbers = [float(text.replace(",", "")) for text in chart.down]
    assert numbers == sorted(set(numbers), reverse=True)
    assert numbers[0] > max(values) >= min(values) > numbers[-1]


def test_what_has_no_logarithm_is_left_out():
    chart = draw_chart({"a": [(1, 0.0), (2, -1.0), (3, 5.0)], "b": [(1, 0.0)]})
    assert [(name, len(points_of(path))) for name, path in chart.paths.items()] == [("a", 1)]
    assert draw_chart({"b": [(1, -1.0)]}) is None
    assert draw_chart({}) is None
