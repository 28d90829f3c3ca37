"""How near each style's pictures come to its painting, and what they keep of the photo.

    python benchmarks/gallery.py PHOTO...                         # of the bundled gallery
    python benchmarks/gallery.py PHOTO... --model OTHER.safetensors --style udnie

Each photo is painted in one pass and in layers. Pictures, photos and paintings are judged at a long
side of 768 px: what a screen shows, in about 1 GB of memory however large the photo is. Style at
three scales and content at half scale are those of `stylecli/comparison/metrics.py`, regularity
that of `regularity.py`.
"""

from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import torch
import typer
from regularity import regularity
from rich.console import Console
from rich.table import Table

from stylecli import Stylizer
from stylecli.comparison.metrics import Grams, grams_at_scales, style_at_scales
from stylecli.config import GALLERY
from stylecli.core.devices import to_tensor
from stylecli.core.model_files import bundled_models
from stylecli.core.vgg import LossNetwork, load_loss_network
from stylecli.files.colors import Rgb
from stylecli.files.images import read_picture
from stylecli.files.pictures import Picture, resize, shrink

JUDGED = 768  # px: the long side
WAYS: dict[str, dict[str, Any]] = {"one pass": {"stroke_size": "network"}, "layers": {}}


def paintings() -> list[Path]:
    """Those of the gallery."""
    return sorted((bundled_models() / "paintings").glob("*.jpg"))


def table(
    photos: list[Path],
    model: Annotated[str, typer.Option(help="A model of these styles.")] = GALLERY,
    style: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
) -> None:
    """Print style at three scales, content and regularity: means over the photos."""
    heads = ("1", "1/2", "1/4", "content", "regularity")
    shown = Table("style", "painted", *heads, title=f"{len(photos)} photos, {model}")
    network = load_loss_network()
    judges = [PhotoJudge(photo, network) for photo in photos]
    every: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for path in paintings():
        if style and path.stem not in style:
            continue
        stylizer = Stylizer(model, path.stem, precision="float32")
        for way, look in WAYS.items():
            of_photos = [judge(stylizer(judge.photo, **look), path) for judge in judges]
            every[way].append(means(of_photos))
            shown.add_row(path.stem, way, *(f"{number:.2f}" for number in every[way][-1]))
    for way, of_styles in every.items():
        shown.add_row("mean", way, *(f"{number:.2f}" for number in means(of_styles)))
    Console(width=100).print(shown)


class PhotoJudge:
    """Judges pictures of one photo.

    Args:
        path: of the photo.
        network: the loss network.
    """

    def __init__(self, path: Path, network: LossNetwork) -> None:
        self.photo, self.network = read_picture(path).rgb, network
        self.small = as_judged(self.photo)
        self.grams = grams_at_scales(as_tensor(self.small), network)
        self.paintings: dict[Path, tuple[Grams, ...]] = {}

    def __call__(self, picture: Rgb, painting: Path) -> list[float]:
        """Style at three scales, content at half scale, regularity."""
        if painting not in self.paintings:
            self.paintings[painting] = self.grams_of(painting)
        small = as_judged(picture)
        ours = grams_at_scales(as_tensor(small), self.network)
        style = style_at_scales(ours, self.paintings[painting], self.grams)
        y, x = (self.features(as_tensor(rgb)) for rgb in (small, self.small))
        content = float((y - x).square().mean()) / 1e5
        return [*style, content, regularity(small)]

    @torch.no_grad()
    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Of an image (1, 3, H, W) scaled down by 2, at relu3_3."""
        return self.network(torch.nn.functional.avg_pool2d(image, 2), ("relu3_3",))["relu3_3"]

    def grams_of(self, painting: Path) -> tuple[Grams, ...]:
        """Of a painting, scaled so that its long side is the photo's."""
        rgb = read_picture(painting).rgb
        sides = rgb.shape[:2]
        short_side = round(max(self.small.shape[:2]) * min(sides) / max(sides))
        return grams_at_scales(as_tensor(resize(rgb, short_side)), self.network)


def as_judged(rgb: Rgb) -> Rgb:
    """An image scaled down to the size at which it is judged."""
    return shrink(Picture(rgb), JUDGED).rgb


def as_tensor(rgb: Rgb) -> torch.Tensor:
    """(H, W, 3) in 0..255 to (1, 3, H, W) in [0, 1]."""
    return to_tensor(rgb[None], torch.device("cpu"))


def means(rows: list[list[float]]) -> list[float]:
    """Of each column."""
    return [mean(column) for column in zip(*rows, strict=True)]


if __name__ == "__main__":
    typer.run(table)
