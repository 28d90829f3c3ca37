"""Films read by PyAV, which brings FFmpeg's libraries: no program is started."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
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
from stylecli.files.video.streams import name_of, plan_streams
from stylecli.files.video.timeline import Timeline

_LEAST_IN_GIF = Fraction(1, 50)  # s: browsers show shorter frames for a tenth of a second

# Otherwise a file's content decides, and a list of addresses would be read, and each be fetched.
_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,dv,mxf"

# FFmpeg's own decoders of these, which it uses unless told otherwise, leave transparency out.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}

_MAKE_TIMES_UP = 1  # FFmpeg's flag AVFMT_FLAG_GENPTS, which PyAV sets

_BT709, _NOT_NAMED = 1, 2  # FFmpeg's numbers of color matrices
STANDARD = (1279, 576)  # px: the largest width and height of standard definition

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
    least: Fraction = Fraction(0)

    @classmethod
    def open(cls, path: Path, target: Path | None = None) -> "Video":
        """Look at all packets of a file, and decode its first frame.

        Args:
            path: the file.
            target: the file to write, whose format may limit the number of frames.

        Raises:
            ImageError: there is no film in it that can be read, or it ends early.
        """
        with open_video(path) as (container, stream):
            timeline = Timeline.read(container, stream, rate_of(stream))
            _require_end(path, container, stream, timeline)
        with open_video(path) as (container, stream):
            first = next(_decode(path, container, stream, timeline), None)
            if first is None:
                raise ImageError(f"{path} is not a video that can be read")
            shape = stream.sample_aspect_ratio or Fraction(1)
            video = cls(
                path=path,
                count=max(1, timeline.count),
                has_alpha=_has_alpha(first),
                pixel_shape=1 / shape if _is_turned(first) else shape,
                timeline=timeline,
            )
        if target is None or is_video(target):
            return video
        # Pillow's encoders want to know the number of frames: they are decoded for that alone.
        is_gif = format_for(target) == "GIF"
        video = replace(video, least=_LEAST_IN_GIF if is_gif else Fraction(0))
        return replace(video, count=sum(1 for _ in pace(video._read_frames(), video.least)))

    @property
    def rate(self) -> Fraction:
        """Frames a second; their mean, if the rate varies."""
        return self.timeline.rate

    def notes(self, target: Path) -> list[str]:
        """What a result in the file ``target`` will lack beside transparency, and is mended."""
        lost, changed = self._plan_streams(target)
        notes = []
        if not is_video(target) and format_for(target) == "TIFF":
            lost.append("times")
        if lost:
            notes.append(f"{target} is without its {' and '.join(lost)}")
        if changed:
            notes.append(f"in {target}, its {' and '.join(changed)}")
        if self.timeline.parts > 1:
            notes.append("its clock begins again, and its times go on where they broke off")
        if self.least > 1 / self.rate:
            notes.append(f"{target} gets at most {1 / self.least} frames a second")
        return notes

    def _plan_streams(self, target: Path) -> tuple[list[str], list[str]]:
        """What is beside the picture and is lost, and what is changed, in words."""
        with open_video(self.path) as (container, picture):
            if is_video(target):
                beside = plan_streams(container, picture, self.timeline, target)
                return list(beside.lost), list(beside.changed)
            others = (one for one in container.streams if one.index != picture.index)
            return [name_of(one) for one in others], []

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
        expected = Fraction(0)
        with open_video(self.path) as (container, stream):
            try:
                for frame in _decode(self.path, container, stream, self.timeline):
                    size = frame.width, frame.height
                    first = first or size
                    shape = self.pixel_shape
                    if size != first:  # what is shown may keep its proportions all the same
                        own = stream.codec_context.sample_aspect_ratio or Fraction(1)
                        shape = 1 / own if _is_turned(frame) else own
                    start, seconds = _times_of(frame, self.rate)
                    start = expected if start is None else start
                    seconds = seconds or 1 / self.rate
                    expected = start + seconds
                    yield Frame(frame, start, seconds, shape)
            except av.FFmpegError as error:
                raise ImageError(f"{self.path} is damaged: {error.strerror or error}") from error


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
        if _lacks_times(container):
            container.flags &= ~_MAKE_TIMES_UP  # they would be wrong
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream) or not stream.codec_context:
            raise ImageError(f"{path} is not a video that can be read")
        yield container, stream


def _decode(
    path: Path, container: InputContainer, stream: VideoStream, timeline: Timeline
) -> Iterator[VideoFrame]:
    """All frames in the order in which they are shown, one at a time, without half-pictures.

    A frame that is damaged is left out: the others keep their times.

    Args:
        path: the file, for messages.
        container: the file, at its beginning.
        stream: the picture.
        timeline: its clock.

    Raises:
        ImageError: a tenth of the frames cannot be decoded.
    """
    yield from _deinterlace(_decode_packets(path, container, stream, timeline))


def _decode_packets(
    path: Path, container: InputContainer, stream: VideoStream, timeline: Timeline
) -> Iterator[VideoFrame]:
    decoder = _decoder(stream)
    clock = _ClockOfFrames()
    good = bad = 0
    with suppress(av.FFmpegError):  # a file that cannot be read to its end is as one that ends
        for packet in timeline.on_one_clock(container.demux()):
            is_repeat = not packet.size and packet.pts is not None  # the frame before stays, in Ogg
            if packet.stream is not stream or is_repeat:
                continue
            clock.note(packet)
            try:
                frames = decoder.decode(packet)
            except av.FFmpegError:
                bad += 1
                continue
            for frame in frames:
                if frame.pts is None:
                    frame.pts = clock.time(frame.dts)
                yield frame
            good += len(frames)
    if bad > good / 9:
        raise ImageError(f"{path} is damaged: {good} of about {estimate(container, stream)} frames")


class _ClockOfFrames:
    """When frames are shown in a file that stores only the order of its packets."""

    def __init__(self) -> None:
        self._first: int | None = None  # packet
        self._delay: int | None = None  # units from a packet to its frame
        self._last: int | None = None
        self._step = 0

    def note(self, packet: "av.Packet[Any]") -> None:
        """See a packet before it is decoded."""
        if self._first is None:
            self._first = packet.dts

    def time(self, decoded: int | None) -> int | None:
        """When a frame is shown; the last ones come after all packets and have no time."""
        if decoded is None:
            time = None if self._last is None else self._last + self._step
        else:
            self._delay = decoded - (self._first or 0) if self._delay is None else self._delay
            time = decoded - self._delay
        if time is not None:
            self._step = 0 if self._last is None else time - self._last
            self._last = time
        return time


def _deinterlace(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Frames of full height: those of two fields are made so by FFmpeg's bwdif, one for each."""
    fields: av.filter.Graph | None = None
    form: object = None
    for frame in frames:
        if fields is not None and form != _form(frame):
            yield from _drain(fields)
            fields = None
        if fields is None and frame.interlaced_frame:
            fields, form = _make_deinterlacer(frame), _form(frame)
        if fields is None:
            yield frame
        else:
            fields.vpush(frame)
            yield from _pull(fields)
    if fields is not None:
        yield from _drain(fields)


def _form(frame: VideoFrame) -> object:
    return frame.width, frame.height, frame.format.name


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


def _pull(graph: av.filter.Graph) -> Iterator[VideoFrame]:
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield graph.vpull()


def _drain(graph: av.filter.Graph) -> Iterator[VideoFrame]:
    graph.vpush(None)
    yield from _pull(graph)


def _require_end(
    path: Path, container: InputContainer, stream: VideoStream, timeline: Timeline
) -> None:
    """Raise ImageError if a file ends early: its head tells how long it should be.

    Some heads tell the length, and others the end, which differ where the clock begins late.
    """
    reached = max(timeline.end, timeline.end - timeline.start)
    if reached < Fraction(9, 10) * _length(container, stream) - 1:
        about = estimate(container, stream)
        raise ImageError(f"{path} is damaged: {timeline.count} of about {about} frames")


def estimate(container: InputContainer, stream: VideoStream) -> int:
    """About how many frames there should be by the head of a file, at least 1."""
    seconds = _length(container, stream)
    if stream.duration and stream.time_base and not _lacks_times(container):
        seconds = stream.duration * stream.time_base
    return max(1, int(seconds * rate_of(stream)))


def _length(container: InputContainer, stream: VideoStream) -> Fraction:
    """How long a video is by its head, in seconds; 0 if that does not say."""
    if _lacks_times(container):  # there, FFmpeg guesses the length from the size of the file
        return stream.frames / rate_of(stream)
    return Fraction(container.duration or 0, av.time_base)


def _lacks_times(container: InputContainer) -> bool:
    """Whether a container stores the frames alone, and not when they are shown."""
    return container.format.name == "avi"


def _times_of(frame: VideoFrame, rate: Fraction) -> tuple[Fraction | None, Fraction]:
    """When a frame is shown and for how long, in seconds: None and 0 if the file does not say."""
    unit = frame.time_base or Fraction(0)
    time = None if frame.pts is None else _exact(frame.pts * unit, unit / 2, rate)
    return time, _exact(frame.duration * unit, unit, rate)


def _exact(time: Fraction, error: Fraction, rate: Fraction) -> Fraction:
    """The multiple of a frame's length that was rounded to a time, if one is as near as that.

    Matroska rounds to milliseconds, in which a rate of 30000/1001 cannot be told.
    """
    multiple = round(time * rate) / rate
    return multiple if abs(multiple - time) <= error else time


def rate_of(stream: VideoStream) -> Fraction:
    """Frames a second: exact if it is constant, and otherwise their mean."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def _has_alpha(frame: VideoFrame) -> bool:
    """Whether a frame has transparency."""
    components = frame.format.components
    return len(components) > 1 and any(component.is_alpha for component in components)


def _is_turned(frame: VideoFrame) -> bool:
    """Whether a player turns a frame by a quarter."""
    return frame.rotation % 180 != 0


def _picture_of(frame: VideoFrame, matrix: tuple[int, ...]) -> Picture:
    """A frame upright, in 8-bit RGB; its colors are as a screen without HDR shows them."""
    if frame.colorspace == _NOT_NAMED and _is_high_definition(frame):
        frame.colorspace = _BT709  # as players do; FFmpeg would take that of standard definition
    if frame.color_trc in (PQ, HLG):
        return Picture(_turn_upright(tone_map(_array(frame, "rgb48le"), frame.color_trc), matrix))
    if not _has_alpha(frame):
        return Picture(_turn_upright(_array(frame, "rgb24"), matrix))
    pixels = _turn_upright(_array(frame, "rgba"), matrix)
    return Picture(without_hidden(pixels[..., :3], pixels[..., 3]), pixels[..., 3])


def _is_high_definition(frame: VideoFrame) -> bool:
    width, height = STANDARD
    return frame.width > width or frame.height > height


def _array(frame: VideoFrame, pixels: str) -> npt.NDArray[Any]:
    return frame.to_ndarray(format=pixels, interpolation="BICUBIC")


def _display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """(a, b, _, c, d, …): a player shows (x, y) at (a x + c y, b x + d y)."""
    data: Any = frame.side_data
    try:
        return tuple(np.frombuffer(bytes(data["DISPLAYMATRIX"]), np.int32).tolist())
    except KeyError:
        return 1, 0, 0, 0, 1


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
