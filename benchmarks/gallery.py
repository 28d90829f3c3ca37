"""Every shipped style against the slow optimization, on the same photos and objective.

    python benchmarks/gallery.py slow PHOTOS OUT --steps 300    # hours; goes on if run again
    python benchmarks/gallery.py table PHOTOS OUT
    python benchmarks/gallery.py finish PHOTOS OUT            # from the models' pictures

`slow` optimizes five of the photos from themselves, by L-BFGS, for each style, and notes how far it
came after so many steps, and how regular its picture is then (`regularity.py`); `table` sets each
style's model beside it, on the same photos and on all 60 that `training.py keep-out` leaves out of
the folder it makes (regularity on 20 of these): only a model trained on that folder has not seen
them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Annotated

import torch
import typer
from regularity import regularity
from rich.console import Console
from rich.table import Table

from stylecli.config import GatysConfig
from stylecli.core.generators import Generator
from stylecli.core.model_files import bundled_models, load_model
from stylecli.core.tensors import to_uint8
from stylecli.events import Pixels
from stylecli.files.atomic import atomic_path
from stylecli.files.colors import Rgb
from stylecli.gatys import optimize
from training import SIZE, Judge, split

AFTER = (25, 50, 100, 300)
FINISHED = (0, 10, 20, 30)
FEW = 5
REGULARITY = "regularity after 100"

After = dict[str, float]  # the least objective after that many steps; names, as JSON has them

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def paintings() -> list[Path]:
    """Those of the gallery."""
    return sorted((bundled_models() / "paintings").glob("*.jpg"))


def chosen(held_out: list[Path]) -> list[Path]:
    """The few photos of the slow optimization."""
    return held_out[:: len(held_out) // FEW][:FEW]


def read_slow(out: Path) -> dict[str, dict[str, After]]:
    """What `slow` found so far: style, photo, and the objective after some steps."""
    path = out / "gatys.json"
    found: dict[str, dict[str, After]] = json.loads(path.read_text()) if path.exists() else {}
    return found


@app.command()
def slow(
    photos: Path,
    out: Path,
    steps: Annotated[int, typer.Option(help="Of L-BFGS on each photo.")] = 300,
    few: Annotated[int, typer.Option(help="Only so many of the five photos.")] = FEW,
) -> None:
    """Optimize the photos for each style; what is in OUT/gatys.json is not repeated."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = {str(n) for n in AFTER if n <= steps} | ({REGULARITY} if steps >= 100 else set())
    for photo in chosen(split(photos)[1])[:few]:
        for painting in paintings():
            if wanted <= read_slow(out).get(painting.stem, {}).get(photo.name, {}).keys():
                continue
            after = best_after(photo, painting, steps)
            print(painting.stem, photo.name, after, flush=True)
            found = read_slow(out)  # again: another process may work on the same folder
            found.setdefault(painting.stem, {})[photo.name] = after
            with atomic_path(out / "gatys.json") as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n")


def best_after(photo: Path, painting: Path, steps: int) -> After:
    """The least objective within so many steps of L-BFGS from the photo, and the regularity."""
    judge = Judge(painting, [photo])
    totals: list[float] = []
    found: After = {}

    def watch(event: Pixels) -> None:
        totals.append(event.losses["total"])
        if event.step == 100:
            found[REGULARITY] = regularity(event.best())

    settings = GatysConfig(style=painting, steps=steps)
    optimize(judge.photos, judge.photos, judge.objective, settings, watch)
    return found | {str(n): min(totals[: n + 1]) for n in AFTER if n <= steps}


@app.command()
def table(photos: Path, out: Path) -> None:
    """Judge each style's model, and print it beside the slow optimization; in thousands."""
    _, held_out = split(photos)
    heads = ("untouched", f"{len(held_out)} held out", "the few", *(f"Gatys {n}" for n in AFTER))
    heads = (*heads, "the few / Gatys 100", "regularity", "on 20", "of Gatys 100")
    shown = Table("style", *heads, title=f"photos of {SIZE} px; objectives in thousands")
    for painting, found in sorted(read_slow(out).items()):
        path = bundled_models() / "paintings" / f"{painting}.jpg"
        generator, _ = load_model(painting)
        judge = Judge(path, [photo for photo in held_out if photo.name in found])
        ours = judge(generator)["total"]
        after = [mean_of(found, str(n)) for n in AFTER]
        numbers = [untouched(judge), Judge(path, held_out)(generator)["total"], ours, *after]
        cells = [f"{number / 1000:,.0f}" if number else "–" for number in numbers]
        cells.append(f"{ours / after[2]:.2f}" if after[2] else "–")
        judges = judge, Judge(path, held_out[::3])
        cells += [f"{mean(map(regularity, painted(one, generator))):.2f}" for one in judges]
        slow_one = mean_of(found, REGULARITY)
        shown.add_row(painting, *cells, f"{slow_one:.2f}" if slow_one else "–")
    Console(width=150).print(shown)


@app.command()
def finish(photos: Path, out: Path) -> None:
    """What some steps of the optimization bring from what each style's model paints.

    Printed for each style: the objective as a share of that of 100 steps from the photo, and the
    regularity; each of the model alone and after some steps.
    """
    _, held_out = split(photos)
    for painting, found in sorted(read_slow(out).items()):
        path = bundled_models() / "paintings" / f"{painting}.jpg"
        generator, _ = load_model(painting)
        reached: list[list[float]] = []
        for photo in held_out:
            if photo.name not in found:
                continue
            judge = Judge(path, [photo])
            with torch.no_grad():
                start = generator(judge.photos).clamp(0, 1)
            reached.append([*finished(judge, start, path), found[photo.name][REGULARITY]])
        slow_one = mean_of(found, "100") or float("nan")
        *numbers, of_slow = (mean(column) for column in zip(*reached, strict=True))
        totals = [f"{total / slow_one:.2f}" for total in numbers[: len(FINISHED)]]
        regular = [f"{number:.2f}" for number in (*numbers[len(FINISHED) :], of_slow)]
        print(painting, *totals, "regularity", *regular, flush=True)


def finished(judge: Judge, start: torch.Tensor, painting: Path) -> list[float]:
    """The least objective after each of FINISHED steps from a picture, then the regularities."""
    totals: list[float] = []
    regular = [regularity(to_uint8(start)[0])]

    def watch(event: Pixels) -> None:
        totals.append(event.losses["total"])
        if event.step in FINISHED[1:]:
            regular.append(regularity(event.best()))

    settings = GatysConfig(style=painting, steps=FINISHED[-1])
    optimize(judge.photos, start, judge.objective, settings, watch)
    return [min(totals[: n + 1]) for n in FINISHED] + regular


@torch.no_grad()
def painted(judge: Judge, generator: Generator) -> Iterator[Rgb]:
    """The photos of a judge, stylized."""
    for photo in judge.photos.split(1):
        yield to_uint8(generator(photo))[0]


def mean_of(found: dict[str, After], steps: str) -> float | None:
    """Of all the photos; None if one of them was not optimized for so long."""
    after = [one.get(steps) for one in found.values()]
    return None if None in after else mean(number for number in after if number is not None)


@torch.no_grad()
def untouched(judge: Judge) -> float:
    """The objective of the photos themselves."""
    content = judge.objective.content_target(judge.photos)
    return float(judge.objective(judge.photos, content)["total"])


if __name__ == "__main__":
    app()
