"""What becomes of the streams of a film beside its picture: copied, encoded anew, or left out."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream

from stylecli.files.formats import format_for, is_video

_USUAL_RATE = 48_000  # Hz
_BITS = 96_000  # a second and channel
_MOST_BITS = 320_000
# The layout for 1, 2, 3 … channels. More become stereo.
_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")


class Sound:
    """A stream of sound that is decoded and encoded; pauses become silence.

    Args:
        output: the container to write.
        stream: of the film that is read.
        start: where the film's clock begins, in seconds, and the sound with it.
    """

    def __init__(self, output: OutputContainer, stream: AudioStream, start: Fraction) -> None:
        encoder = _encoder_for(output.format.name)
        rates = av.codec.Codec(encoder, "w").audio_rates
        own = stream.codec_context
        self.rate = own.sample_rate if not rates or own.sample_rate in rates else _USUAL_RATE
        count = own.layout.nb_channels
        made: Any = output.add_stream(encoder, self.rate)
        self.stream: AudioStream = made
        self.stream.layout = _LAYOUTS[count - 1] if count <= len(_LAYOUTS) else "stereo"
        self.stream.bit_rate = min(_MOST_BITS, _BITS * self.stream.layout.nb_channels)
        self.stream.disposition = stream.disposition
        self._decoder = own
        self._start = start
        self._graph: av.filter.Graph | None = None

    def encode(self, packet: "av.Packet[Any]") -> Iterator["av.Packet[Any]"]:
        """The packets that are ready after a packet of the film; an empty one ends it."""
        frames: list[AudioFrame] = []
        with suppress(av.FFmpegError):  # a packet that is damaged becomes silence
            frames = self._decoder.decode(packet if packet.size else None)
        for frame in frames:
            if frame.pts is None:
                continue
            if self._graph is None:
                self._graph = self._make_even(frame)
            unit = Fraction(1, frame.sample_rate)
            frame.pts = round(frame.pts * (frame.time_base or unit) / unit)
            frame.time_base = unit
            for even in run_filters(self._graph, frame):
                yield from self.stream.encode(even)
        if not packet.size and self._graph is not None:
            for even in run_filters(self._graph, None):
                yield from self.stream.encode(even)
            yield from self.stream.encode(None)

    def _make_even(self, first: AudioFrame) -> av.filter.Graph:
        """Filters after which samples follow each other without a gap, as the encoder wants."""
        graph = av.filter.Graph()
        first_pts = round(self._start * self.rate)
        context = self.stream.codec_context
        graph.link_nodes(
            graph.add_abuffer(
                sample_rate=first.sample_rate, format=first.format, layout=first.layout
            ),
            graph.add("aresample", f"{self.rate}:async=1:min_hard_comp=0.02:first_pts={first_pts}"),
            graph.add(
                "aformat",
                f"sample_fmts={context.format.name}:channel_layouts={context.layout.name}",
            ),
            graph.add("abuffersink"),
        ).configure()
        return graph


def run_filters(graph: av.filter.Graph, frame: Any) -> Iterator[Any]:
    """The frames that come out of filters after one is put in; None ends them."""
    graph.push(frame)
    with suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield graph.pull()


_NAMES = {"audio": "sound", "subtitle": "subtitles", "video": "second picture"}
_MUXERS = {".mp4": "mp4", ".m4v": "ipod", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@dataclass(frozen=True)
class Beside:
    """What becomes of the streams beside a film's picture.

    Attributes:
        copied: the numbers of those that are copied.
        encoded: the numbers of sounds that are encoded anew.
        notes: what is encoded anew or lost, in words.
    """

    copied: set[int]
    encoded: set[int]
    notes: list[str]


def plan_streams(
    source: InputContainer, picture: Stream, first: dict[int, bytes], target: Path
) -> Beside:
    """Decide on each stream by trying: its first packet is written to a file in memory.

    Args:
        source: a film; none of its packets is read.
        picture: the stream that is painted.
        first: the bytes of each stream's first packet; none if it has no packet.
        target: the file to write; its suffix names the container. An animation holds no stream.
    """
    others = [stream for stream in source.streams if stream.index != picture.index]
    copied, encoded, lost, changed = set(), set(), [], []
    suffix = target.suffix.lower()
    for stream in others:
        if not is_video(target):
            lost.append(name_of(stream))
        elif _is_made_again(stream, source):
            continue
        elif _is_held(stream, first[stream.index], suffix):
            copied.add(stream.index)
        elif stream.type == "audio" and stream.codec_context:
            encoded.add(stream.index)
            becomes = _encoder_for(_MUXERS[suffix]).removeprefix("lib")
            changed.append(f"{name_of(stream)} becomes {becomes}")
        else:
            lost.append(name_of(stream))
    if not is_video(target) and format_for(target) == "TIFF":
        lost.append("times")
    notes = [f"{target} is without its {' and '.join(lost)}"] if lost else []
    notes += [f"in {target}, its {' and '.join(changed)}"] if changed else []
    return Beside(copied, encoded, notes)


def name_of(stream: Stream) -> str:
    """What a stream is called in a message, such as ``subtitles (ssa)``."""
    if stream.type == "attachment":
        return f"attachment {stream.metadata.get('filename', '')}".rstrip()
    if is_cover(stream):
        return "cover picture"
    codec = stream.codec_context.name if stream.codec_context else stream.name
    return f"{_NAMES.get(stream.type, stream.type)} ({codec or 'of an unknown kind'})"


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a picture that is shown beside the film's name, and no part of it."""
    return bool(stream.disposition & Disposition.attached_pic)


def add_copy(output: OutputContainer, stream: Stream, first: bytes) -> Stream | None:
    """A stream in a container that is written, for the packets of another.

    Args:
        output: the container.
        stream: the other.
        first: its first packet. Of a cover picture it is the file, an attachment in Matroska.

    Returns:
        None if all is done already.
    """
    if is_cover(stream) and output.format.name == "matroska":
        kind = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
        ending = {"jpeg": "jpg"}.get(kind, kind)
        output.add_attachment(f"cover.{ending}", f"image/{kind}", first)
        return None
    copy: Any = output.add_stream_from_template(stream, opaque=True)
    copy.disposition = stream.disposition
    return copy  # type: ignore[no-any-return]


def _is_made_again(stream: Stream, source: InputContainer) -> bool:
    """Whether a container makes a stream by itself, of the chapters or the timecode of a film."""
    if stream.type != "data":
        return False
    is_of_chapters = stream.name == "bin_data" and source.chapters()
    return bool(is_of_chapters) or "timecode" in stream.metadata  # which is a tag, or a stream


def _is_held(stream: Stream, first: bytes, suffix: str) -> bool:
    """Whether a container can hold a stream as it is."""
    if stream.type == "video" and not is_cover(stream):
        return False  # it may lack times of decoding, which cannot be made up
    if suffix == ".webm" and stream.type == "attachment":
        return False
    try:
        with av.open(BytesIO(), "w", format=_MUXERS[suffix]) as output:
            copy = add_copy(output, stream, first)
            if copy is not None:
                copy.metadata.update(stream.metadata)
                if first:
                    packet = av.Packet(first)
                    packet.stream, packet.pts, packet.dts = copy, 0, 0
                    output.mux(packet)
            output.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _encoder_for(container: str) -> str:
    """FFmpeg's name of what encodes sound anew."""
    return "libopus" if container == "webm" else "aac"
