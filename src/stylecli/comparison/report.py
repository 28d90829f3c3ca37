"""The files that a comparison writes: grid.png, report.html and results.json."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from stylecli.comparison.arms import GENERATOR, SHARED
from stylecli.comparison.folder import WRITTEN, ArmResult, Comparison
from stylecli.comparison.metrics import CONTRASTS, STYLE_SCALES
from stylecli.events import counted
from stylecli.files.atomic import write_text
from stylecli.files.colors import Rgb
from stylecli.files.images import write_picture
from stylecli.files.pages import Cell, lay_out, render_html
from stylecli.files.pictures import Picture, data_uri

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
    """Round numbers for a logarithmic axis: some, and not too many."""
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


PAPER = "1607.08022"  # on arXiv
_STYLE = f"style at {', '.join('1' if by == 1 else f'1/{by}' for by in STYLE_SCALES)}"
# The rows of the table of metrics, and their meaning.
DEFINITIONS = (
    (
        ("content", "style", "total"),
        "The weighted terms of the objective that the networks were trained on, and their sum with "
        "total variation, of the picture clipped to [0, 1]: content is the mean squared "
        "difference of VGG features from the photo's, mean (F(y) - F(x))²; style that of Gram "
        "matrices from the painting's, summed over layers, w Σ mean (G(y) - G(s))², with "
        "G = F Fᵀ / (C H W).",
    ),
    (
        (_STYLE,),
        "How far the picture y is from the painting s in style, when both are scaled down by 1, 2 "
        "and 4, as a share of what the untouched photo x has: "
        "d(y) / d(x), with d(y) = Σ mean (G(y) - G(s))² / mean G(s)², over relu1_2, relu2_2, "
        "relu3_3 and relu4_3 of Oxford's VGG-16; the painting's long side is the picture's. 0 is "
        "the painting's style, 1 the photo's: a picture with 0.2, 0.4, 1.0 has the painting's "
        "small strokes and none of its large shapes. Means over the photos.",
    ),
    (
        tuple(f"contrast {c:g}: {kind}" for kind in ("pixels", "features") for c in CONTRASTS),
        "How far the stylization moves when the photo x becomes m + c (x - m), with m its mean "
        "color and c = 0.5 or 0.25: the mean absolute difference of pixels on a scale of 0..255, "
        "and |F(y) - F(y')|² / |F(y)|² in VGG features.",
    ),
    (
        ("batch dependence",),
        "The mean absolute difference of pixels, on a scale of 0..255, between the photo stylized "
        "alone and in a batch with three others; the larger of two such batches.",
    ),
    (
        ("ms",),
        "Milliseconds for the first photo alone, to two digits: the least of seven passes. The "
        "networks take turns, so that a busy machine does not favor one of them.",
    ),
    (("parameters",), "The numbers that a network learns."),
    (
        ("Gatys steps",),
        "How many L-BFGS steps on the pixels, from the photo, reach the network's total on that "
        "photo; one number for each photo.",
    ),
)
_LOSSES = ("content", "style", "total")
_FACTS = (
    *("norm", "paintings", "content", "content_photos", "steps_done", "seconds", "scales"),
    *("device", "torch"),
)
_UNKNOWN = "–"


class Row(NamedTuple):
    """A line of a table."""

    name: str
    cells: list[str]


class Table(NamedTuple):
    """A table of texts, for the page and the terminal."""

    heads: list[str]
    rows: list[Row]


def write_outputs(comparison: Comparison, out: Path, command: str) -> list[Path]:
    """Write the three files; what was there is replaced, each whole.

    Raises:
        OSError: the folder cannot be written.
    """
    grid, html, results = (out / name for name in WRITTEN)
    write_picture(grid, Picture(render_grid(comparison)))
    write_text(html, render_page(comparison, command))
    write_text(results, json.dumps(stored_results(comparison, command), indent=1, allow_nan=False))
    return [grid, html, results]


def stored_results(comparison: Comparison, command: str) -> dict[str, Any]:
    """All numbers of a comparison, and the command that makes it again, for JSON."""
    stored: dict[str, Any] = _finite({"command": command, **comparison.as_json()})
    return stored


def render_grid(comparison: Comparison) -> Rgb:
    """Rows are photos; columns are the photo, the style, each arm, and Gatys."""
    shapes = [rgb.shape for rgb in comparison.pictures["photo"]]
    side = min(max(shape[0] for shape in shapes), max(shape[1] for shape in shapes))
    cells = [
        Cell(
            _fit(pictures[i], side) if name == "style" else pictures[i],
            comparison.photos[i] if name == "photo" else name,
        )
        for i in range(len(comparison.photos))
        for name, pictures in comparison.pictures.items()
    ]
    return lay_out(cells, len(comparison.pictures))


def metrics_table(comparison: Comparison) -> Table:
    """The metrics: a row for each network."""
    heads = [head for group, _ in DEFINITIONS for head in group]
    if not comparison.gatys_losses:
        heads.remove("Gatys steps")
    rows = [Row(arm.name, _cells(arm, comparison)) for arm in comparison.arms]
    if comparison.gatys:
        cells = _judged_cells(comparison.gatys, comparison.gatys_style_at_scales)
        rows.append(Row("gatys", cells + [_UNKNOWN] * (len(heads) - len(cells))))
    return Table(heads, rows)


def _judged_cells(losses: list[dict[str, float]], style: list[tuple[float, ...]]) -> list[str]:
    """The first cells of a row, which the slow optimization has too."""
    cells = [_mean_std([one[name] for one in losses], ",.0f") for name in _LOSSES]
    return [*cells, ", ".join(f"{fmean(share):.2f}" for share in zip(*style, strict=True))]


def _cells(arm: ArmResult, comparison: Comparison) -> list[str]:
    cells = _judged_cells(arm.losses, arm.style_at_scales)
    for kind, format_ in (("pixels", ".1f"), ("features", ".3f")):
        moved = [[one[f"{c:g}"][kind] for one in arm.contrast] for c in CONTRASTS]
        cells += [_mean_std(values, format_) for values in moved]
    cells.append(_mean_std(arm.batch_dependence, ".2f"))
    cells += [f"{float(f'{arm.milliseconds:.2g}'):,g}", f"{arm.parameters:,}"]
    if comparison.gatys_losses:
        most = max(map(len, comparison.gatys_losses)) - 1  # the first is of the untouched photo
        cells.append(", ".join(str(s) if s is not None else f"> {most}" for s in arm.gatys_steps))
    return cells


def _mean_std(values: list[float], format_: str) -> str:
    """Mean and sample standard deviation; of a single value, the value."""
    text = f"{fmean(values):{format_}}"
    return f"{text} ± {stdev(values):{format_}}" if len(values) > 1 else text


def outcome(comparison: Comparison) -> str:
    """The result for the paper's claim, in a sentence; empty without both norms."""
    totals = {arm.name: fmean(loss["total"] for loss in arm.losses) for arm in comparison.arms}
    archs = list(dict.fromkeys(arm.arch for arm in comparison.arms))
    found = []
    for arch in archs:
        ours, theirs = totals.get(f"{arch}-in"), totals.get(f"{arch}-bn")
        if ours is not None and theirs is not None:
            percent = 100 * (1 - ours / theirs)
            more_or_less = f"{abs(percent):.0f} % {'lower' if percent >= 0 else 'higher'}"
            found.append(more_or_less + (f" ({arch})" if len(archs) > 1 else ""))
    if not found:
        return ""
    photos = counted(len(comparison.photos), "photo")
    return (
        f"Here, on {photos}, the objective in total is {' and '.join(found)} with instance norm "
        "than with batch norm."
    )


def tabulate_settings(comparison: Comparison) -> tuple[list[tuple[str, str]], Table]:
    """How the networks were made: the settings that all share, and a table of the others."""
    made = {
        arm.name: {**arm.training, **arm.generator, "norm": arm.norm} for arm in comparison.arms
    }
    keys = [*GENERATOR, *_FACTS, *SHARED]
    texts = {key: [_text(known.get(key)) for known in made.values()] for key in keys}
    shared = [
        (key.replace("_", " "), one[0])
        for key, one in texts.items()
        if len({*one}) == 1 and one[0] != _UNKNOWN
    ]
    other = [key for key in keys if len({*texts[key]}) > 1]
    rows = [Row(name, [texts[key][i] for key in other]) for i, name in enumerate(made)]
    return shared, Table([key.replace("_", " ") for key in other], rows)


def _text(value: object) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:,.5g}" if isinstance(value, float) else str(value)


def render_page(comparison: Comparison, command: str) -> str:
    """One HTML page, with all pictures inside."""
    columns = list(comparison.pictures)
    arms = [arm.name for arm in comparison.arms]
    shared, made = tabulate_settings(comparison)
    table = metrics_table(comparison)
    return render_html(
        "report",
        style=comparison.style,
        photos=comparison.photos,
        arms=arms,
        columns=columns,
        start={"left": arms[0], "right": arms[-1]},
        has_gatys=bool(comparison.gatys_losses),
        shapes=[rgb.shape for rgb in comparison.pictures["photo"]],
        pictures={name: [data_uri(rgb) for rgb in comparison.pictures[name]] for name in columns},
        table=table,
        paper=PAPER,
        outcome=outcome(comparison),
        norms={arm.norm for arm in comparison.arms},
        companions=[
            f"{', '.join(names[:-1])} and {names[-1]}" for names in comparison.about["companions"]
        ],
        shared=shared,
        made=made,
        definitions=[
            (", ".join(group), text) for group, text in DEFINITIONS if {*group} <= {*table.heads}
        ],
        trainings=_trainings(comparison),
        command=command,
        about=comparison.about,
    )


def _trainings(comparison: Comparison) -> Chart | None:
    """Total objective in training against steps, of each model."""
    models = {arm.model: arm for arm in comparison.arms if arm.training.get("curve")}
    return logarithmic_chart(
        (
            f"{arm.arch}, {arm.norm.partition('-')[0]}",
            [(point["step"], point["total"]) for point in arm.training["curve"]],
        )
        for arm in models.values()
    )


def _fit(rgb: Rgb, side: int) -> Rgb:
    image = Image.fromarray(rgb)
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


def _finite(value: Any) -> Any:
    """A copy for JSON, in which null stands for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
