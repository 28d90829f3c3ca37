"""The frames of videos and animations, stylized a few at a time."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import groupby, islice

from stylecli.config import StylizeConfig
from stylecli.files.clips import Clip
from stylecli.files.colors import Rgb
from stylecli.files.pictures import Picture, shrunk

_AHEAD = 4  # frames decoded before the network asks for them


def paint_frames(
    clip: Clip,
    begin: Callable[[Sequence[Rgb]], Future[list[Rgb]]],
    batch_size: int,
    at_once: int,
    config: StylizeConfig,
) -> Iterator[tuple[Picture, Rgb]]:
    """The frames of a clip, each with its painting; the next ones are painted meanwhile.

    Args:
        clip: a video or an animation.
        begin: begins to paint images of one size.
        batch_size: how many frames of one size are painted together.
        at_once: how many batches are painted at once.
        config: its ``max_size`` is used.
    """
    painting: deque[tuple[list[Picture], Future[list[Rgb]]]] = deque()
    try:
        with closing(_decoded_ahead(clip.frames(), config)) as frames:
            for _, alike in groupby(frames, key=lambda frame: frame.rgb.shape):
                while batch := list(islice(alike, batch_size)):
                    painting.append((batch, begin([frame.rgb for frame in batch])))
                    if len(painting) > at_once:
                        yield from _settle(*painting.popleft())
        while painting:
            yield from _settle(*painting.popleft())
    finally:
        for _, future in painting:
            future.cancel()


def _settle(batch: list[Picture], painting: Future[list[Rgb]]) -> Iterator[tuple[Picture, Rgb]]:
    yield from zip(batch, painting.result(), strict=True)


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
