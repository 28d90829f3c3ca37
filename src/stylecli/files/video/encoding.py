"""Films written by PyAV: new frames beside the other streams of the film they come from."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from heapq import merge
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.formats import ImageError
from stylecli.files.pictures import Picture, as_image
from stylecli.files.video.films import KEEP_TAGS, Video, open_video
from stylecli.files.video.frames import Clip, Frame
from stylecli.files.video.streams import Beside, Sound, add_copy, is_cover, plan_streams
from stylecli.files.video.timeline import Timeline, move

_COARSE = Fraction(1, 1000)  # s
_FINE = 90_000  # units a second
# Painted films gain little from B-frames: without them, x264's "superfast" takes two fifths of
# the time of "veryfast" with them, and files are a seventh larger. With B-frames, which are stored
# in another order than they are shown in, MP4 would also store another length of the last frame.
_X264 = {"preset": "superfast", "bf": "0"}
_BEST_CRF, _WORST_CRF = 18, 51  # of H.264 and VP9
_BT709, _LIMITED_RANGE = 1, 1  # FFmpeg's numbers; those of BT.709 are also ITU-T H.273's
_OF_THE_FILE = frozenset({"filename", "mimetype"})  # an attachment is nothing without
# QuickTime knows most languages by the bibliographic codes of ISO 639-2.
_LANGUAGES_OF_MOV = {
    **{"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "ces": "cze"},
    **{"ron": "rum", "slk": "slo", "sqi": "alb", "mkd": "mac", "hye": "arm", "kat": "geo"},
    **{"fas": "per", "mya": "bur", "msa": "may", "cym": "wel", "eus": "baq", "bod": "tib"},
}
# Those of a stream that no longer hold when it is encoded anew.
_OF_THE_ENCODING = frozenset({"encoder", "duration", "rotate", "alpha_mode"})


def write_film(
    clip: Clip,
    target: Path,
    first: Frame[Picture],
    frames: Iterable[Frame[Picture]],
    quality: int,
    *,
    metadata: bool,
) -> None:
    """See :func:`stylecli.files.video.clips.write_clip`; all frames have the size of the first."""
    require_writable(target.parent)
    options = {"fflags": "+bitexact"}  # or there would be random numbers in the file
    if target.suffix.lower() in (".mp4", ".m4v", ".mov"):
        options["movflags"] = "+faststart"
    else:  # the sound's first packet may stand before 0, where it should
        options["avoid_negative_ts"] = "disabled"
    with atomic_path(target) as temporary:
        file = str(temporary.absolute())
        try:
            with av.open(file, "w", container_options=options, **KEEP_TAGS) as output:
                video = _add_video(output, clip, first, quality)
                _encode(output, video, frames, clip, target, metadata=metadata)
        except av.FFmpegError as error:
            raise ImageError(f"cannot write {target}: {error.strerror or error}") from error


def _encode(
    output: OutputContainer,
    video: VideoStream,
    frames: Iterable[Frame[Picture]],
    clip: Clip,
    target: Path,
    *,
    metadata: bool,
) -> None:
    """Fill a container with new frames, and with the other streams of the film they come from."""
    if not isinstance(clip, Video):
        for packet in _encode_frames(video, frames, Fraction(0)):
            output.mux(packet)
        return
    start = max(Fraction(0), clip.timeline.start)
    with open_video(clip.path) as (source, picture):
        beside = plan_streams(source, picture, clip.timeline.first, target)
        others = _add_others(output, source, clip.timeline, beside, metadata=metadata)
        video.disposition = picture.disposition
        if metadata:
            output.metadata.update(source.metadata)
            output.set_chapters(source.chapters())
            video.metadata.update(_still_true(picture.metadata))
        packets = clip.timeline.on_one_clock(source.demux()) if others else iter(())
        pictures, rest = _encode_frames(video, frames, start), _copy(packets, others, start)
        for packet in merge(pictures, rest, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)


def _add_others(
    output: OutputContainer,
    source: InputContainer,
    timeline: Timeline,
    beside: Beside,
    *,
    metadata: bool,
) -> dict[int, Stream | Sound]:
    """Add streams for those beside the picture of a film, by their numbers in it."""
    others: dict[int, Stream | Sound] = {}
    stream: Any
    made: Any
    for stream in source.streams:
        made, tags = None, stream.metadata
        if stream.index in beside.encoded:
            sound = others[stream.index] = Sound(output, stream, timeline.start)
            made, tags = sound.stream, _still_true(tags)
        elif stream.index in beside.copied:
            made = add_copy(output, stream, timeline.first[stream.index])
            if made is not None:
                others[stream.index] = made
        if made is not None:
            if not metadata:
                tags = {name: tags[name] for name in tags.keys() & _OF_THE_FILE}
            made.metadata.update(_with_language_for(output, tags))
    return others


def _copy(
    packets: Iterable[Any], others: dict[int, Stream | Sound], start: Fraction
) -> Iterator[Any]:
    """Packets of the other streams on a clock that begins at 0; the film's begins at ``start``."""
    last: dict[int, int] = {}
    with suppress(av.FFmpegError):  # whether the file is whole is checked before
        for packet in packets:
            index = packet.stream.index
            other = others.get(index)
            if isinstance(other, Sound):
                for encoded in other.encode(packet):
                    move(encoded, -start)
                    yield encoded
            elif other is not None and packet.size:
                if is_cover(packet.stream) and packet.dts is None:
                    packet.pts = packet.dts = 0
                # Where a clock begins again, sound may overlap by a packet.
                if packet.dts is None or packet.dts <= last.get(index, packet.dts - 1):
                    continue
                last[index] = packet.dts
                move(packet, -start)
                packet.stream = other
                yield packet


def _with_language_for(output: OutputContainer, tags: dict[str, str]) -> dict[str, str]:
    """Tags whose language has the name that a container knows."""
    language = tags.get("language", "")
    if output.format.name != "mov" or language not in _LANGUAGES_OF_MOV:
        return tags
    return {**tags, "language": _LANGUAGES_OF_MOV[language]}


def _still_true(tags: dict[str, str]) -> dict[str, str]:
    """The tags of a stream that hold when it is encoded anew; statistics, in capitals, do not."""
    return {
        name: text
        for name, text in tags.items()
        if name.lower() not in _OF_THE_ENCODING and not name.isupper()
    }


def _add_video(
    output: OutputContainer, clip: Clip, first: Frame[Picture], quality: int
) -> VideoStream:
    """A stream of H.264, or of VP9 in WebM.

    The usual form of H.264 has even sides only. For odd sides its 4:4:4 form is used.
    """
    rate, time_base = _choose_times(clip, first)
    height, width = first.picture.rgb.shape[:2]
    worse = (100 - quality) / 99
    options = {"crf": str(round(_BEST_CRF + worse * (_WORST_CRF - _BEST_CRF)))}
    if output.format.name == "webm":
        stream = output.add_stream("libvpx-vp9", rate, {**options, "row-mt": "1"})
        pixels = "yuv420p" if first.picture.alpha is None else "yuva420p"
    else:
        stream = output.add_stream("libx264", rate, {**options, **_X264})
        pixels = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = width, height, pixels
    context.time_base = time_base
    context.sample_aspect_ratio = clip.pixel_shape
    # Without these, players guess the matrix from the size, and colors shift.
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    context.flags |= Flags.frame_duration
    context.thread_type = "AUTO"
    return stream


def _choose_times(clip: Clip, first: Frame[Picture]) -> tuple[Fraction, Fraction]:
    """Frames a second, and the unit of times in seconds: the origin's, if it is fine enough."""
    if isinstance(clip, Video):
        rate, unit = clip.timeline.rate, clip.timeline.unit
    else:
        rate, unit = 1 / first.seconds, _COARSE
    frame = rate.numerator  # a multiple of it can tell the length of a frame exactly
    return rate, unit if unit < _COARSE else Fraction(1, frame * ceil(_FINE / frame))


def _encode_frames(
    stream: VideoStream, frames: Iterable[Frame[Picture]], start: Fraction
) -> Iterator[Any]:
    """The packets of frames on a clock that begins at 0; theirs begins at ``start``, in seconds."""
    context = stream.codec_context
    earliest = 0
    for frame in frames:
        encoded = _convert(frame.picture, context)
        time = round((frame.start - start) / context.time_base)
        encoded.pts = max(time, earliest)  # damaged files repeat times, which encoders refuse
        encoded.duration = round(frame.seconds / context.time_base) or 1
        earliest = encoded.pts + 1
        yield from stream.encode(encoded)
    yield from stream.encode(None)


def _convert(picture: Picture, context: VideoCodecContext) -> VideoFrame:
    """A picture in the form that an encoder takes."""
    alpha, pixels = context.pix_fmt == "yuva420p", picture.rgb
    if picture.alpha is not None or alpha:
        image = as_image(picture, "PNG" if alpha else "JPEG")
        pixels = np.asarray(image.convert("RGBA" if alpha else "RGB"))
    frame = VideoFrame.from_ndarray(pixels, format="rgba" if alpha else "rgb24").reformat(
        width=context.width,
        height=context.height,
        format=context.pix_fmt,
        dst_colorspace="ITU709",
        dst_color_range="MPEG",
        interpolation="BICUBIC",
    )
    frame.time_base = context.time_base
    return frame
