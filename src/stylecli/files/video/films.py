"""Films read by PyAV, which brings FFmpeg's libraries: no program is started."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stylecli.files.colors import HLG, PQ, tone_map, without_hidden
from stylecli.files.formats import ImageError, format_for, is_video
from stylecli.files.images import require_file
from stylecli.files.pictures import Picture
from stylecli.files.video.frames import Clip, Frame, pace
from stylecli.files.video.streams import plan_streams, run_filters
from stylecli.files.video.timeline import Timeline, lacks_times, rate_of

_LEAST_IN_GIF = Fraction(1, 50)  # s: browsers show shorter frames for a tenth of a second

# Otherwise a file's content decides, and a list of addresses would be read, and each be fetched.
_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,dv,mxf"

# FFmpeg's own decoders of these, which it uses unless told otherwise, leave transparency out.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

_MAKE_TIMES_UP = 1  # FFmpeg's flag AVFMT_FLAG_GENPTS, which PyAV sets

_BT709, _NOT_NAMED = 1, 2  # FFmpeg's numbers of color matrices
_STANDARD = (1279, 576)  # px: the largest width and height of standard definition

# Tags that are no UTF-8 are kept as they are; from PyAV 19 on, they always are.
_PYAV = int(av.__version__.partition(".")[0])
KEEP_TAGS: dict[str, Any] = {"metadata_errors": "surrogateescape"} if _PYAV < 19 else {}


@dataclass(frozen=True, kw_only=True)
class Video(Clip):
    """A film, to be read frame by frame.

    Attributes:
        timeline: its clock.
        least: for how long a frame is shown at least, in seconds; others are left out.
    """

    timeline: Timeline
    least: Fraction

    @classmethod
    def open(cls, path: Path, target: Path) -> "Video":
        """Look at all packets of a file, and decode its first frame.

        Args:
            path: the file.
            target: the file to write. Its format decides what is kept beside the picture, and may
                limit the number of frames.

        Raises:
            ImageError: there is no film in it that can be read, or it ends early.
        """
        is_animation = not is_video(target)
        least = _LEAST_IN_GIF if is_animation and format_for(target) == "GIF" else Fraction(0)
        with open_video(path) as (container, stream):
            timeline = Timeline.read(container, stream)
            _require_end(path, container, stream, timeline)
            notes = plan_streams(container, stream, timeline.first, target).notes
        if timeline.shifts:
            notes.append("its clock begins again, and its times go on where they broke off")
        if least > 1 / timeline.rate:
            notes.append(f"{target} gets at most {1 / least} frames a second")
        video = cls(path=path, count=timeline.count, notes=notes, timeline=timeline, least=least)
        first = next(video._read_frames(), None)
        if first is None:
            raise ImageError(f"{path} is not a video that can be read")
        # Pillow's encoders want to know the number of frames: they are decoded for that alone.
        if is_animation:
            video = replace(video, count=sum(1 for _ in pace(video._read_frames(), least)))
        alpha = _has_alpha(first.picture)
        return replace(video, has_alpha=alpha, pixel_shape=first.pixel_shape)

    def frames(self) -> Iterator[Frame[Picture]]:
        """All frames, upright, one at a time.

        Raises:
            ImageError: the file is damaged.
        """
        # Of each rotation once: with its side data, PyAV keeps a frame until Python looks for
        # objects that hold each other.
        matrices: dict[int, tuple[int, ...]] = {}
        for one in pace(self._read_frames(), self.least):
            rotation = one.picture.rotation
            if rotation not in matrices:
                matrices[rotation] = _display_matrix(one.picture)
            picture = _picture_of(one.picture, matrices[rotation])
            yield Frame(picture, one.start, one.seconds, one.pixel_shape)

    def _read_frames(self) -> Iterator[Frame[VideoFrame]]:
        first: tuple[int, int] | None = None
        expected, rate = Fraction(0), self.timeline.rate
        with open_video(self.path) as (container, stream):
            try:
                for frame in _deinterlace(self._decode(container, stream)):
                    size = frame.width, frame.height
                    first = first or size
                    # What is shown may keep its proportions where the size changes.
                    owner = stream if size == first else stream.codec_context
                    shape = owner.sample_aspect_ratio or Fraction(1)
                    if frame.rotation % 180:  # players turn it by a quarter
                        shape = 1 / shape
                    unit = frame.time_base or Fraction(0)
                    pts = frame.pts
                    start = expected if pts is None else _exact(pts * unit, unit / 2, rate)
                    seconds = _exact(frame.duration * unit, unit, rate) or 1 / rate
                    expected = start + seconds
                    yield Frame(frame, start, seconds, shape)
            except av.FFmpegError as error:
                raise ImageError(f"{self.path} is damaged: {error.strerror or error}") from error

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """All frames in the order in which they are shown; a damaged one is left out.

        Raises:
            ImageError: a tenth of the frames cannot be decoded.
        """
        decoder = _decoder(stream)
        first: int | None = None
        # Units from a packet to its frame in AVI, which stores the order alone.
        delay: int | None = None
        good = bad = 0
        with suppress(av.FFmpegError):  # a file that cannot be read to its end is as one that ends
            for packet in self.timeline.on_one_clock(container.demux()):
                # In Ogg, the frame before stays.
                is_repeat = not packet.size and packet.pts is not None
                if packet.stream is not stream or is_repeat:
                    continue
                first = packet.dts if first is None else first
                try:
                    frames = decoder.decode(packet)
                except av.FFmpegError:
                    bad += 1
                    continue
                for frame in frames:
                    if frame.pts is None or lacks_times(container):
                        frame.pts, frame.duration = None, 0
                        # The last ones come after all packets.
                        if frame.dts is not None:
                            delay = frame.dts - (first or 0) if delay is None else delay
                            frame.pts = frame.dts - delay
                    yield frame
                good += len(frames)
        if bad > good / 9:
            raise _incomplete(self.path, good, container, stream)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video file, and the stream in it that a player would show.

    Raises:
        ImageError: there is no video in the file that can be read.
    """
    require_file(path)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:  # by its absolute path, as what stands before a colon would be taken for a protocol
        container = av.open(str(path.absolute()), "r", container_options=options, **KEEP_TAGS)
    except av.FFmpegError as error:
        raise ImageError(f"{path} is not a video that can be read") from error
    with container:
        if lacks_times(container):
            container.flags &= ~_MAKE_TIMES_UP  # they would be wrong
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream) or not stream.codec_context:
            raise ImageError(f"{path} is not a video that can be read")
        yield container, stream


def _deinterlace(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Frames of full height: those of two fields are made so by FFmpeg's bwdif, one for each."""
    for _, alike in groupby(
        frames, key=lambda frame: (frame.width, frame.height, frame.format.name)
    ):
        fields: av.filter.Graph | None = None
        for frame in alike:
            if fields is None and frame.interlaced_frame:
                fields = _make_deinterlacer(frame)
            if fields is None:
                yield frame
            else:
                yield from run_filters(fields, frame)
        if fields is not None:
            yield from run_filters(fields, None)


def _make_deinterlacer(frame: VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _require_end(
    path: Path, container: InputContainer, stream: VideoStream, timeline: Timeline
) -> None:
    """Raise ImageError if a file ends early: its head tells how long it should be.

    Some heads tell the length, and others the end, which differ where the clock begins late.
    """
    reached = max(timeline.end, timeline.end - timeline.start)
    if reached < Fraction(9, 10) * _length(container, stream) - 1:
        raise _incomplete(path, timeline.count, container, stream)


def _incomplete(
    path: Path, count: int, container: InputContainer, stream: VideoStream
) -> ImageError:
    about = max(1, int(_length(container, stream) * rate_of(stream)))
    return ImageError(f"{path} is damaged: {count} of about {about} frames")


def _length(container: InputContainer, stream: VideoStream) -> Fraction:
    """How long a video is by its head, in seconds; 0 if that does not say."""
    if lacks_times(container):  # there, FFmpeg guesses the length from the size of the file
        return stream.frames / rate_of(stream)
    return Fraction(container.duration or 0, av.time_base)


def _exact(time: Fraction, error: Fraction, rate: Fraction) -> Fraction:
    """The multiple of a frame's length that was rounded to a time, if one is as near as that.

    Matroska rounds to milliseconds, in which a rate of 30000/1001 cannot be told.
    """
    multiple = round(time * rate) / rate
    return multiple if abs(multiple - time) <= error else time


def _has_alpha(frame: VideoFrame) -> bool:
    """Whether a frame has transparency."""
    components = frame.format.components
    return len(components) > 1 and any(component.is_alpha for component in components)


def _picture_of(frame: VideoFrame, matrix: tuple[int, ...]) -> Picture:
    """A frame upright, in 8-bit RGB; its colors are as a screen without HDR shows them."""
    is_high_definition = frame.width > _STANDARD[0] or frame.height > _STANDARD[1]
    if frame.colorspace == _NOT_NAMED and is_high_definition:
        frame.colorspace = _BT709  # as players do; FFmpeg would take that of standard definition
    is_hdr = frame.color_trc in (PQ, HLG)
    form = "rgb48le" if is_hdr else "rgba" if _has_alpha(frame) else "rgb24"
    pixels: npt.NDArray[Any] = frame.to_ndarray(format=form, interpolation="BICUBIC")
    rgb = _turn_upright(tone_map(pixels, frame.color_trc) if is_hdr else pixels, matrix)
    if form != "rgba":
        return Picture(rgb)
    return Picture(without_hidden(rgb[..., :3], rgb[..., 3]), rgb[..., 3])


def _display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """(a, b, _, c, d, …): a player shows (x, y) at (a x + c y, b x + d y)."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return (1, 0, 0, 0, 1) if data is None else tuple(np.frombuffer(bytes(data), np.int32).tolist())


def _turn_upright(pixels: npt.NDArray[np.uint8], matrix: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, C) turned and mirrored as the file says that a player should do."""
    a, b, _, c, d, *_ = matrix
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _decoder(stream: VideoStream) -> VideoCodecContext:
    context: Any = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and context.name in _ALPHA_DECODERS:
        context = VideoCodecContext.create(_ALPHA_DECODERS[context.name], "r")
    context.thread_type = "AUTO"
    return context  # type: ignore[no-any-return]
