"""The frames of videos and animations, stylized a few at a time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby, islice

import numpy as np

from stylecli.config import StylizeConfig
from stylecli.files.clips import Clip
from stylecli.files.colors import Rgb
from stylecli.files.pictures import Picture, shrunk

_AHEAD = 4  # frames decoded before the network asks for them
_NOISE = 12.0  # of 255: how much a pixel may change in a video where nothing moves


def painted_frames(
    clip: Clip,
    paint: Callable[[Sequence[Rgb]], list[Rgb]],
    finish: Callable[[Picture, Rgb], Picture],
    batch_size: int,
    config: StylizeConfig,
) -> Iterator[Picture]:
    """The frames of a clip, stylized.

    Args:
        clip: a video or an animation.
        paint: stylizes images of one size.
        finish: makes the picture to write from a frame and its stylization.
        batch_size: how many frames of one size are painted at once.
        config: its ``max_size`` and ``steady`` are used.
    """
    before: tuple[Rgb, Rgb] | None = None
    with closing(_decoded_ahead(clip.frames(), config)) as frames:
        for _, alike in groupby(frames, key=lambda frame: frame.rgb.shape):
            while batch := list(islice(alike, batch_size)):
                all_painted = paint([frame.rgb for frame in batch])
                for frame, painted in zip(batch, all_painted, strict=True):
                    if config.steady and before and before[0].shape == frame.rgb.shape:
                        painted = _steadied(frame.rgb, painted, *before, config.steady)
                    before = frame.rgb, painted
                    yield finish(frame, painted)


def _decoded_ahead(frames: Iterator[Picture], config: StylizeConfig) -> Generator[Picture]:
    """Frames scaled down to the size that was asked for, decoded ahead in a thread."""

    def decode() -> Picture | None:
        frame = next(frames, None)
        return shrunk(frame, config.max_size) if frame and config.max_size else frame

    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(decode) for _ in range(_AHEAD))
        try:
            while (frame := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(decode))
                yield frame
        finally:
            for future in waiting:
                future.cancel()


def _steadied(photo: Rgb, painted: Rgb, photo_before: Rgb, painted_before: Rgb, most: float) -> Rgb:
    """Mix a stylized frame with the last one, the more the less each pixel of the photo changed.

    The network stylizes each frame alone, and noise that nobody notices in a video moves strokes.
    """
    moved = np.abs(photo.astype(np.int16) - photo_before).max(axis=2, keepdims=True)
    kept = most * np.exp(-((moved / _NOISE) ** 2), dtype=np.float32)  # (H, W, 1)
    mixture = painted + kept * (painted_before.astype(np.float32) - painted)
    return mixture.round().astype(np.uint8)  # type: ignore[no-any-return]
