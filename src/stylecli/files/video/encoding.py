"""Films written by PyAV: new frames beside the other streams of the film they come from."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from itertools import chain
from math import ceil
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

from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.formats import ImageError, keeps_alpha
from stylecli.files.pictures import Picture, as_image
from stylecli.files.video.films import KEEP_TAGS, STANDARD, Video, open_video
from stylecli.files.video.frames import Clip, Frame, fit_frames
from stylecli.files.video.streams import Beside, Sound, add_copy, is_cover, plan_streams
from stylecli.files.video.timeline import LATE, Timeline, move

_COARSE = Fraction(1, 1000)  # s
_FINE = 90_000  # units a second
# Painted films gain little from B-frames: without them, x264's "superfast" takes two fifths of
# the time of "veryfast" with them, and files are a seventh larger. With B-frames, which are stored
# in another order than they are shown in, MP4 would also store another length of the last frame.
_X264 = {"preset": "superfast", "bf": "0"}
_BEST_CRF, _WORST_CRF = 18, 51  # of H.264 and VP9
_BEST_Q, _WORST_Q, _LAMBDA = 2, 31, 118  # of MPEG-4; the last is FFmpeg's unit of it
_MOST_IN_MPEG4 = 65_535  # units a second
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


@dataclass(frozen=True)
class _Look:
    """What all frames of a film share.

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


def write_film(
    clip: Clip, target: Path, frames: Iterable[Frame[Picture]], quality: int, *, metadata: bool
) -> None:
    """Encode frames with a clip's times, whole or not at all; of a film, also what is beside.

    Frames of another size than the first are fitted into it.

    Args:
        clip: a film or an animation.
        target: the file; its suffix names the container.
        frames: those of the clip, painted.
        quality: 1 to 100, as for a JPEG.
        metadata: copy title, place, languages, chapters and so on.

    Raises:
        StyleCliError: it cannot be written, or there are no frames.
    """
    fitted = fit_frames(frames, clip.pixel_shape)
    first = next(fitted, None)
    if first is None:
        raise ImageError(f"{clip.path} has no frames")
    require_writable(target.parent)
    look = _choose_look(clip, target, first, quality)
    options = {"fflags": "+bitexact"}  # or there would be random numbers in the file
    if target.suffix.lower() in (".mp4", ".m4v", ".mov"):
        options["movflags"] = "+faststart"
    else:  # the sound's first packet may stand before 0, where it should
        options["avoid_negative_ts"] = "disabled"
    with atomic_path(target) as temporary:
        file = str(temporary.absolute())
        try:
            with av.open(file, "w", container_options=options, **KEEP_TAGS) as output:
                _encode(output, look, chain([first], fitted), clip, target, metadata=metadata)
        except av.FFmpegError as error:
            raise ImageError(f"cannot write {target}: {error.strerror or error}") from error


def _choose_look(clip: Clip, target: Path, first: Frame[Picture], quality: int) -> _Look:
    if isinstance(clip, Video):
        rate, unit, is_regular = clip.rate, clip.timeline.unit, clip.timeline.is_regular
    else:
        rate, unit, is_regular = 1 / first.seconds, _COARSE, False
    height, width = first.picture.rgb.shape[:2]
    return _Look(
        (width, height),
        clip.pixel_shape,
        rate,
        _time_base(target.suffix.lower(), unit, rate, is_regular=is_regular),
        quality,
        first.picture.alpha is not None and keeps_alpha(target),
    )


def _time_base(suffix: str, own: Fraction, rate: Fraction, *, is_regular: bool) -> Fraction:
    """The unit of the times in a film: that of its origin, unless that is too coarse.

    AVI shows one frame in each unit; where none is stored, the one before stays.

    Args:
        suffix: of the file to write.
        own: the unit of the film that the frames come from, in seconds.
        rate: frames a second.
        is_regular: whether frames come at that rate.
    """
    if suffix == ".avi":
        return 1 / rate if is_regular and rate.numerator <= _MOST_IN_MPEG4 else _COARSE
    frame = rate.numerator  # a multiple of it can tell the length of a frame exactly
    return own if own < _COARSE else Fraction(1, frame * ceil(_FINE / frame))


def _encode(
    output: OutputContainer,
    look: _Look,
    frames: Iterable[Frame[Picture]],
    clip: Clip,
    target: Path,
    *,
    metadata: bool,
) -> None:
    """Fill a container with new frames, and with the other streams of the film they come from."""
    is_avi = target.suffix.lower() == ".avi"
    video = _add_video(output, look, target.suffix.lower())
    start = Fraction(0)
    others: Iterator[Any] = iter(())
    with ExitStack() as stack:
        if isinstance(clip, Video):
            start = max(start, clip.timeline.start)
            with open_video(clip.path) as (source, picture):
                beside = plan_streams(source, picture, clip.timeline, target)
            source, picture = stack.enter_context(open_video(clip.path))
            streams = _Others(output, source, clip.timeline, beside, is_avi, metadata=metadata)
            others = streams.packets(start)
            video.disposition = picture.disposition
            if metadata:
                output.metadata.update(source.metadata)
                output.set_chapters(source.chapters())
                video.metadata.update(_still_true(picture.metadata))
        pictures = _encode_frames(video, look, frames, start, begins_at_once=is_avi)
        for packet in merge(pictures, others, key=_time):
            output.mux(packet)


class _Others:
    """The streams of a film beside its picture, in a container that is written."""

    def __init__(
        self,
        output: OutputContainer,
        source: InputContainer,
        timeline: Timeline,
        beside: Beside,
        from_start: bool,
        *,
        metadata: bool,
    ) -> None:
        self._source, self._timeline = source, timeline
        self._copies: dict[int, Stream] = {}
        self._sounds: dict[int, Sound] = {}
        stream: Any
        for stream in source.streams:
            index, made, kept = stream.index, None, stream.metadata
            if index in beside.copied:
                made = add_copy(output, stream, beside.covers.get(index, b""))
                if made is not None:
                    self._copies[index] = made
            elif index in beside.encoded:
                start = timeline.start if from_start else None
                self._sounds[index] = Sound(output, stream, beside.encoded[index], start)
                made, kept = self._sounds[index].stream, _still_true(kept)
                made.disposition = stream.disposition
            if made is not None:
                if not metadata:
                    kept = {name: kept[name] for name in kept.keys() & _OF_THE_FILE}
                made.metadata.update(_with_language_for(output, kept))

    def packets(self, start: Fraction) -> Iterator[Any]:
        """Their packets on a clock that begins at 0; ``start`` is where the film's begins."""
        if not self._copies and not self._sounds:
            return
        last: dict[int, int] = {}
        with suppress(av.FFmpegError):  # whether the file is whole is checked before
            packet: Any
            for packet in self._timeline.on_one_clock(self._source.demux()):
                index = packet.stream.index
                if index in self._sounds:
                    for encoded in self._sounds[index].encode(packet):
                        move(encoded, -start)
                        yield encoded
                elif index in self._copies and packet.size:
                    if is_cover(packet.stream) and packet.dts is None:
                        packet.pts = packet.dts = 0
                    # Where a clock begins again, sound may overlap by a packet.
                    if packet.dts is None or packet.dts <= last.get(index, packet.dts - 1):
                        continue
                    last[index] = packet.dts
                    move(packet, -start)
                    packet.stream = self._copies[index]
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


def _add_video(output: OutputContainer, look: _Look, suffix: str) -> VideoStream:
    """A stream of H.264, or of VP9 in WebM and MPEG-4 in AVI.

    AVI stores no times: players show frames when they come, and of H.264 many do so late. The usual
    form of H.264 has even sides only. For odd sides its 4:4:4 form is used.
    """
    worse = (100 - look.quality) / 99
    options = {"crf": str(round(_BEST_CRF + worse * (_WORST_CRF - _BEST_CRF)))}
    if suffix == ".avi":
        level = round(_LAMBDA * (_BEST_Q + worse * (_WORST_Q - _BEST_Q)))
        stream = output.add_stream(
            "mpeg4", look.rate, {"flags": "+qscale", "global_quality": str(level), "bf": "0"}
        )
    elif suffix == ".webm":
        stream = output.add_stream("libvpx-vp9", look.rate, {**options, "row-mt": "1"})
    else:
        stream = output.add_stream("libx264", look.rate, {**options, **_X264})
    context = stream.codec_context
    context.width, context.height = look.size
    is_even = look.size[0] % 2 == look.size[1] % 2 == 0
    opaque = "yuv420p" if is_even or suffix in (".webm", ".avi") else "yuv444p"
    context.pix_fmt = "yuva420p" if look.has_alpha else opaque
    context.time_base = look.time_base
    context.sample_aspect_ratio = look.pixel_shape
    # Without these, players guess the matrix from the size, and colors shift.
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    context.flags |= Flags.frame_duration
    context.thread_type = "AUTO"
    return stream


def _encode_frames(
    stream: VideoStream,
    look: _Look,
    frames: Iterable[Frame[Picture]],
    start: Fraction,
    *,
    begins_at_once: bool,
) -> Iterator[Any]:
    """The packets of frames on a clock that begins at 0.

    Args:
        stream: the encoder.
        look: what the frames share.
        frames: all of one size.
        start: where their clock begins, in seconds.
        begins_at_once: show black up to the first frame, where nothing may be shown.
    """
    step = round(1 / look.rate / look.time_base)
    earliest = 0
    for frame in frames:
        pixels = _pixels(frame.picture, look.has_alpha)
        encoded = _convert(pixels, stream, look.time_base)
        time = round((frame.start - start) / look.time_base)
        if begins_at_once and earliest == 0 < time:
            if frame.start - start > LATE:
                black = _convert(np.zeros_like(pixels), stream, look.time_base)
                black.pts = 0
                yield from stream.encode(black)
            else:
                start, time = frame.start, 0
        encoded.pts = max(time, earliest)  # damaged files repeat times, which encoders refuse
        encoded.duration = round(frame.seconds / look.time_base) or step
        earliest = encoded.pts + 1
        yield from stream.encode(encoded)
    yield from stream.encode(None)


def _pixels(picture: Picture, alpha: bool) -> npt.NDArray[np.uint8]:
    """A picture as (H, W, 4) with transparency, or as (H, W, 3) without."""
    if picture.alpha is None and not alpha:
        return picture.rgb
    image = as_image(picture, "PNG" if alpha else "JPEG")
    return np.asarray(image.convert("RGBA" if alpha else "RGB"))


def _convert(pixels: npt.NDArray[np.uint8], stream: VideoStream, time_base: Fraction) -> VideoFrame:
    """Pixels (H, W, 3 or 4) in the form that an encoder takes."""
    # MPEG-4 does not name its colors, and players take small pictures for standard definition.
    context = stream.codec_context
    is_small = context.width <= STANDARD[0] and context.height <= STANDARD[1]
    rgb = VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
    frame = rgb.reformat(
        width=context.width,
        height=context.height,
        format=context.pix_fmt,
        dst_colorspace="ITU601" if is_small and context.name == "mpeg4" else "ITU709",
        dst_color_range="MPEG",
        interpolation="BICUBIC",
    )
    frame.time_base = time_base
    return frame


def _time(packet: Any) -> Fraction:
    return packet.dts * packet.time_base  # type: ignore[no-any-return]
