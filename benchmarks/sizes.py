"""One photo at several sizes: how alike the pictures look, how long they take, how much memory.

Each run is a command of its own. The pictures are scaled to the size of the smallest one, set side
by side in OUT/row.png, and compared with it: the mean difference, of 255.

    python benchmarks/sizes.py photo.jpg OUT --style udnie --megapixels 0.4,1,2.4,2.6,12
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from engine import peak_of, stylecli
from PIL import Image

from stylecli.files.colors import Rgb
from stylecli.files.images import read_picture, write_picture
from stylecli.files.pictures import Picture


def scaled(photo: Rgb, megapixels: float) -> Rgb:
    """A photo of so many megapixels."""
    height, width = photo.shape[:2]
    factor = (megapixels * 1e6 / (height * width)) ** 0.5
    size = round(width * factor), round(height * factor)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))


def main(
    photo: Path,
    out: Path,
    style: str = "starry-night",
    megapixels: Annotated[str, typer.Option(help="With commas between.")] = "0.4,1,2.4,2.6,12",
    stroke_size: str = "1",
) -> None:
    """Paint a photo at several sizes, and leave the pictures in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    rgb, row = read_picture(photo).rgb, list[Rgb]()
    for size in map(float, megapixels.split(",")):
        source, target = out / f"{size:g}.jpg", out / f"{size:g}-painted.jpg"
        write_picture(source, Picture(scaled(rgb, size)))
        chosen = ["-m", style, "--stroke-size", stroke_size, "--overwrite"]
        peak, seconds = peak_of(stylecli(source, target, *chosen))
        picture = Image.fromarray(read_picture(target).rgb)
        screen = row[0].shape[1::-1] if row else picture.size
        row.append(np.asarray(picture.resize(screen, Image.Resampling.LANCZOS)))
        apart = float(np.abs(row[-1].astype(float) - row[0]).mean())
        measured = {"seconds": round(seconds, 2), "MiB": round(peak), "difference": round(apart, 1)}
        print(json.dumps({"megapixels": size, **measured}), flush=True)
    Image.fromarray(np.concatenate(row, axis=1)).save(out / "row.png")


if __name__ == "__main__":
    typer.run(main)
