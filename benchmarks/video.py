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

Beside it: `--steady 0.8`, `--stroke-size 2`, both, and the network with statistics averaged over
the last five frames.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import typer
from engine import show
from PIL import Image
from scipy.ndimage import map_coordinates
from torch import Tensor

import stylecli
from stylecli.config import StylizeConfig
from stylecli.core.generators import Generator
from stylecli.core.model_files import find_style, load_generator
from stylecli.core.norms import InstanceNorm
from stylecli.core.tensors import to_tensor
from stylecli.engine.clips import painted_frames
from stylecli.engine.strokes import with_strokes
from stylecli.files.clips import Clip, open_clip
from stylecli.files.colors import Rgb
from stylecli.files.pictures import Picture

SIZE = (224, 320)  # of the frames of the exact clips: height and width, px
FRAMES = 10
GRAIN = 4.0  # of 255, standard deviation
WINDOW = 5  # frames that statistics are averaged over
PHOTO = Path(stylecli.__file__).parent / "photos" / "kodim23.jpg"
CLIPS = [(move, grain) for move in ("pan", "zoom", "rotation") for grain in (0.0, GRAIN)]

Matrix = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]
Paint = Callable[[Sequence[Rgb]], list[Rgb]]


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

    def frames(self) -> Iterator[Picture]:
        """As a clip has them."""
        return map(Picture, self.pictures)


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

    clip = cast(Clip, open_clip(path, path))
    pictures = [frame.rgb for frame in islice(clip.frames(), frames)]
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


def plain(generator: Generator) -> Paint:
    """Paint each frame by itself."""

    @torch.no_grad()
    def paint(frames: Sequence[Rgb]) -> list[Rgb]:
        photos = to_tensor(np.stack(frames), torch.device("cpu"))
        painted = generator(photos).clamp(0, 1).mul(255).round().byte()
        return list(painted.permute(0, 2, 3, 1).numpy())

    return paint


def averaged(generator: Generator) -> Paint:
    """Paint with means and variances averaged over the last frames."""
    for module in generator.modules():
        if isinstance(module, InstanceNorm):
            module.forward = _Averaged(module)  # type: ignore[method-assign]
    return plain(generator)


class _Averaged:
    """An instance norm that remembers the statistics of the last frames."""

    def __init__(self, norm: InstanceNorm) -> None:
        self.norm = norm
        self.last: deque[tuple[Tensor, Tensor]] = deque(maxlen=WINDOW)

    def __call__(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        self.last.append((x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)))
        mean, variance = (torch.stack(each).mean(0) for each in zip(*self.last, strict=True))
        norm = self.norm
        return F.batch_norm(x, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)


def broad(generator: Generator) -> Paint:
    """As `stylecli stylize --stroke-size 2` does."""
    return lambda frames: with_strokes(frames, 2.0, plain(generator))


def alone(film: Film, paint: Paint) -> list[Rgb]:
    """Each frame by itself."""
    return [paint([frame])[0] for frame in film.pictures]


def steadied(film: Film, paint: Paint) -> list[Rgb]:
    """As `stylecli stylize --steady 0.8` does."""
    config = StylizeConfig(steady=0.8)
    finish = lambda frame, painted: Picture(painted)  # noqa: E731
    return [one.rgb for one in painted_frames(cast(Clip, film), paint, finish, 1, config)]


WAYS = {
    "each alone": (plain, alone),
    "steady 0.8": (plain, steadied),
    "strokes 2": (broad, alone),
    "strokes 2, steady 0.8": (broad, steadied),
    "averaged": (averaged, alone),
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
        path, _, mix = find_style(model, style)
        for way, (painter, run) in WAYS.items():
            errors = []
            for one in films.values():
                generator = load_generator(path).remix(torch.tensor([mix])).eval()
                errors.append(warp_error(one, run(one, painter(generator))))
            numbers = [f"{error:.1f}" for error in [*errors, float(np.mean(errors))]]
            rows.append((Path(model).stem, way, *numbers))
    photos = [f"{warp_error(one, one.pictures):.1f}" for one in films.values()]
    rows.append(("the clip itself", "", *photos, ""))
    show(f"warp error of 255, {style}", ("model", "way", *films, "mean"), rows)


if __name__ == "__main__":
    typer.run(main)
