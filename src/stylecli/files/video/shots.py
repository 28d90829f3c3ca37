"""Files of many pictures: what films and animations have in common."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

from PIL import Image

from stylecli.files.pictures import Picture, as_image, as_picture

T = TypeVar("T")


@dataclass(frozen=True)
class Shot:
    """A picture, and when it is shown.

    Attributes:
        picture: what is shown.
        start: in seconds.
        seconds: for how long.
    """

    picture: Picture
    start: Fraction
    seconds: Fraction


@dataclass(frozen=True)
class Timing:
    """When a picture is shown, and the shape of its pixels.

    Attributes:
        start: in seconds.
        seconds: for how long.
        pixel_shape: width to height of a pixel.
    """

    start: Fraction
    seconds: Fraction
    pixel_shape: Fraction = Fraction(1)


class Clip(Protocol):
    """A file of many pictures."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def count(self) -> int:
        """About how many frames there are."""

    @property
    def times(self) -> deque[Timing]:
        """When each frame is shown, of those that were read and not yet written."""

    @property
    def pixel_shape(self) -> Fraction:
        """Width to height of a pixel."""

    @property
    def loop(self) -> int | None:
        """How often it is shown as an animation: 0 for ever; None if the file does not say."""

    @property
    def max_pixels(self) -> int:
        """Of all frames together, where an encoder has to hold them."""

    def notice(self, target: Path) -> str:
        """One line on what a result in the file ``target`` will lack; empty if nothing."""

    def frames(self) -> Iterator[Picture]:
        """All frames, upright and in sRGB, one at a time."""


def pace(items: Iterable[tuple[T, Timing]], least: Fraction) -> Iterator[tuple[T, Timing]]:
    """Items of which each is shown until the next one, and for some time at least.

    Args:
        items: in their order. The time of the last one is its own.
        least: seconds. An item that comes sooner after the one before is left out.
    """
    kept: tuple[T, Timing] | None = None
    end = Fraction(0)
    for item, timing in items:
        end = timing.start + timing.seconds
        if kept is not None:
            seconds = timing.start - kept[1].start
            if 0 <= seconds < least:
                continue
            yield kept[0], replace(kept[1], seconds=max(seconds, Fraction(0)))
        kept = item, timing
    if kept is not None:
        yield kept[0], replace(kept[1], seconds=max(end - kept[1].start, Fraction(0)))


def time_pictures(
    pictures: Iterable[Picture], times: deque[Timing], pixel_shape: Fraction, *, fit: bool = True
) -> Iterator[Shot]:
    """Pictures with their times.

    Args:
        pictures: in their order.
        times: of the pictures that are read and not yet here; the first is taken for each.
        pixel_shape: width to height of a pixel of the result.
        fit: give all the size of the first.
    """
    size: tuple[int, int] | None = None
    for picture in pictures:
        timing = times.popleft()
        shape = timing.pixel_shape / pixel_shape
        height, width = picture.rgb.shape[:2]
        size = size or (max(1, round(width * shape)), height)
        picture = _fit(picture, shape, size) if fit else picture
        yield Shot(picture, timing.start, timing.seconds)


def _fit(picture: Picture, shape: Fraction, size: tuple[int, int]) -> Picture:
    """A picture in the middle of a frame, as large as fits, with black beside it.

    Args:
        picture: what is shown.
        shape: width to height of its pixels, where those of the frame are 1.
        size: width and height of the frame in px.
    """
    height, width = picture.rgb.shape[:2]
    if (width, height) == size and shape == 1:
        return picture
    scale = min(Fraction(size[0]) / (width * shape), Fraction(size[1], height))
    inner = (max(1, round(width * shape * scale)), max(1, round(height * scale)))
    image = as_image(picture, "PNG").resize(inner, Image.Resampling.LANCZOS)
    frame = Image.new(image.mode, size)
    frame.paste(image, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return replace(as_picture(frame), metadata=picture.metadata)
