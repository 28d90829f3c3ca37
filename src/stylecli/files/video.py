"""Videos: frames in, frames out; times, size, sound and subtitles stay what they were."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from math import ceil
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.decoding import (
    decoded,
    estimate,
    has_alpha,
    is_turned,
    opened_video,
    picture_of,
    rate_of,
    times_of,
)
from stylecli.files.encoding import Look, Shot, encode, left_out
from stylecli.files.formats import ImageError
from stylecli.files.pictures import Picture, as_image

_COARSE = Fraction(1, 1000)  # s
_FINE = 90_000  # units a second


@dataclass(frozen=True)
class Video:
    """A video file, to be read frame by frame.

    Attributes:
        path: the file.
        rate: frames a second; their mean, if the rate varies.
        count: an estimate of the number of frames.
        pixel_shape: width to height of a pixel when upright, nearly always 1.
        has_alpha: whether it has transparency.
        times: when each frame is shown and for how long, in seconds, of those that were read and
            not yet written.
    """

    path: Path
    rate: Fraction
    count: int
    pixel_shape: Fraction
    has_alpha: bool
    times: deque[tuple[Fraction | None, Fraction]] = field(default_factory=deque)

    @classmethod
    def open(cls, path: Path) -> "Video":
        """Read the header and the first frame of a file.

        Raises:
            ImageError: there is no video in it that can be read.
        """
        with opened_video(path) as (container, stream):
            first = next(decoded(path, container, stream), None)
            if first is None:
                raise ImageError(f"{path} is not a video that can be read")
            shape = stream.sample_aspect_ratio or Fraction(1)
            return cls(
                path,
                rate_of(stream),
                estimate(container, stream),
                1 / shape if is_turned(first) else shape,
                has_alpha(first),
            )

    def notice(self, target: Path) -> str:
        """What the result will lack; empty if nothing."""
        with opened_video(self.path) as (container, _):
            lost = left_out(container, target)
        if self.has_alpha and not _keeps_alpha(target):
            return f"{self.path}: its transparency is lost in {target.name}; a .webm would keep it"
        if lost:
            return f"{self.path}: {target.name} cannot hold its {' and '.join(lost)}"
        return ""

    def frames(self) -> Iterator[Picture]:
        """All frames, upright, one at a time.

        Raises:
            ImageError: the file is damaged, or ends early.
        """
        self.times.clear()
        with opened_video(self.path) as (container, stream):
            try:
                for frame in decoded(self.path, container, stream):
                    self.times.append(times_of(frame, self.rate))
                    yield picture_of(frame)
            except av.FFmpegError as error:
                raise ImageError(f"{self.path} is damaged: {error.strerror or error}") from error

    def write(
        self, target: Path, pictures: Iterator[Picture], quality: int, *, metadata: bool = True
    ) -> None:
        """Encode frames as a video with this one's times, sound and subtitles, whole or not at all.

        WebM keeps transparency; in other containers gray takes its place. The frames of AVI have
        no times: there, the rate is constant.

        Args:
            target: the file; its suffix names the container.
            pictures: one for each of :meth:`frames`.
            quality: 1 to 100, as for a JPEG.
            metadata: keep title, place, date and so on.

        Raises:
            StyleCliError: it cannot be written, or there are no frames.
        """
        first = next(pictures, None)
        if first is None:
            raise ImageError(f"{self.path} has no frames")
        require_writable(target.parent)
        alpha = first.alpha is not None and _keeps_alpha(target)
        shots = (
            Shot(_pixels(picture, alpha), *self.times.popleft())
            for picture in chain([first], pictures)
        )
        height, width = first.rgb.shape[:2]
        with atomic_path(target) as temporary, opened_video(self.path) as (source, stream):
            unit = self._time_base(target, stream.time_base or _COARSE)
            look = Look((width, height), self.pixel_shape, self.rate, unit, quality, alpha)
            encode(temporary, target, source, look, shots, metadata=metadata)

    def _time_base(self, target: Path, own: Fraction) -> Fraction:
        """The unit of the times in a result: this video's own, unless it is too coarse."""
        if target.suffix.lower() == ".avi":
            return 1 / self.rate
        frame = self.rate.numerator  # a multiple of it can tell the length of a frame exactly
        return own if own < _COARSE else Fraction(1, frame * ceil(_FINE / frame))


def _pixels(picture: Picture, alpha: bool) -> npt.NDArray[np.uint8]:
    """A picture as (H, W, 4) with transparency, or as (H, W, 3) without."""
    if picture.alpha is None and not alpha:
        return picture.rgb
    image = as_image(picture, "PNG" if alpha else "JPEG")
    return np.asarray(image.convert("RGBA" if alpha else "RGB"))


def _keeps_alpha(target: Path) -> bool:
    return target.suffix.lower() == ".webm"
