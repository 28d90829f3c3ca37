"""Videos encoded by PyAV: new frames beside sound and subtitles, which are copied as they are."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stylecli.files.decoding import KEEP_TAGS
from stylecli.files.formats import ImageError

_BEST_CRF, _WORST_CRF = 16, 51
_BT709, _LIMITED_RANGE = 1, 1  # FFmpeg's numbers; those of BT.709 are also ITU-T H.273's


@dataclass(frozen=True)
class Shot:
    """A frame, and when it is shown.

    Attributes:
        pixels: (H, W, 3), or (H, W, 4) with transparency; 0..255.
        time: of its start, in seconds; None if the file does not say.
        seconds: for how long; 0 if the file does not say.
    """

    pixels: npt.NDArray[np.uint8]
    time: Fraction | None
    seconds: Fraction


@dataclass(frozen=True)
class Look:
    """What the encoder is told of all frames.

    Attributes:
        size: width and height in px.
        pixel_shape: width to height of a pixel.
        rate: frames a second, or their mean.
        time_base: in seconds; all times are multiples of it.
        quality: 1 to 100.
        has_alpha: whether there is transparency to keep.
    """

    size: tuple[int, int]
    pixel_shape: Fraction
    rate: Fraction
    time_base: Fraction
    quality: int
    has_alpha: bool


def encode(
    file: Path,
    target: Path,
    source: InputContainer,
    look: Look,
    shots: Iterable[Shot],
    *,
    metadata: bool,
) -> None:
    """Write a video with new frames, and with the sound and the subtitles of another.

    Args:
        file: what is written; its suffix names the container.
        target: what the file will be called, for messages.
        source: the other video.
        look: what the frames share.
        shots: the frames.
        metadata: copy title, place, languages, chapters and so on.

    Raises:
        ImageError: it cannot be written, or the container cannot hold the sound.
    """
    # Without "bitexact" there are random numbers in the file.
    options = {"fflags": "+bitexact", "output_ts_offset": f"{-max(0, source.start_time or 0)}us"}
    if file.suffix.lower() in (".mp4", ".m4v", ".mov"):
        options["movflags"] = "+faststart"
    name = str(file.absolute())
    try:
        with av.open(name, "w", container_options=options, **KEEP_TAGS) as output:
            _require_sound(source, output.supported_codecs, target)
            video = _video_stream(output, look, file.suffix.lower())
            copies = {
                stream.index: output.add_stream_from_template(stream)
                for stream in _beside(source)
                if _codec(stream) in output.supported_codecs
            }
            if metadata:
                _copy_metadata(source, output, copies)
            packets = merge(_encoded(video, look, shots), _copied(source, copies), key=_time)
            for packet in packets:
                output.mux(packet)
    except av.FFmpegError as error:
        raise ImageError(f"cannot write {target}: {error.strerror or error}") from error


def left_out(source: InputContainer, target: Path) -> list[str]:
    """What :func:`encode` cannot copy, such as ``subtitles (ass)``."""
    with av.open(target.name, "w") as output:  # a file is made at the first packet: never here
        known = output.supported_codecs
    names = {"audio": "sound", "subtitle": "subtitles"}
    return [
        f"{names[stream.type]} ({_codec(stream) or 'of an unknown kind'})"
        for stream in _beside(source)
        if not _codec(stream) or (stream.type == "subtitle" and _codec(stream) not in known)
    ]


def _require_sound(source: InputContainer, known: set[str], target: Path) -> None:
    """Raise ImageError if a container cannot hold the sound, unless nobody knows that kind."""
    for stream in source.streams.audio:
        name = _codec(stream)
        if name and name not in known:
            kind = target.suffix
            raise ImageError(f"cannot write {target}: {kind} cannot hold {name} sound; .mkv can")


def _beside(source: InputContainer) -> list[Stream]:
    return [stream for stream in source.streams if stream.type in ("audio", "subtitle")]


def _codec(stream: Stream) -> str:
    """FFmpeg's name of a codec; empty if it does not know it."""
    return stream.codec_context.name if stream.codec_context else ""


def _video_stream(output: OutputContainer, look: Look, suffix: str) -> VideoStream:
    """A stream of H.264, or of VP9 in WebM.

    The usual form of H.264 has even sides only. For odd sides its 4:4:4 form is used.
    """
    crf = round(_BEST_CRF + (100 - look.quality) * (_WORST_CRF - _BEST_CRF) / 99)
    options = {"crf": str(crf)}
    if suffix == ".webm":
        stream = output.add_stream("libvpx-vp9", look.rate, {**options, "row-mt": "1"})
    else:
        stream = output.add_stream("libx264", look.rate, options)
    context = stream.codec_context
    context.width, context.height = look.size
    is_even = look.size[0] % 2 == look.size[1] % 2 == 0
    opaque = "yuv420p" if is_even or suffix == ".webm" else "yuv444p"
    context.pix_fmt = "yuva420p" if look.has_alpha else opaque
    if suffix == ".avi":
        context.max_b_frames = 0  # AVI cannot store their order
    context.time_base = look.time_base
    context.sample_aspect_ratio = look.pixel_shape
    # Without these, players guess the matrix from the size, and colors shift.
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    context.flags |= Flags.frame_duration
    context.thread_type = "AUTO"
    return stream


def _copy_metadata(
    source: InputContainer, output: OutputContainer, copies: dict[int, Stream]
) -> None:
    output.metadata.update(source.metadata)
    output.set_chapters(source.chapters())
    for index, copy in copies.items():
        copy.metadata.update(source.streams[index].metadata)


def _encoded(stream: VideoStream, look: Look, shots: Iterable[Shot]) -> Iterator[Any]:
    """The packets of frames."""
    step = round(1 / look.rate / look.time_base)
    earliest = expected = 0
    for shot in shots:
        frame = _frame(shot.pixels, stream)
        time = expected if shot.time is None else round(shot.time / look.time_base)
        frame.time_base = look.time_base
        frame.pts = max(time, earliest)  # damaged files repeat times, which encoders refuse
        frame.duration = round(shot.seconds / look.time_base) or step
        earliest, expected = frame.pts + 1, frame.pts + step
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _frame(pixels: npt.NDArray[np.uint8], stream: VideoStream) -> VideoFrame:
    rgb = VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
    return rgb.reformat(
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        format=stream.codec_context.pix_fmt,
        dst_colorspace="ITU709",
        dst_color_range="MPEG",
        interpolation="BICUBIC",
    )


def _copied(source: InputContainer, copies: dict[int, Stream]) -> Iterator[Any]:
    """The packets of the streams that are copied."""
    if not copies:
        return
    with suppress(av.FFmpegError):  # whether the file is whole is checked where it is decoded
        for packet in source.demux([source.streams[index] for index in copies]):
            if packet.dts is not None:  # the last packet of each stream is empty
                packet.stream = copies[packet.stream_index]
                yield packet


def _time(packet: Any) -> Fraction:
    return packet.dts * packet.time_base  # type: ignore[no-any-return]
