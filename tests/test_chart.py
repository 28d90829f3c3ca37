"""The chart of trainings: where its points and its numbers lie."""

import math

import pytest

from stylecli.comparison.report import draw_logarithmic_chart


def test_points_and_numbers_lie_where_a_logarithm_puts_them():
    chart = draw_logarithmic_chart([("a", [(0, 1000), (50, 100), (100, 10)]), ("b", [(100, 100)])])
    top, middle, bottom = (y for _, y in chart.lines[0].points)
    assert [x for x, _ in chart.lines[0].points] == [0, 0.5, 1]
    assert 0 < top < middle < bottom < 1
    assert middle == pytest.approx((top + bottom) / 2)
    assert chart.lines[1].points == [(1, middle)]
    assert chart.down == {"1,000": top, "100": middle, "10": bottom}
    assert list(chart.across) == ["0", "20", "40", "60", "80", "100"]
    assert list(chart.across.values()) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert len({line.color for line in chart.lines}) == 2


@pytest.mark.parametrize(
    "values", [(4.01e5, 4.02e5), (3e5, 9e6), (7.0, 7.0), (0.02, 0.9), (1, 1e9)]
)
def test_every_range_has_some_numbers_beside_it(values):
    chart = draw_logarithmic_chart([("a", list(enumerate(values)))])
    assert 2 <= len(chart.down) <= 12
    assert all(0 <= place <= 1 for place in chart.down.values())
    numbers = [float(text.replace(",", "")) for text in chart.down]
    assert numbers == sorted(set(numbers))


def test_what_has_no_logarithm_is_left_out():
    chart = draw_logarithmic_chart(
        [("a", [(1, 0.0), (2, math.nan), (3, 5.0)]), ("b", [(1, math.inf)])]
    )
    assert [(line.name, len(line.points)) for line in chart.lines] == [("a", 1)]
    assert draw_logarithmic_chart([("b", [(1, -1.0)])]) is None
    assert draw_logarithmic_chart([]) is None
