"""Videos: frames in, frames out; frame rate, length, size and sound stay what they were."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.colors import without_hidden
from stylecli.files.ffmpeg import (
    Frame,
    count_frames,
    decode,
    encode,
    ffmpeg_stderr,
    file_argument,
    input_options,
)
from stylecli.files.formats import ImageError
from stylecli.files.pictures import Picture, as_image

_NTSC = 1001  # the denominator of rates such as 24000/1001, which ffmpeg prints as 23.98
_BEST_CRF, _WORST_CRF = 16, 51

# The transfer functions that are called HDR. Their white is at 203 cd/m2 (ITU-R BT.2408), and
# highlights are brighter.
_HDR = re.compile(r"Video:.*\b(arib-std-b67|smpte2084)\b")
_TONE_MAP = (
    "zscale=tin={}:min=bt2020nc:pin=bt2020:t=linear:npl=203,format=gbrpf32le,"
    "zscale=p=bt709,tonemap=mobius:desat=0,zscale=t=bt709,format=gbrp"
)
_ALPHA = re.compile(r"Video:.*\b(yuva|rgba|argb|bgra|abgr|gbrap|ya8|ya16)|alpha_mode +: 1", re.I)


def exact_rate(printed: float) -> Fraction:
    """The frame rate that ffmpeg meant, of which it printed two decimals.

    With the printed rate, an hour of 23.976 frames a second would end 0.6 s early.
    """
    ntsc = Fraction(round(printed * _NTSC / 1000) * 1000, _NTSC)
    if round(printed) != printed and abs(float(ntsc) - printed) <= 0.005:
        return ntsc
    return Fraction(printed).limit_denominator(100)


@dataclass(frozen=True)
class Video:
    """A video file, to be read frame by frame.

    Attributes:
        path: the file.
        rate: frames a second. It is constant: where that of a file varies, frames are repeated or
            left out.
        count: an estimate of the number of frames, from rate and length.
        pixel_shape: width to height of a pixel, nearly always ``1:1``.
        transfer: ffmpeg's name of the transfer function of HDR video; empty for other video.
        decoder: ffmpeg's options for decoding transparency; None if the video has none.
    """

    path: Path
    rate: Fraction
    count: int
    pixel_shape: str
    transfer: str = ""
    decoder: tuple[str, ...] | None = None

    @classmethod
    def open(cls, path: Path) -> "Video":
        """Read the header of a file.

        Raises:
            ImageError: there is no video in it that ffmpeg can read.
        """
        head, frames = decode(path, "rgb24", [], [])
        frames.close()
        rate = exact_rate(head["fps"])
        description = ffmpeg_stderr(input_options(path))
        is_turned = head["size"] != head["source_size"]
        hdr = _HDR.search(description)
        if hdr:
            _require_tone_mapping(path)
        return cls(
            path,
            rate,
            max(1, round(head["duration"] * rate)),
            _pixel_shape(description, is_turned),
            hdr[1] if hdr else "",
            _alpha_decoder(description),
        )

    def notice(self, target: Path) -> str:
        """What the result will lack; empty if nothing."""
        if self.decoder is None or _keeps_alpha(target):
            return ""
        return f"{self.path}: its transparency is lost in {target}; a .webm would keep it"

    def frames(self) -> Iterator[Picture]:
        """All frames, upright, one at a time.

        Raises:
            ImageError: the file is damaged, or ends early.
        """
        tone_map = ["-vf", _TONE_MAP.format(self.transfer)] if self.transfer else []
        pixels = "rgb24" if self.decoder is None else "rgba"
        options = ["-r", str(self.rate), *tone_map]
        head, frames = decode(self.path, pixels, list(self.decoder or ()), options)
        width, height = head["size"]
        read = 0
        with closing(frames):
            try:
                for data in frames:
                    yield _picture(np.frombuffer(data, np.uint8).reshape(height, width, -1))
                    read += 1
            except (OSError, RuntimeError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise ImageError(f"{self.path} is damaged: {reason}") from error
        if read < 0.9 * self.count - self.rate:
            raise ImageError(f"{self.path} is damaged: {read} of about {self.count} frames")

    def write(
        self, target: Path, pictures: Iterator[Picture], quality: int, *, metadata: bool = True
    ) -> None:
        """Encode frames as a video with this one's rate and sound, whole or not at all.

        The usual form of H.264 has even sides only. For odd sides its 4:4:4 form is used, which
        fewer players know. WebM keeps transparency; in other containers gray takes its place.

        Args:
            target: the file; its suffix names the container.
            pictures: one for each frame, of one size.
            quality: 1 to 100, as for a JPEG.
            metadata: keep title, place, date and so on.

        Raises:
            StyleCliError: it cannot be written, or there are no frames.
        """
        first = next(pictures, None)
        if first is None:
            raise ImageError(f"{self.path} has no frames")
        height, width = first.rgb.shape[:2]
        require_writable(target.parent)
        with atomic_path(target) as temporary:
            has_alpha = first.alpha is not None and _keeps_alpha(target)
            options = [
                *("-f", "rawvideo", "-pix_fmt", "rgba" if has_alpha else "rgb24"),
                *("-s", f"{width}x{height}", "-r", str(self.rate), "-i", "-"),
                *self._options_beside_frames(metadata=metadata),
                *_codec_options(target, height, width, quality, has_alpha=has_alpha),
                file_argument(temporary),
            ]
            arrays = (_array(picture, has_alpha) for picture in chain([first], pictures))
            sent = encode(target, options, arrays)
            written = count_frames(temporary)
            if written != sent:
                raise ImageError(f"cannot write {target}: ffmpeg wrote {written} of {sent} frames")

    def _options_beside_frames(self, *, metadata: bool) -> list[str]:
        """Ffmpeg's options for what the result has of this file: sound, metadata, pixel shape."""
        # Without tags, players guess the matrix from the size, and colors shift.
        tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
        shape = f"setsar={self.pixel_shape.replace(':', '/')}"
        kept = ["1"] if metadata else ["-1", "-map_metadata:s", "-1"]
        return [
            *input_options(self.path),
            *("-map", "0:v", "-map", "1:a?", "-c:a", "copy", "-map_metadata", *kept),
            *("-vf", f"scale=out_color_matrix=bt709:out_range=tv,{tags},{shape}"),
        ]


def _codec_options(
    target: Path, height: int, width: int, quality: int, *, has_alpha: bool
) -> list[str]:
    """Ffmpeg's options for H.264, or for VP9 in WebM."""
    suffix = target.suffix.lower()
    is_webm, is_even = suffix == ".webm", height % 2 == width % 2 == 0
    pixels = "yuva420p" if has_alpha else "yuv420p" if is_even or is_webm else "yuv444p"
    crf = round(_BEST_CRF + (100 - quality) * (_WORST_CRF - _BEST_CRF) / 99)
    options = ["-pix_fmt", pixels, "-crf", str(crf)]
    options += ["-fflags", "+bitexact"]  # otherwise the file holds random numbers
    options += ["-c:v", "libvpx-vp9", "-b:v", "0", "-row-mt", "1"] if is_webm else []
    options += [] if is_webm else ["-c:v", "libx264"]
    options += ["-bf", "0"] if suffix == ".avi" else []  # AVI cannot store the order of B-frames
    options += ["-movflags", "+faststart"] if suffix in (".mp4", ".m4v", ".mov") else []
    return options


def _pixel_shape(description: str, is_turned: bool) -> str:
    """Width to height of a pixel, from ffmpeg's description of a video."""
    shape = re.search(r"Video:.*\[?SAR (\d+):(\d+)", description)
    wide, high = shape.groups() if shape else ("1", "1")
    return f"{high}:{wide}" if is_turned else f"{wide}:{high}"


def _picture(pixels: Frame) -> Picture:
    """A frame of (H, W, 3), or of (H, W, 4) with transparency."""
    if pixels.shape[2] == 3:
        return Picture(pixels)
    alpha = pixels[..., 3]
    return Picture(without_hidden(pixels[..., :3], alpha), alpha)


def _array(picture: Picture, has_alpha: bool) -> Frame:
    """A picture as (H, W, 4) with transparency, or as (H, W, 3) without."""
    if picture.alpha is None and not has_alpha:
        return picture.rgb
    image = as_image(picture, "PNG" if has_alpha else "JPEG")
    return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


def _keeps_alpha(target: Path) -> bool:
    return target.suffix.lower() == ".webm"


def _alpha_decoder(description: str) -> tuple[str, ...] | None:
    """Ffmpeg's options for decoding transparency; None if the video has none.

    ffmpeg's own decoders of VP8 and VP9, which it uses unless told otherwise, leave it out.
    """
    if not _ALPHA.search(description):
        return None
    webm = re.search(r"Video: (vp8|vp9)", description)
    return ("-c:v", {"vp8": "libvpx", "vp9": "libvpx-vp9"}[webm[1]]) if webm else ()


def _require_tone_mapping(path: Path) -> None:
    filters = ffmpeg_stderr(["-filters"])
    if not ("zscale" in filters and "tonemap" in filters):
        raise ImageError(
            f"{path} is HDR video, for which this ffmpeg lacks the filters zscale and tonemap: "
            "unset IMAGEIO_FFMPEG_EXE, or pip install --upgrade imageio-ffmpeg"
        )
