"""How still a film stands: warp error over clips whose movement is known exactly.

    python benchmarks/video.py MODEL STYLE                  # such as gallery udnie
    python benchmarks/video.py MODEL STYLE --film clip.mp4  # movement by DIS flow
    python benchmarks/video.py gallery,stable udnie         # several models, one below the other

The clips are a pan, a zoom and a rotation over a bundled photo, each without and with the grain of
a camera. A frame is moved along the known movement and set against the next one (Lai et al. 2018,
"Learning Blind Video Temporal Consistency"): the root of the mean squared difference, of 255, over
all pixels that both show. For a film, the movement is estimated from its own frames
(opencv-python-headless), and pixels that it does not explain are left out: visibility is
exp(-50 d^2) with the difference d of the moved frame from the next.

Beside it: how far two pictures of one photo differ, if each copy has its own noise of a sensor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import numpy.typing as npt
import typer
from engine import show
from PIL import Image
from scipy.ndimage import map_coordinates

import stylecli
from stylecli.engine import Stylizer
from stylecli.files.colors import Rgb
from stylecli.files.video.clips import read_clip_or_picture
from stylecli.files.video.frames import Clip

SIZE = (224, 320)  # of the frames of the exact clips: height and width, px
FRAMES = 10
GRAIN = 4.0  # of 255, standard deviation
NOISE = 2.0  # the same, in two copies of one photo
PHOTO = Path(stylecli.__file__).parent / "photos" / "kodim23.jpg"
STILL = PHOTO.with_name("kodim16.jpg")
CLIPS = [(move, grain) for move in ("pan", "zoom", "rotation") for grain in (0.0, GRAIN)]

Matrix = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]
Look = dict[str, Any]  # settings of a call of Stylizer


@dataclass
class Film:
    """Frames, and where the pixels of each come from in the one before.

    Attributes:
        pictures: each (H, W, 3).
        sources: for each frame but the first, (2, H, W): rows and columns in the one before.
        seen: for each frame but the first, (H, W): how visible each pixel was before, 0 to 1.
    """

    pictures: list[Rgb]
    sources: list[Points]
    seen: list[npt.NDArray[np.float64]]


def exact_film(photo: Rgb, move: str, grain: float) -> Film:
    """Frames from a photo, along a movement that is known exactly."""
    random = np.random.default_rng(0)
    grid = np.stack(np.mgrid[: SIZE[0], : SIZE[1]]).astype(float)
    centered = grid - np.array(SIZE)[:, None, None] / 2
    middle = np.array(photo.shape[:2])[:, None, None] / 2
    at = [_camera(move, i) for i in range(FRAMES)]
    film = Film([], [], [])
    for i, (turn, shift) in enumerate(at):
        points = np.einsum("ij,jhw->ihw", turn, centered) + shift + middle
        frame = np.stack(
            [map_coordinates(photo[..., c].astype(float), points) for c in range(3)], -1
        )
        frame += random.normal(0, grain, frame.shape)
        film.pictures.append(frame.round().clip(0, 255).astype(np.uint8))
        if i:
            turn_before, shift_before = at[i - 1]
            back = np.einsum(
                "ij,jhw->ihw", np.linalg.inv(turn_before), points - middle - shift_before
            )
            source = back + np.array(SIZE)[:, None, None] / 2
            film.sources.append(source)
            film.seen.append(_inside(source).astype(float))
    return film


def _camera(move: str, frame: int) -> tuple[Matrix, Matrix]:
    """How a camera turns and scales, (2, 2), and where it stands, (2, 1, 1), at a frame."""
    away = frame - FRAMES / 2
    shift = np.zeros((2, 1, 1))
    if move == "pan":
        shift[:, 0, 0] = 0.7 * away, 2.3 * away
        return np.eye(2), shift
    if move == "zoom":
        return np.eye(2) * 0.99**away, shift
    angle = np.deg2rad(0.7 * away)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]]), shift


def _inside(source: Points) -> npt.NDArray[np.bool_]:
    height, width = source.shape[1:]
    rows, columns = source
    return (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)


def film_of(path: Path, frames: int) -> Film:
    """The first frames of a video; their movement is estimated."""
    import cv2

    clip = cast(Clip, read_clip_or_picture(path, path)[0])
    pictures = [frame.picture.rgb for frame in islice(clip.frames(), frames)]
    flow_of = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    film = Film(pictures, [], [])
    grid = np.stack(np.mgrid[: pictures[0].shape[0], : pictures[0].shape[1]]).astype(float)
    for before, after in pairwise(pictures):
        gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (after, before)]
        flow = flow_of.calc(*gray, None)  # (H, W, 2): x, y
        source = grid + flow[..., ::-1].transpose(2, 0, 1)
        away = np.square((_moved(before, source) - after) / 255).sum(-1)
        film.sources.append(source)
        film.seen.append(np.exp(-50 * away) * _inside(source))
    return film


def _moved(picture: Rgb, source: Points) -> npt.NDArray[np.float64]:
    channels = [map_coordinates(picture[..., c].astype(float), source, order=1) for c in range(3)]
    return np.stack(channels, -1)


def warp_error(film: Film, painted: Sequence[Rgb]) -> float:
    """Root of the mean squared difference of each picture from the one before it, moved."""
    squares = visible = 0.0
    for before, after, source, seen in zip(
        painted, painted[1:], film.sources, film.seen, strict=False
    ):
        difference = _moved(before, source) - after
        squares += float((np.square(difference).mean(-1) * seen).sum())
        visible += float(seen.sum())
    return float(np.sqrt(squares / visible))


def noisy_copies(stylizer: Stylizer, look: Look) -> float:
    """The mean difference, of 255, of two pictures of a photo with different noise of a sensor."""
    random = np.random.default_rng(0)
    photo = np.asarray(Image.open(STILL).convert("RGB")).astype(float)
    copies = [
        (photo + random.normal(0, NOISE, photo.shape)).round().clip(0, 255).astype(np.uint8)
        for _ in range(2)
    ]
    one, other = stylizer(copies, **look)
    return float(np.abs(one.astype(float) - other).mean())


WAYS: dict[str, Look] = {
    "one pass": {"stroke_size": "network"},
    "two layers": {},
    "two layers, strokes 2": {"stroke_size": 2},
}


def main(
    models: Annotated[str, typer.Argument(help="Names or files, with commas between.")],
    style: str,
    film: Path | None = None,
    frames: int = 30,
) -> None:
    """Print the warp error of each clip, for each model and each way."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    films = (
        {"film": film_of(film, frames)}
        if film
        else {
            f"{move}{' with grain' if grain else ''}": exact_film(photo, move, grain)
            for move, grain in CLIPS
        }
    )
    rows = []
    for model in models.split(","):
        stylizer = Stylizer(model, style, precision="float32")
        for way, look in WAYS.items():
            errors = [warp_error(one, stylizer(one.pictures, **look)) for one in films.values()]
            numbers = [*errors, float(np.mean(errors)), noisy_copies(stylizer, look)]
            rows.append((Path(model).stem, way, *(f"{number:.1f}" for number in numbers)))
    photos = [f"{warp_error(one, one.pictures):.1f}" for one in films.values()]
    rows.append(("the clip itself", "", *photos, "", ""))
    heads = ("model", "way", *films, "mean", "two noisy copies")
    show(f"warp error of 255, {style}", heads, rows)


if __name__ == "__main__":
    typer.run(main)
