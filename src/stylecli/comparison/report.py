"""The files that a comparison writes: grid.png, report.html and results.json."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from stylecli.comparison.arms import GENERATOR, SHARED
from stylecli.comparison.chart import Chart, logarithmic_chart
from stylecli.comparison.metrics import CONTRASTS, mean_std
from stylecli.comparison.results import ArmResult, Comparison
from stylecli.files.atomic import atomic_path
from stylecli.files.colors import Rgb
from stylecli.files.grid import Cell, page
from stylecli.files.images import write_picture
from stylecli.files.pictures import Picture, data_uri

DEFINITIONS = (
    (
        "content, style, total",
        "The weighted terms of the objective that the arms were trained on, and their sum with "
        "total variation, of the picture clipped to [0, 1]: content is the mean squared "
        "difference of VGG features from the photo's, mean (F(y) - F(x))²; style that of Gram "
        "matrices from the painting's, summed over layers, w Σ mean (G(y) - G(s))², with "
        "G = F Fᵀ / (C H W).",
    ),
    (
        "contrast sensitivity",
        "How far the stylization moves when the photo x becomes m + c (x - m), with m its mean "
        "color and c = 0.5 or 0.25: the mean absolute difference of pixels on a scale of 0..255, "
        "and |F(y) - F(y')|² / |F(y)|² in VGG features.",
    ),
    (
        "batch dependence",
        "The mean absolute difference of pixels, on a scale of 0..255, between the photo stylized "
        "alone and in a batch with three others, whichever of two batches moves it more.",
    ),
    (
        "ms",
        "Milliseconds for one photo alone, the least of three passes after one that warms up. Take "
        "them with caution: whatever else the machine did at the time makes them longer, and the "
        "arms were measured one after the other.",
    ),
    (
        "Gatys steps",
        "How many L-BFGS steps on the pixels, from the photo, reach the arm's total on that photo.",
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
    """A table as text, for the page and the terminal."""

    heads: list[str]
    rows: list[Row]


def write_outputs(comparison: Comparison, out: Path, command: str) -> list[Path]:
    """Write the three files; what was there is replaced, each whole.

    Raises:
        OSError: the folder cannot be written.
    """
    grid, html, results = out / "grid.png", out / "report.html", out / "results.json"
    write_picture(grid, Picture(render_grid(comparison)))
    _write(html, render_page(comparison, command))
    stored = {"command": command, **comparison.as_json()}
    _write(results, json.dumps(_finite(stored), indent=1, allow_nan=False))
    return [grid, html, results]


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
    return page(cells, len(comparison.pictures))


def metrics_table(comparison: Comparison) -> Table:
    """The metrics: a row for each arm."""
    heads = list(_LOSSES)
    heads += [f"contrast {c:g}: pixels" for c in CONTRASTS]
    heads += [f"contrast {c:g}: features" for c in CONTRASTS]
    heads += ["batch dependence", "ms", "parameters"]
    heads += ["Gatys steps"] if comparison.gatys_losses else []
    rows = [Row(arm.name, _cells(arm, comparison)) for arm in comparison.arms]
    if comparison.gatys:
        losses = _loss_cells(comparison.gatys)
        rows.append(Row("gatys", losses + [_UNKNOWN] * (len(heads) - len(losses))))
    return Table(heads, rows)


def _loss_cells(losses: list[dict[str, float]]) -> list[str]:
    return [_mean_std([one[name] for one in losses], ",.0f") for name in _LOSSES]


def _cells(arm: ArmResult, comparison: Comparison) -> list[str]:
    cells = _loss_cells(arm.losses)
    for kind, format_ in (("pixels", ".1f"), ("features", ".3f")):
        moved = [[one[f"{c:g}"][kind] for one in arm.contrast] for c in CONTRASTS]
        cells += [_mean_std(values, format_) for values in moved]
    cells.append(_mean_std(arm.batch_dependence, ".2f"))
    cells += [f"{arm.milliseconds:,.0f}", f"{arm.parameters:,}"]
    if comparison.gatys_losses:
        most = max(map(len, comparison.gatys_losses)) - 1  # the first is of the untouched photo
        cells.append(", ".join(str(s) if s is not None else f"> {most}" for s in arm.gatys_steps))
    return cells


def _mean_std(values: list[float], format_: str) -> str:
    mean, deviation = mean_std(values)
    return f"{mean:{format_}} ± {deviation:{format_}}"


def _made_tables(comparison: Comparison) -> tuple[list[tuple[str, str]], Table]:
    """How the arms were made: the settings that all share, and a table of the others."""
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


def shared_and_different(values: Mapping[str, Mapping[str, object]]) -> tuple[str, list[str]]:
    """Describe the settings of several arms: those that all share, and a line for each other one.

    Args:
        values: the name of each arm to its settings, name to value.
    """
    shared, different = [], []
    for key in next(iter(values.values())):
        names: dict[str, list[str]] = {}
        for arm, settings in values.items():
            names.setdefault(str(settings[key]), []).append(arm)
        if len(names) == 1:
            shared.append(f"{key.replace('_', ' ')} {next(iter(names))}")
        else:
            each = [f"{value} in {', '.join(some)}" for value, some in names.items()]
            different.append(f"{key.replace('_', ' ')}: {'; '.join(each)}")
    return ", ".join(shared), different


def render_page(comparison: Comparison, command: str) -> str:
    """One HTML page, with all pictures inside."""
    loader = PackageLoader("stylecli", "comparison")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    columns = list(comparison.pictures)
    arms = [arm.name for arm in comparison.arms]
    alike, unlike = shared_and_different({arm.name: arm.generator for arm in comparison.arms})
    shared, made = _made_tables(comparison)
    return environment.get_template("report.html.jinja").render(
        style=comparison.style,
        photos=comparison.photos,
        arms=arms,
        columns=columns,
        start={"left": arms[0], "right": arms[-1]},
        has_gatys=bool(comparison.gatys_losses),
        aspects=[rgb.shape[1] / rgb.shape[0] for rgb in comparison.pictures["photo"]],
        pictures={name: [data_uri(rgb) for rgb in comparison.pictures[name]] for name in columns},
        table=metrics_table(comparison),
        alike=alike,
        unlike=unlike,
        shared=shared,
        made=made,
        definitions=DEFINITIONS,
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
    """JSON has no NaN: null stands for it."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # names that are not UTF-8
