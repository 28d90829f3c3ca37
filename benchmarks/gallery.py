"""Every shipped style against the slow optimization, on the same photos and objective.

    python benchmarks/gallery.py PHOTOS OUT --styles starry-night,udnie --steps 100

For each style: the objective of its model on 60 of the photos, and on five of them (or `--few`)
beside what L-BFGS reaches from the photo after so many steps. Results stay in OUT, a file a style,
so that a run that was stopped goes on with the styles that are missing. The 60 are those that
`training.py keep-out` leaves out of the folder it makes: only a model trained on that folder has
not seen them.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from training import Judge, judging_objective, split

from stylecli.config import GatysConfig
from stylecli.core.checkpoints import bundled_models, load_model
from stylecli.events import Pixels
from stylecli.gatys import optimize

AFTER = (25, 50, 100, 300)


def main(
    photos: Path,
    out: Path,
    styles: Annotated[str, typer.Option(help="Names, by commas; all that have a painting.")] = "",
    steps: Annotated[int, typer.Option(help="Of L-BFGS on each of the few photos.")] = 300,
    few: Annotated[int, typer.Option(help="Photos for L-BFGS.")] = 5,
) -> None:
    """Measure styles that are not measured yet, then print all."""
    out.mkdir(parents=True, exist_ok=True)
    paintings = sorted((bundled_models() / "paintings").glob("*.jpg"))
    wanted = set(styles.split(",")) if styles else {path.stem for path in paintings}
    for painting in paintings:
        result = out / f"{painting.stem}.json"
        if painting.stem in wanted and not result.exists():
            measured = measure(painting, photos, steps, few)
            result.write_text(json.dumps(measured, indent=1))
    show([json.loads(path.read_text()) for path in sorted(out.glob("*.json"))])


def measure(painting: Path, photos: Path, steps: int, count: int) -> dict[str, Any]:
    """The objective of a style's model, and of the optimization after some steps."""
    _, held_out = split(photos)
    few = held_out[:: len(held_out) // count][:count]
    generator, _ = load_model(painting.stem)
    judge = Judge(painting, few)
    slow = [best_after(judge.photos[i : i + 1], painting, steps) for i in range(count)]
    after = {n: sum(one[n] for one in slow) / count for n in AFTER if n <= steps}
    return {
        "style": painting.stem,
        "held_out": Judge(painting, held_out)(generator),
        "few": judge(generator)["total"],
        "untouched": untouched(judge),
        "gatys": after,
    }


def best_after(photo: torch.Tensor, painting: Path, steps: int) -> dict[int, float]:
    """The least objective within so many steps of L-BFGS from the photo."""
    totals: list[float] = []

    def watch(event: Pixels) -> None:
        totals.append(event.losses["total"])

    config = GatysConfig(style=painting, steps=steps)
    optimize(photo, judging_objective(painting), config, watch)
    return {n: min(totals[: n + 1]) for n in AFTER if n <= steps}


@torch.no_grad()
def untouched(judge: Judge) -> float:
    """The objective of the photos themselves."""
    content = judge.objective.content_target(judge.photos)
    return float(judge.objective(judge.photos, content)["total"])


def show(results: list[dict[str, Any]]) -> None:
    """All results, in thousands."""
    columns = [f"Gatys {n}" for n in AFTER]
    table = Table("style", "60 held out", "few", *columns, "few / Gatys 100", "untouched")
    for one in results:
        gatys = [one["gatys"].get(str(n)) for n in AFTER]
        ratio = f"{one['few'] / gatys[2]:.2f}" if gatys[2] else "–"
        cells = [one["held_out"]["total"], one["few"], *gatys]
        shown = [f"{value / 1000:,.0f}" if value else "–" for value in cells]
        table.add_row(one["style"], *shown, ratio, f"{one['untouched'] / 1000:,.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
