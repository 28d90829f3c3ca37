"""The chart of a comparison's trainings, as places in a square; the page draws it as SVG."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")  # on white and black
_TICKS = 6  # on an axis, about
_ROOM = 0.04  # above and below the lines, as a share of the height

Points = Sequence[tuple[float, float]]


class Tick(NamedTuple):
    """A number on an axis."""

    place: float
    text: str


class Line(NamedTuple):
    """One curve."""

    name: str
    color: str
    points: list[tuple[float, float]]


class Chart(NamedTuple):
    """Curves in a square of side 1: from the left, and from the top."""

    lines: list[Line]
    across: list[Tick]
    down: list[Tick]


def logarithmic_chart(curves: Iterable[tuple[str, Points]]) -> Chart | None:
    """Curves with a logarithmic vertical axis; what is not above 0 is left out.

    Args:
        curves: the name of each, and its points: x from 0, and y.

    Returns:
        The chart; None if no point is left.
    """
    kept = [
        (name, [(x, math.log10(y)) for x, y in points if 0 < y < math.inf])
        for name, points in curves
    ]
    kept = [(name, points) for name, points in kept if points]
    if not kept:
        return None
    last = max(x for _, points in kept for x, _ in points) or 1
    heights = [y for _, points in kept for _, y in points]
    room = _ROOM * (max(heights) - min(heights)) or _ROOM
    low, high = min(heights) - room, max(heights) + room

    def place(y: float) -> float:
        return round((high - y) / (high - low), 4)

    lines = [
        Line(name, _COLORS[i % len(_COLORS)], [(round(x / last, 4), place(y)) for x, y in points])
        for i, (name, points) in enumerate(kept)
    ]
    across = [Tick(x / last, f"{x:,.10g}") for x in _even_steps(0, last)]
    down = [Tick(place(math.log10(y)), f"{y:,.10g}") for y in _numbers(10**low, 10**high)]
    return Chart(lines, across, down)


def _numbers(low: float, high: float) -> list[float]:
    """Round numbers that lie well on a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    for digits in ((1,), (1, 3), (1, 2, 5)):
        found = [digit * 10.0**decade for decade in decades for digit in digits]
        found = [number for number in found if low <= number <= high]
        if len(found) >= _TICKS // 2:
            return found
    return _even_steps(low, high)


def _even_steps(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, from a number up to another."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
