"""Files of many pictures: what films and animations have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeVar

from PIL import Image, ImageOps

from stylecli.files.formats import MAX_PIXELS
from stylecli.files.pictures import Picture, as_image, as_picture

T = TypeVar("T")


@dataclass(frozen=True)
class Frame(Generic[T]):
    """A picture, and when it is shown.

    Attributes:
        picture: what is shown.
        start: in seconds.
        seconds: for how long.
        pixel_shape: width to height of a pixel.
    """

    picture: T
    start: Fraction
    seconds: Fraction
    pixel_shape: Fraction = Fraction(1)


@dataclass(frozen=True, kw_only=True)
class Clip(ABC):
    """A file of many pictures.

    Attributes:
        path: the file.
        count: how many frames can be read; of a film that becomes another, about so many.
        notes: what a result will lack beside transparency, and what is mended.
        has_alpha: whether its first frame has transparency.
        loop: how often it is shown as an animation, 0 for ever; None if the file does not say.
        pixel_shape: width to height of a pixel when upright, nearly always 1.
        max_pixels: a frame of an animation with more is refused, and so are all frames together
            where an encoder has to hold them.
    """

    path: Path
    count: int
    notes: Sequence[str] = ()
    has_alpha: bool = False
    loop: int | None = 0
    pixel_shape: Fraction = Fraction(1)
    max_pixels: int = MAX_PIXELS

    @abstractmethod
    def frames(self) -> Iterator[Frame[Picture]]:
        """All frames, upright and in sRGB, one at a time.

        Raises:
            ImageError: the file is damaged.
        """


def pace(frames: Iterable[Frame[T]], least: Fraction) -> Iterator[Frame[T]]:
    """Frames of which each is shown until the next one, and for some time at least.

    Args:
        frames: in their order. The time of the last one is its own.
        least: seconds. A frame that comes sooner after the one before is left out.
    """
    kept: Frame[T] | None = None
    end = Fraction(0)
    for frame in frames:
        end = frame.start + frame.seconds
        if kept is not None:
            seconds = frame.start - kept.start
            if 0 <= seconds < least:
                continue
            yield replace(kept, seconds=max(seconds, Fraction(0)))
        kept = frame
    if kept is not None:
        yield replace(kept, seconds=max(end - kept.start, Fraction(0)))


def fit_frames(frames: Iterable[Frame[Picture]], pixel_shape: Fraction) -> Iterator[Frame[Picture]]:
    """Frames whose pictures all have the size of the first, and pixels of one shape."""
    size: tuple[int, int] | None = None
    for frame in frames:
        shape = frame.pixel_shape / pixel_shape
        height, width = frame.picture.rgb.shape[:2]
        width = max(1, round(width * shape))
        size = size or (width, height)
        if shape != 1 or size != (width, height):
            frame = replace(frame, picture=_fit(frame.picture, (width, height), size))
        yield frame


def _fit(picture: Picture, shape: tuple[int, int], size: tuple[int, int]) -> Picture:
    """A picture in the middle of a frame, as large as fits, with black beside it.

    Args:
        picture: what is shown.
        shape: width and height of the picture in pixels as those of the frame.
        size: width and height of the frame in px.
    """
    image = as_image(picture, "PNG").resize(shape, Image.Resampling.LANCZOS)
    framed = ImageOps.pad(image, size, Image.Resampling.LANCZOS)
    return replace(as_picture(framed), metadata=picture.metadata)
