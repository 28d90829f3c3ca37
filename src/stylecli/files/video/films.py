"""Films: frames in, frames out; times, sizes and what is beside the picture stay as they were."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.video.frame import VideoFrame

from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.formats import ImageError, format_for, is_video, keeps_alpha
from stylecli.files.pictures import Picture
from stylecli.files.video.animations import write_animation
from stylecli.files.video.decoding import (
    decoded,
    has_alpha,
    is_turned,
    opened_video,
    picture_of,
    rate_of,
    require_end,
    times_of,
)
from stylecli.files.video.encoding import Look, Origin, encode, time_base
from stylecli.files.video.shots import Timing, paced, shots_of
from stylecli.files.video.streams import name_of, plan_streams
from stylecli.files.video.timeline import Timeline

_COARSE = Fraction(1, 1000)  # s
_LEAST_IN_GIF = Fraction(1, 50)  # s: browsers show shorter frames for a tenth of a second


@dataclass(frozen=True)
class Video:
    """A film, to be read frame by frame.

    Attributes:
        path: the file.
        timeline: its clock.
        pixel_shape: width to height of a pixel when upright, nearly always 1.
        has_alpha: whether it has transparency.
        count: how many frames there are; about so many, if they are to become a film.
        least: for how long a frame is shown at least, in seconds; others are left out.
        times: when each frame is shown, of those that were read and not yet written.
    """

    path: Path
    timeline: Timeline
    pixel_shape: Fraction
    has_alpha: bool
    count: int
    least: Fraction = Fraction(0)
    times: deque[Timing] = field(default_factory=deque)

    @classmethod
    def open(cls, path: Path, target: Path | None = None) -> "Video":
        """Look at all packets of a file, and decode its first frame.

        Args:
            path: the file.
            target: the file to write, whose format may limit the number of frames.

        Raises:
            ImageError: there is no film in it that can be read, or it ends early.
        """
        with opened_video(path) as (container, stream):
            timeline = Timeline.read(container, stream, rate_of(stream))
            require_end(path, container, stream, timeline)
        with opened_video(path) as (container, stream):
            first = next(decoded(path, container, stream, timeline), None)
            if first is None:
                raise ImageError(f"{path} is not a video that can be read")
            shape = stream.sample_aspect_ratio or Fraction(1)
            shape = 1 / shape if is_turned(first) else shape
            video = cls(path, timeline, shape, has_alpha(first), max(1, timeline.count))
        if target is None or is_video(target):
            return video
        # Pillow's encoders want to know the number of frames: they are decoded for that alone.
        is_gif = format_for(target) == "GIF"
        video = replace(video, least=_LEAST_IN_GIF if is_gif else Fraction(0))
        return replace(video, count=sum(1 for _ in paced(video._timed_frames(), video.least)))

    @property
    def rate(self) -> Fraction:
        """Frames a second; their mean, if the rate varies."""
        return self.timeline.rate

    def notice(self, target: Path) -> str:
        """What the result will lack, and what is mended; empty if nothing."""
        with opened_video(self.path) as (container, picture):
            if is_video(target):
                beside = plan_streams(container, picture, self.timeline, target)
                lost, changed = list(beside.lost), list(beside.changed)
            else:
                others = (one for one in container.streams if one.index != picture.index)
                lost, changed = [name_of(one) for one in others], []
        said = []
        if self.has_alpha and not keeps_alpha(target):
            said.append(f"its transparency is lost in {target}; a .webm would keep it")
        if not is_video(target) and format_for(target) == "TIFF":
            lost.append("times")
        if lost:
            said.append(f"{target} is without its {' and '.join(lost)}")
        if changed:
            said.append(f"in {target}, its {' and '.join(changed)}")
        if self.timeline.parts > 1:
            said.append("its clock begins again, and its times go on where they broke off")
        if self.least > 1 / self.rate:
            said.append(f"{target} gets at most {1 / self.least} frames a second")
        return f"{self.path}: {'; '.join(said)}" if said else ""

    def frames(self) -> Iterator[Picture]:
        """All frames, upright, one at a time.

        Raises:
            ImageError: the file is damaged.
        """
        self.times.clear()
        for frame, timing in paced(self._timed_frames(), self.least):
            self.times.append(timing)
            yield picture_of(frame)

    def _timed_frames(self) -> Iterator[tuple[VideoFrame, Timing]]:
        first: tuple[int, int] | None = None
        expected = Fraction(0)
        with opened_video(self.path) as (container, stream):
            try:
                for frame in decoded(self.path, container, stream, self.timeline):
                    size = frame.width, frame.height
                    first = first or size
                    shape = self.pixel_shape
                    if size != first:  # what is shown may keep its proportions all the same
                        own = stream.codec_context.sample_aspect_ratio or Fraction(1)
                        shape = 1 / own if is_turned(frame) else own
                    start, seconds = times_of(frame, self.rate)
                    start = expected if start is None else start
                    seconds = seconds or 1 / self.rate
                    expected = start + seconds
                    yield frame, Timing(start, seconds, shape)
            except av.FFmpegError as error:
                raise ImageError(f"{self.path} is damaged: {error.strerror or error}") from error

    def write(
        self, target: Path, pictures: Iterator[Picture], quality: int, *, metadata: bool = True
    ) -> None:
        """Encode frames with this film's times, whole or not at all; and in a film, what is beside.

        Frames of another size than the first are fitted into it.

        Args:
            target: the file; its suffix names the container, or the format of an animation.
            pictures: one for each of :meth:`frames`.
            quality: 1 to 100, as for a JPEG.
            metadata: keep title, place, date and so on.

        Raises:
            StyleCliError: it cannot be written, or there are no frames.
        """
        if not is_video(target):
            shots = shots_of(pictures, self.times, Fraction(1))
            write_animation(self.path, target, shots, self.count, 0, quality, metadata=metadata)
            return
        shots = shots_of(pictures, self.times, self.pixel_shape)
        first = next(shots, None)
        if first is None:
            raise ImageError(f"{self.path} has no frames")
        require_writable(target.parent)
        height, width = first.picture.rgb.shape[:2]
        with opened_video(self.path) as (container, picture):
            beside = plan_streams(container, picture, self.timeline, target)
        with atomic_path(target) as temporary, opened_video(self.path) as (container, picture):
            unit = time_base(
                target.suffix.lower(),
                picture.time_base or _COARSE,
                self.rate,
                is_regular=self.timeline.is_regular,
            )
            look = Look(
                (width, height),
                self.pixel_shape,
                self.rate,
                unit,
                quality,
                first.picture.alpha is not None and keeps_alpha(target),
                self.timeline.is_regular,
            )
            origin = Origin(container, picture, self.timeline, beside)
            encode(temporary, target, look, chain([first], shots), origin, metadata=metadata)
