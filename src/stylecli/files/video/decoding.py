"""Videos opened and decoded by PyAV, which brings FFmpeg's libraries: no program is started."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

from stylecli.files.colors import Rgb, without_hidden
from stylecli.files.formats import ImageError
from stylecli.files.images import require_file
from stylecli.files.pictures import Picture
from stylecli.files.video.timeline import Timeline

PQ, HLG = 16, 18  # the numbers that ITU-T H.273 gives these transfer functions

_WHITE = 203.0  # cd/m2, of HDR's white (ITU-R BT.2408); highlights are brighter
_PEAK = 10.0  # times white: the light that becomes the brightest color
_KNEE = 0.3  # of white: up to here, light stays as it is
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886

_TO_BT709 = np.array(  # from the primaries of BT.2020; ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)


def sdr(rgb: npt.NDArray[np.uint16], transfer: int) -> Rgb:
    """HDR colors without HDR: white stays white, and highlights are compressed.

    Args:
        rgb: (H, W, 3) in 0..65535, with the primaries of BT.2020.
        transfer: :data:`PQ` or :data:`HLG`.

    Returns:
        (H, W, 3) in 0..255, with the primaries and for the displays of BT.709.
    """
    light = _TABLES[transfer][np.moveaxis(rgb, -1, 0)]  # (3, H, W); 1 is white
    light = np.tensordot(_TO_BT709, light, 1)
    brightest = light.max(axis=0)
    light *= _compressed(brightest) / np.maximum(brightest, 1e-6)
    return np.ascontiguousarray(np.moveaxis(_encoded(light), 0, -1))  # (H, W, 3)


def _encoded(light: npt.NDArray[np.float32]) -> Rgb:
    """Light as levels for a display: by a table, as a power of each pixel takes long.

    The table goes by the square root, which is fine enough for the darkest levels.
    """
    root = np.sqrt(light.clip(0, 1)) * (len(_LEVELS) - 1) + 0.5
    levels: Rgb = _LEVELS[root.astype(np.uint16)]
    return levels


def _compressed(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Light from 0 to the peak, as 0 to 1: a Moebius transform above the knee, smooth there.

    It is the curve "mobius" of ffmpeg's filter tonemap.
    """
    a = -(_KNEE**2) * (_PEAK - 1) / (_KNEE**2 - 2 * _KNEE + _PEAK)
    b = (_KNEE**2 - 2 * _KNEE * _PEAK + _PEAK) / (_PEAK - 1)
    scale = (b * b + 2 * b * _KNEE + _KNEE**2) / (b - a)
    above = np.maximum(light, _KNEE)
    return np.where(light <= _KNEE, light, scale * (above + a) / (above + b))


def _pq_light() -> npt.NDArray[np.float32]:
    """The light of each of 65536 levels; SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = np.linspace(0, 1, 65536) ** (1 / m2)
    light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return (light * (10_000 / _WHITE)).astype(np.float32)


def _hlg_light() -> npt.NDArray[np.float32]:
    """The light of each of 65536 levels on the reference display; ARIB STD-B67, ITU-R BT.2100.

    That display has 1000 cd/m2 and a system gamma of 1.2. The gamma is applied to each color, as
    the library zimg does; BT.2100 applies it to the luminance, which makes pure colors paler.
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    level = np.linspace(0, 1, 65536)
    scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)
    return (scene**1.2 * (1000 / _WHITE)).astype(np.float32)


_TABLES = {PQ: _pq_light(), HLG: _hlg_light()}
_LEVELS = (255 * np.linspace(0, 1, 1 << 14) ** (2 / _DISPLAY_GAMMA)).round().astype(np.uint8)


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


@contextmanager
def opened_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
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


def decoded(
    path: Path, container: InputContainer, stream: VideoStream, timeline: Timeline | None = None
) -> Iterator[VideoFrame]:
    """All frames in the order in which they are shown, one at a time, without half-pictures.

    A frame that is damaged is left out: the others keep their times.

    Args:
        path: the file, for messages.
        container: the file, at its beginning.
        stream: the picture.
        timeline: its clock; None for the times of the file as they are.

    Raises:
        ImageError: a tenth of the frames cannot be decoded.
    """
    yield from _whole(_decoded(path, container, stream, timeline))


def _decoded(
    path: Path, container: InputContainer, stream: VideoStream, timeline: Timeline | None
) -> Iterator[VideoFrame]:
    decoder = _decoder(stream)
    clock = _ClockOfFrames()
    good = bad = 0
    with suppress(av.FFmpegError):  # a file that cannot be read to its end is as one that ends
        packets = container.demux()
        for packet in timeline.on_one_clock(packets) if timeline else packets:
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


def _whole(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Frames of full height: those of two fields are made so by FFmpeg's bwdif, one for each."""
    fields: av.filter.Graph | None = None
    form: object = None
    for frame in frames:
        if fields is not None and form != _form(frame):
            yield from _flushed(fields)
            fields = None
        if fields is None and frame.interlaced_frame:
            fields, form = _deinterlacer(frame), _form(frame)
        if fields is None:
            yield frame
        else:
            fields.vpush(frame)
            yield from _ready(fields)
    if fields is not None:
        yield from _flushed(fields)


def _form(frame: VideoFrame) -> object:
    return frame.width, frame.height, frame.format.name


def _deinterlacer(frame: VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _ready(graph: av.filter.Graph) -> Iterator[VideoFrame]:
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield graph.vpull()


def _flushed(graph: av.filter.Graph) -> Iterator[VideoFrame]:
    graph.vpush(None)
    yield from _ready(graph)


def require_end(
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


def times_of(frame: VideoFrame, rate: Fraction) -> tuple[Fraction | None, Fraction]:
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


def has_alpha(frame: VideoFrame) -> bool:
    """Whether a frame has transparency."""
    components = frame.format.components
    return len(components) > 1 and any(component.is_alpha for component in components)


def is_turned(frame: VideoFrame) -> bool:
    """Whether a player turns a frame by a quarter."""
    return frame.rotation % 180 != 0


def picture_of(frame: VideoFrame) -> Picture:
    """A frame upright, in 8-bit RGB; its colors are as a screen without HDR shows them."""
    if frame.colorspace == _NOT_NAMED and _is_high_definition(frame):
        frame.colorspace = _BT709  # as players do; FFmpeg would take that of standard definition
    if frame.color_trc in (PQ, HLG):
        return Picture(_upright(frame, sdr(_array(frame, "rgb48le"), frame.color_trc)))
    if not has_alpha(frame):
        return Picture(_upright(frame, _array(frame, "rgb24")))
    pixels = _upright(frame, _array(frame, "rgba"))
    return Picture(without_hidden(pixels[..., :3], pixels[..., 3]), pixels[..., 3])


def _is_high_definition(frame: VideoFrame) -> bool:
    width, height = _STANDARD
    return frame.width > width or frame.height > height


def _array(frame: VideoFrame, pixels: str) -> npt.NDArray[Any]:
    return frame.to_ndarray(format=pixels, interpolation="BICUBIC")


def _upright(frame: VideoFrame, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pixels (H, W, C) turned and mirrored as the file says that a player should do."""
    data: Any = frame.side_data
    try:
        matrix = np.frombuffer(bytes(data["DISPLAYMATRIX"]), np.int32)
    except KeyError:
        return pixels
    a, b, _, c, d, *_ = matrix.tolist()  # (x, y) is shown at (a x + c y, b x + d y)
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _decoder(stream: VideoStream) -> VideoCodecContext:
    context: Any = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and context.name in _ALPHA_DECODERS:
        context = VideoCodecContext.create(_ALPHA_DECODERS[context.name], "r")
    context.thread_type = "AUTO"
    return context  # type: ignore[no-any-return]
