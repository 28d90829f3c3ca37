"""The frames of videos and animations, stylized a few at a time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby, islice

from stylecli.config import StylizeConfig
from stylecli.files.clips import Clip
from stylecli.files.colors import Rgb
from stylecli.files.pictures import Picture, shrunk

_AHEAD = 4  # frames decoded before the network asks for them


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
        config: its ``max_size`` is used.
    """
    with closing(_decoded_ahead(clip.frames(), config)) as frames:
        for _, alike in groupby(frames, key=lambda frame: frame.rgb.shape):
            while batch := list(islice(alike, batch_size)):
                all_painted = paint([frame.rgb for frame in batch])
                for frame, painted in zip(batch, all_painted, strict=True):
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
