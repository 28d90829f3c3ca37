"""Large photos: how like their small version they come out, how long it takes, how much memory.

Each run is a command of its own. The likeness is that of two pictures of the same long side: the
large stylization scaled down, and the stylization of the photo that was scaled down first.

    python benchmarks/large.py photo.jpg OUT --style udnie --sizes auto,1
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from engine import peak_of, stylecli
from PIL import Image

from stylecli.files.images import read_picture, write_picture
from stylecli.files.pictures import Picture, shrunk


def likeness(large: Path, small: Path, long_side: int) -> dict[str, float]:
    """Mean absolute difference of 255, and the correlation, at the small picture's size."""
    a, b = (shrunk(read_picture(path), long_side).rgb.astype(float) for path in (large, small))
    difference, together = np.abs(a - b).mean(), np.corrcoef(a.ravel(), b.ravel())[0, 1]
    return {"difference": round(float(difference), 2), "correlation": round(float(together), 4)}


def main(
    photo: Path,
    out: Path,
    style: str = "starry-night",
    sizes: Annotated[str, typer.Option(help="Stroke sizes, with commas between.")] = "auto,1",
    long_side: Annotated[int, typer.Option(help="Of the small version, px.")] = 1200,
) -> None:
    """Measure one photo in one style, and leave the pictures in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    Image.MAX_IMAGE_PIXELS = None
    small = out / f"{photo.stem}-small.png"
    write_picture(small, Picture(shrunk(read_picture(photo), long_side).rgb))
    wanted = [(small, "1"), *((photo, size) for size in sizes.split(","))]
    expected = out / f"{small.stem}-{style}-1.png"
    for source, size in wanted:
        target = out / f"{source.stem}-{style}-{size}.png"
        chosen = ["--model", "gallery", "--style", style, "--stroke-size", size]
        peak, seconds = peak_of(stylecli(source, target, *chosen))
        like = likeness(target, expected, long_side) if source is photo else {}
        measured = {"seconds": round(seconds, 1), "MiB": round(peak)}
        print(json.dumps({"picture": target.name, **measured, **like}), flush=True)


if __name__ == "__main__":
    typer.run(main)
