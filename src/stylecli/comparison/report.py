"""The files that a comparison writes: grid.png, report.html and results.json."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from stylecli.comparison.arms import GENERATOR, SHARED
from stylecli.comparison.folder import WRITTEN, ArmResult, Comparison
from stylecli.comparison.metrics import CONTRASTS, STYLE_SCALES
from stylecli.events import pluralize
from stylecli.files.atomic import write_text
from stylecli.files.colors import Rgb
from stylecli.files.images import write_picture
from stylecli.files.pages import Cell, lay_out, render_html
from stylecli.files.pictures import Picture, data_uri, resize

_ROOM = 0.025  # above and below the curves, in powers of ten: 6 % of a value


class Chart(NamedTuple):
    """Curves in a square of side 1, and the numbers at its edges and quarters."""

    paths: dict[str, str]  # the name of a curve to its path, as SVG writes it
    across: list[str]  # from the left
    down: list[str]  # from the top


def draw_chart(curves: Mapping[str, Iterable[tuple[float, float]]]) -> Chart | None:
    """Curves of finite numbers, on a logarithmic vertical axis; what is not above 0 is left out."""
    kept = {name: [(x, math.log10(y)) for x, y in curve if y > 0] for name, curve in curves.items()}
    points = [point for curve in kept.values() for point in curve]
    if not points:
        return None
    last = max(x for x, _ in points) or 1
    high = max(y for _, y in points) + _ROOM
    span = high - min(y for _, y in points) + _ROOM
    paths = {
        name: f"M{' '.join(f'{x / last:.4f} {(high - y) / span:.4f}' for x, y in curve)}h0"
        for name, curve in kept.items()
        if curve
    }
    down = [10 ** (high - span * i / 4) for i in range(5)]
    return Chart(paths, [_round(last * i / 4) for i in range(5)], [_round(y) for y in down])


def _round(number: float) -> str:
    """A number to three digits, such as ``1,230,000``."""
    return f"{float(f'{number:.3g}'):,.10g}"


_STYLE = f"style at {', '.join('1' if by == 1 else f'1/{by}' for by in STYLE_SCALES)}"
_LOSSES = ("content", "style", "total")
_FACTS = (
    *("norm", "paintings", "content", "content_photos", "steps_done", "seconds", "scales"),
    *("device", "torch"),
)
_UNKNOWN = "–"


class Table(NamedTuple):
    """Texts for each network, for the page and the terminal."""

    networks: list[str]
    rows: dict[str, list[str]]  # what a row says, to a text for each network


def write_outputs(comparison: Comparison, out: Path, command: str) -> list[Path]:
    """Write the three files; what was there is replaced, each whole.

    Raises:
        OSError: the folder cannot be written.
    """
    grid, html, results = (out / name for name in WRITTEN)
    write_picture(grid, Picture(render_grid(comparison)))
    write_text(html, render_page(comparison, command))
    write_text(results, json.dumps(collect_results(comparison, command), indent=1, allow_nan=False))
    return [grid, html, results]


def collect_results(comparison: Comparison, command: str) -> dict[str, Any]:
    """All numbers of a comparison, and the command that makes it again, as JSON can hold them.

    None stands for numbers that are not finite.
    """
    text = json.dumps({"command": command, **comparison.as_json()})
    stored: dict[str, Any] = json.loads(text, parse_constant=lambda name: None)
    return stored


def render_grid(comparison: Comparison) -> Rgb:
    """Rows are photos; columns are the photo, the style, each arm, and Gatys."""
    shapes = [rgb.shape for rgb in comparison.pictures["photo"]]
    side = min(max(shape[0] for shape in shapes), max(shape[1] for shape in shapes))
    (style, *_) = comparison.pictures["style"]
    pictures = {**comparison.pictures, "style": [resize(style, side)] * len(shapes)}
    cells = [
        Cell(column[i], photo if name == "photo" else name)
        for i, photo in enumerate(comparison.photos)
        for name, column in pictures.items()
    ]
    return lay_out(cells, len(pictures))


def tabulate_metrics(comparison: Comparison) -> Table:
    """The metrics of each network, and of the slow optimization; the page says what they mean."""
    columns = {arm.name: _describe_arm(arm, comparison) for arm in comparison.arms}
    heads = next(iter(columns.values()))
    if comparison.gatys:
        columns["gatys"] = _judge(comparison.gatys, comparison.gatys_style_at_scales)
    rows = {head: [one.get(head, _UNKNOWN) for one in columns.values()] for head in heads}
    return Table(list(columns), rows)


def _judge(losses: list[dict[str, float]], style: list[tuple[float, ...]]) -> dict[str, str]:
    """What is measured of pictures: name to text."""
    texts = {name: _format_mean([one[name] for one in losses], ",.0f") for name in _LOSSES}
    return texts | {_STYLE: ", ".join(f"{fmean(one):.2f}" for one in zip(*style, strict=True))}


def _describe_arm(arm: ArmResult, comparison: Comparison) -> dict[str, str]:
    """What is measured of a network: name to text."""
    texts = _judge(arm.losses, arm.style_at_scales)
    for kind, format_ in (("pixels", ".1f"), ("features", ".3f")):
        for contrast in (f"{c:g}" for c in CONTRASTS):
            moved = [one[contrast][kind] for one in arm.contrast]
            texts[f"contrast {contrast}: {kind}"] = _format_mean(moved, format_)
    texts["batch dependence"] = _format_mean(arm.batch_dependence, ".2f")
    texts["ms"] = f"{float(f'{arm.milliseconds:.2g}'):,g}"
    texts["parameters"] = f"{arm.parameters:,}"
    if comparison.gatys_losses:
        most = max(map(len, comparison.gatys_losses)) - 1  # the first is of the untouched photo
        steps = [f"> {most}" if steps is None else str(steps) for steps in arm.gatys_steps]
        texts["Gatys steps"] = ", ".join(steps)
    return texts


def _format_mean(values: list[float], format_: str) -> str:
    """Mean and sample standard deviation; of a single value, the value."""
    text = f"{fmean(values):{format_}}"
    return f"{text} ± {stdev(values):{format_}}" if len(values) > 1 else text


def describe_outcome(comparison: Comparison) -> str:
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
    photos = pluralize(len(comparison.photos), "photo")
    return (
        f"Here, on {photos}, the objective in total is {' and '.join(found)} with instance norm "
        "than with batch norm."
    )


def tabulate_settings(comparison: Comparison) -> tuple[dict[str, str], Table]:
    """How the networks were made: the settings that all share, and a table of the others."""
    made = {
        arm.name: {**arm.training, **arm.generator, "norm": arm.norm} for arm in comparison.arms
    }
    rows = {
        key.replace("_", " "): [_format_value(known.get(key)) for known in made.values()]
        for key in (*GENERATOR, *_FACTS, *SHARED)
    }
    shared = {
        name: texts[0]
        for name, texts in rows.items()
        if len({*texts}) == 1 and texts[0] != _UNKNOWN
    }
    other = {name: texts for name, texts in rows.items() if len({*texts}) > 1}
    return shared, Table(list(made), other)


def _format_value(value: object) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, dict):
        return ", ".join(f"{key} {_format_value(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_format_value, value))
    return f"{value:,.5g}" if isinstance(value, float) else str(value)


def render_page(comparison: Comparison, command: str) -> str:
    """One HTML page, with all pictures inside."""
    shared, made = tabulate_settings(comparison)
    return render_html(
        "report",
        **vars(comparison),
        addresses={k: [data_uri(rgb) for rgb in v] for k, v in comparison.pictures.items()},
        table=tabulate_metrics(comparison),
        outcome=describe_outcome(comparison),
        companions=[
            f"{', '.join(names[:-1])} and {names[-1]}" for names in comparison.about["companions"]
        ],
        shared=shared,
        made=made,
        trainings=_draw_trainings(comparison),
        command=command,
    )


def _draw_trainings(comparison: Comparison) -> Chart | None:
    """Total objective in training against steps, of each model."""
    return draw_chart(
        {
            f"{arm.arch}, {arm.norm.partition('-')[0]}": [
                (point["step"], point["total"]) for point in arm.training.get("curve", [])
            ]
            for arm in comparison.arms
        }
    )
