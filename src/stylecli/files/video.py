"""Videos: frames in, frames out, with ffmpeg; rate, length, size and sound stay what they were."""

import logging
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import IO, Any

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from stylecli.files.atomic import atomic_path, require_writable
from stylecli.files.colors import without_hidden
from stylecli.files.images import ImageError, Picture, as_image, require_file

VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
_NTSC = 1001  # 24000/1001 and its kin, which ffmpeg prints as 23.98
_BEST_CRF, _WORST_CRF = 16, 51

# By its content alone, ffmpeg would also take a list of addresses, and fetch them.
_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg"

# What phones call HDR. White is at 203 cd/m2 there (ITU-R BT.2408), and highlights are brighter.
_HDR = re.compile(r"Video:.*\b(arib-std-b67|smpte2084)\b")
_TONE_MAP = (
    "zscale=tin={}:min=bt2020nc:pin=bt2020:t=linear:npl=203,format=gbrpf32le,"
    "zscale=p=bt709,tonemap=mobius:desat=0,zscale=t=bt709,format=gbrp"
)
_ALPHA = re.compile(r"Video:.*\b(yuva|rgba|argb|bgra|abgr|gbrap|ya8|ya16)|alpha_mode +: 1", re.I)

logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every turned video


def is_video(path: Path) -> bool:
    """Whether a file is a video by its suffix."""
    return path.suffix.lower() in VIDEOS


def exact_rate(printed: float) -> Fraction:
    """The frame rate that ffmpeg printed, rounded to two decimals.

    Rounded, an hour of 23.976 frames a second ends 0.6 s early.
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
        rate: frames a second, constant: where a file's varies, frames are repeated or left out.
        count: of frames, by rate and length: an estimate.
        pixel_shape: width to height of a pixel, ``1:1`` nearly always.
        transfer: how HDR stores brightness, in ffmpeg's words; empty for other video.
        decoder: what ffmpeg is told, to see transparency; None if there is none.
    """

    path: Path
    rate: Fraction
    count: int
    pixel_shape: str
    transfer: str = ""
    decoder: tuple[str, ...] | None = None

    @classmethod
    def open(cls, path: Path) -> "Video":
        """Read the head of a file.

        Raises:
            ImageError: there is no video in it that ffmpeg can read.
        """
        head, frames = _started(path, "rgb24", [], [])
        frames.close()
        rate = exact_rate(head["fps"])
        said = _said(_input(path))
        shape = re.search(r"Video:.*\[?SAR (\d+):(\d+)", said)
        wide, high = shape.groups() if shape else ("1", "1")
        if head["size"] != head["source_size"]:  # it is shown turned
            wide, high = high, wide
        hdr = _HDR.search(said)
        if hdr:
            _require_tone_mapping(path)
        return cls(
            path,
            rate,
            max(1, round(head["duration"] * rate)),
            f"{wide}:{high}",
            hdr[1] if hdr else "",
            _alpha_decoder(said),
        )

    def notice(self, target: Path) -> str:
        """What the result will lack; empty if nothing."""
        if self.decoder is None or _keeps_alpha(target):
            return ""
        return f"{self.path}: its transparency is lost in {target.name}; a .webm would keep it"

    def frames(self) -> Iterator[Picture]:
        """All frames, upright, one at a time.

        Raises:
            ImageError: the file is damaged, or ends early.
        """
        tones = ["-vf", _TONE_MAP.format(self.transfer)] if self.transfer else []
        pixels = "rgb24" if self.decoder is None else "rgba"
        options = ["-r", str(self.rate), *tones]
        head, frames = _started(self.path, pixels, list(self.decoder or ()), options)
        width, height = head["size"]
        came = 0
        with closing(frames):
            try:
                for data in frames:
                    yield _picture(np.frombuffer(data, np.uint8).reshape(height, width, -1))
                    came += 1
            except (OSError, RuntimeError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise ImageError(f"{self.path} is damaged: {reason}") from error
        if came < 0.9 * self.count - self.rate:
            raise ImageError(f"{self.path} is damaged: {came} of about {self.count} frames")

    def write(
        self, target: Path, pictures: Iterator[Picture], quality: int, *, metadata: bool = True
    ) -> None:
        """Encode frames as a video with this one's rate and sound, whole or not at all.

        Odd sides are kept by H.264's 4:4:4 form, which fewer players know: its usual form has
        even sides only. WebM keeps transparency; in others it is put on gray.

        Args:
            target: the file; its suffix tells the container.
            pictures: one for each frame, of one size.
            quality: 1 to 100, as of a JPEG.
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
            clear = first.alpha is not None and _keeps_alpha(target)
            size = f"{width}x{height}"
            options = self._options(temporary, size, quality, metadata=metadata, clear=clear)
            arrays = (_array(picture, clear) for picture in chain([first], pictures))
            written = _encode(target, options, arrays)
            there = re.findall(r"frame= *(\d+)", _said(_count(temporary)))
            if not there or int(there[-1]) != written:
                raise ImageError(f"cannot write {target}: ffmpeg wrote {there} of {written} frames")

    def _options(
        self, path: Path, size: str, quality: int, *, metadata: bool, clear: bool
    ) -> list[str]:
        """What ffmpeg is told, to encode raw frames from its standard input."""
        vp9 = path.suffix.lower() == ".webm"
        even = all(int(side) % 2 == 0 for side in size.split("x"))
        crf = round(_BEST_CRF + (100 - quality) * (_WORST_CRF - _BEST_CRF) / 99)
        # Untagged, players guess the matrix by the size, and the colors shift.
        tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
        shape = f"setsar={self.pixel_shape.replace(':', '/')}"
        options = ["-f", "rawvideo", "-pix_fmt", "rgba" if clear else "rgb24", "-s", size]
        options += ["-r", str(self.rate), "-i", "-", *_input(self.path)]
        options += ["-map", "0:v", "-map", "1:a?", "-c:a", "copy"]
        kept = "1" if metadata else "-1"
        options += ["-map_metadata", kept, *([] if metadata else ["-map_metadata:s", "-1"])]
        options += ["-vf", f"scale=out_color_matrix=bt709:out_range=tv,{tags},{shape}"]
        pixels = "yuva420p" if clear else "yuv420p" if even or vp9 else "yuv444p"
        options += ["-pix_fmt", pixels, "-crf", str(crf)]
        options += ["-fflags", "+bitexact"]  # no random numbers: equal input, equal bytes
        options += ["-c:v", "libvpx-vp9", "-b:v", "0", "-row-mt", "1"] if vp9 else []
        options += [] if vp9 else ["-c:v", "libx264"]
        if path.suffix.lower() == ".avi":  # which cannot tell the order of B-frames
            options += ["-bf", "0"]
        if path.suffix.lower() in (".mp4", ".m4v", ".mov"):
            options += ["-movflags", "+faststart"]
        return [*options, _name(path)]


def _encode(target: Path, options: list[str], frames: Iterator[npt.NDArray[np.uint8]]) -> int:
    """Send frames to ffmpeg and return how many.

    Not with the library's writer: it hides ffmpeg's exit code, and a full disk.
    """
    with tempfile.TemporaryFile() as said:
        # In a session of its own, Ctrl-C does not reach it: the engine decides when to stop.
        process = subprocess.Popen(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        assert process.stdin
        sent = 0
        try:
            for frame in frames:
                if not _send(process.stdin, frame):
                    break
                sent += 1
            _close(process.stdin)
            failed = process.wait()
        finally:
            process.kill()
            process.wait()
        if failed:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            reason = lines[0] if lines else f"ffmpeg ended with {failed}"
            raise ImageError(f"cannot write {target}: {reason}")
    return sent


def _send(pipe: IO[bytes], frame: npt.NDArray[np.uint8]) -> bool:
    """Tell whether ffmpeg is still there to take a frame."""
    try:
        pipe.write(np.ascontiguousarray(frame).data)
    except OSError:
        return False
    return True


def _close(pipe: IO[bytes]) -> None:
    with suppress(OSError):  # it has ended already: its exit code tells
        pipe.close()


def _picture(pixels: npt.NDArray[np.uint8]) -> Picture:
    """A frame of (H, W, 3), or of (H, W, 4) with transparency."""
    if pixels.shape[2] == 3:
        return Picture(pixels)
    alpha = pixels[..., 3]
    return Picture(without_hidden(pixels[..., :3], alpha), alpha)


def _array(picture: Picture, clear: bool) -> npt.NDArray[np.uint8]:
    """A picture as (H, W, 4) with transparency, or as (H, W, 3) without."""
    if picture.alpha is None and not clear:
        return picture.rgb
    image = as_image(picture, "PNG" if clear else "JPEG")
    return np.asarray(image.convert("RGBA" if clear else "RGB"))


def _keeps_alpha(target: Path) -> bool:
    return target.suffix.lower() == ".webm"


def _alpha_decoder(said: str) -> tuple[str, ...] | None:
    """What ffmpeg is told, to see transparency; its own decoders of VP8 and VP9 leave it out."""
    if not _ALPHA.search(said):
        return None
    webm = re.search(r"Video: (vp8|vp9)", said)
    return ("-c:v", {"vp8": "libvpx", "vp9": "libvpx-vp9"}[webm[1]]) if webm else ()


def _require_tone_mapping(path: Path) -> None:
    filters = _said(["-filters"])
    if not ("zscale" in filters and "tonemap" in filters):
        raise ImageError(
            f"{path} is HDR video, for which this ffmpeg lacks the filters zscale and tonemap: "
            "unset IMAGEIO_FFMPEG_EXE, or pip install --upgrade imageio-ffmpeg"
        )


def _started(
    path: Path, pixels: str, before: list[str], after: list[str]
) -> tuple[dict[str, Any], Any]:
    """What ffmpeg says of a video, and its frames as bytes.

    Args:
        path: the file.
        pixels: ``rgb24`` or ``rgba``.
        before: options of the input.
        after: options of the output.
    """
    require_file(path)
    frames = imageio_ffmpeg.read_frames(
        _name(path),
        pix_fmt=pixels,
        bits_per_pixel={"rgb24": 24, "rgba": 32}[pixels],
        input_params=["-format_whitelist", _CONTAINERS, *before],
        output_params=["-map", "0:v:0", *after],
    )
    try:
        head = next(frames)
    except (OSError, RuntimeError, StopIteration, IndexError, ValueError) as error:
        raise ImageError(f"{path} is not a video that can be read") from error
    if not head.get("fps") or not all(head.get("size", (0, 0))):
        frames.close()
        raise ImageError(f"{path} is not a video that can be read")
    return head, frames


def _count(path: Path) -> list[str]:
    return [*_input(path), "-map", "0:v:0", "-c", "copy", "-f", "null", "-"]


def _input(path: Path) -> list[str]:
    return ["-format_whitelist", _CONTAINERS, "-i", _name(path)]


def _said(options: list[str]) -> str:
    """What ffmpeg says when it is run."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    return (done.stderr + done.stdout).decode(errors="replace")


def _name(path: Path) -> str:
    """A path as ffmpeg takes it: before a colon, it would see a protocol."""
    return str(path.absolute())
