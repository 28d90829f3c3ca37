r"""Time to quality: the objective on photos kept out of training, against seconds of training.

Each run trains with settings of its own, in a process of its own, and is measured at its own
checkpoints after it ended, so that measuring costs it nothing. It starts from scratch unless
`init=` says otherwise: the bundled gallery knows the bundled paintings. Results stay in the output
folder: runs may be made one at a time, and `table` sets side by side what is there.

    python benchmarks/training.py run STYLE PHOTOS OUT baseline minutes=60 \
        width=32 precision=float32 lr=0.001 optimizer=adam batch_size=4 \
        loss_padding=zeros recipe=paper
    python benchmarks/training.py run STYLE PHOTOS OUT from-scratch minutes=10
    python benchmarks/training.py run STYLE PHOTOS OUT bundled-photos minutes=10 content=null
    python benchmarks/training.py keep-out PHOTOS FOLDER   # to train on, for benchmarks/gallery.py
    python benchmarks/training.py table OUT --against baseline

It draws with matplotlib, which `pip install '.[dev]'` brings.
"""

import json
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from stylecli.config import ObjectiveConfig, TrainConfig
from stylecli.core.devices import to_tensor
from stylecli.core.generators import Generator
from stylecli.core.model_files import load_generator
from stylecli.core.objective import (
    BALANCE_PHOTOS,
    PerceptualObjective,
    build_objective,
    prepare_network,
)
from stylecli.core.spec import GeneratorSpec
from stylecli.core.tensor_files import load_tensors, read_metadata
from stylecli.events import Notice, Step
from stylecli.files.content import ContentPhotos
from stylecli.files.images import read_rgb
from stylecli.files.jobs import scan_images
from stylecli.files.pictures import center_square
from stylecli.training import loop as training
from stylecli.training.outputs import TrainFiles

HELD_OUT = 60
SIZE = 256
POINTS = 16  # measured of each run

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def split(folder: Path) -> tuple[list[Path], list[Path]]:
    """All photos of a folder but 60, and those 60, spread evenly over its names."""
    paths = list(scan_images(folder))
    chosen = {round(i * len(paths) / HELD_OUT) for i in range(HELD_OUT)}
    rest = [path for i, path in enumerate(paths) if i not in chosen]
    return rest, [path for i, path in enumerate(paths) if i in chosen]


class Judge:
    """Johnson's objective for a painting, in float32, on the photos kept out of training."""

    def __init__(self, style: Path, held_out: list[Path]) -> None:
        self.objective = judging_objective(style)
        squares = [center_square(read_rgb(path, SIZE), SIZE) for path in held_out]
        self.photos = to_tensor(np.stack(squares), torch.device("cpu"))  # (N, 3, 256, 256)
        self.contents = [self.objective.content_target(few) for few in self.photos.split(4)]

    @torch.no_grad()
    def __call__(self, generator: Generator) -> dict[str, float]:
        """Means over the photos, each term weighted."""
        sums: dict[str, float] = {}
        for photos, content in zip(self.photos.split(4), self.contents, strict=True):
            terms = self.objective(generator(photos), content)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + float(term) * len(photos)
        return {name: total / len(self.photos) for name, total in sums.items()}


def judging_objective(style: Path) -> PerceptualObjective:
    """What all runs are judged by, whatever they were trained with: as Johnson's, all in all."""
    config, device = ObjectiveConfig(loss_padding="zeros"), torch.device("cpu")
    style_image = to_tensor(read_rgb(style, config.style_size)[None], device)
    photos = to_tensor(ContentPhotos(None, 0).batch(0, BALANCE_PHOTOS, SIZE), device)
    network = prepare_network(config, device, torch.float32)
    return build_objective(config, network, [style_image], photos)


@app.command()
def run(
    style: Path,
    photos: Path,
    out: Path,
    name: str,
    settings: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE...")],
    every: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 10,
) -> None:
    """Train with settings of `stylecli train` and measure the objective along the way."""
    training.CHECKPOINT_EVERY = every
    trained_on, held_out = split(photos)
    with tempfile.TemporaryDirectory() as folder:
        link(trained_on, Path(folder))
        given: dict[str, Any] = dict(map(parsed, settings))
        kept = Path(folder) / "kept"
        usual = {"content": Path(folder), "init": "scratch"}
        output = out / f"{name}.safetensors"
        config = TrainConfig(styles=(style,), output=output, **{**usual, **given})
        points = train_and_keep(config, kept)
        judge = Judge(style, held_out)
        for point in thinned(points):
            point |= judge(describe_generator(point.pop("file")))
            print(json.dumps(point), flush=True)
        measured = [point for point in points if "total" in point]
        result = {"name": name, "settings": given, "style": style.name, "points": measured}
        (out / f"{name}.json").write_text(json.dumps(result, indent=1))


def link(paths: list[Path], folder: Path) -> None:
    """Make a folder of links to photos."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(paths):
        (folder / f"{i:05}{path.suffix}").symlink_to(path.resolve())


@app.command()
def keep_out(photos: Path, folder: Path) -> None:
    """Make a folder of links to all photos but the 60 that are kept out of training."""
    link(split(photos)[0], folder)


def parsed(setting: str) -> tuple[str, Any]:
    """``width=32`` as a field of the config and its value."""
    field, _, text = setting.partition("=")
    try:
        return field, json.loads(text)
    except ValueError:
        return field, text


def train_and_keep(config: TrainConfig, kept: Path) -> list[dict[str, Any]]:
    """Train, and put every checkpoint aside: when, after how many steps, and in which file."""
    kept.mkdir()
    checkpoint = TrainFiles.of(config).checkpoint
    points: list[dict[str, Any]] = []
    began, last = time.process_time(), 0

    def keep(event: Step | Notice) -> None:
        nonlocal last
        if isinstance(event, Notice):
            print(event.text, flush=True)
        elif checkpoint.stat().st_mtime_ns != last:
            last = checkpoint.stat().st_mtime_ns
            point = read_metadata(checkpoint)
            file = kept / f"{len(points)}.safetensors"
            shutil.copyfile(checkpoint, file)
            cpu = time.process_time() - began
            seconds, step = point["seconds"], point["step"]
            points.append({"step": step, "seconds": seconds, "cpu": cpu, "file": file})

    result = training.train(config, keep, overwrite=True)
    cpu = time.process_time() - began
    last_point = {"step": result.steps, "seconds": result.seconds, "cpu": cpu}
    return [*points, {**last_point, "file": result.path}]


def thinned(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first, the last, and between them some that lie evenly on a scale of logarithms."""
    places = np.geomspace(1, len(points), POINTS).round().astype(int) - 1
    return [points[i] for i in sorted(set(places.tolist()))]


def describe_generator(file: Path) -> Generator:
    """The network in a checkpoint or a model file, in eval mode."""
    metadata, tensors = read_metadata(file), load_tensors(file)
    if "spec" not in metadata:
        return load_generator(file)
    generator = Generator(GeneratorSpec(**metadata["spec"]))
    prefix = "now.weights."
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    generator.load_state_dict(weights)
    return generator.eval()


@app.command()
def table(
    out: Path, against: Annotated[str, typer.Option(help="The run to compare with.")] = "baseline"
) -> None:
    """All runs in a folder, as a table and as OUT/time-to-quality.png."""
    results = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    by_name = {result["name"]: result for result in results}
    target = by_name[against]["points"][-1] if against in by_name else None
    heads = ("run", "steps", "seconds", "CPU seconds", "objective")
    shown = Table(*heads, f"as good as {against}", "ratio", "ratio of CPU seconds")
    for result in results:
        end = result["points"][-1]
        cells = [f"{end[key]:,.0f}" for key in ("step", "seconds", "cpu", "total")]
        if target and end["total"] <= target["total"]:
            reached = {
                key: when(result["points"], target["total"], key) for key in ("seconds", "cpu")
            }
            cells.append(f"after {reached['seconds']:,.0f} s")
            cells += [f"{target[key] / reached[key]:.1f} x" for key in reached]
        shown.add_row(result["name"], *cells)
    Console(width=120).print(shown)
    plot(results, target, out / "time-to-quality.png")


def when(points: list[dict[str, Any]], total: float, key: str) -> float:
    """Seconds until an objective was reached, between two points along a straight line.

    CPU seconds tell more than the clock's where other work ran beside a training.
    """
    if points[0]["total"] <= total:
        return float(points[0][key])
    for before, after in pairwise(points):
        if after["total"] <= total:
            share = (before["total"] - total) / (before["total"] - after["total"])
            return float(before[key] + share * (after[key] - before[key]))
    raise AssertionError("the last point reaches it")


def plot(results: list[dict[str, Any]], target: dict[str, Any] | None, path: Path) -> None:
    """Objective against seconds, one line a run."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for result in results:
        points = [point for point in result["points"] if point["seconds"] > 0]
        seconds, totals = zip(*((p["seconds"], p["total"]) for p in points), strict=True)
        axes.plot(seconds, totals, marker="o", markersize=3, label=result["name"])
    if target:
        axes.axhline(target["total"], color="gray", linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="seconds of training")
    axes.set(ylabel=f"objective on {HELD_OUT} photos kept out of training")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    app()
