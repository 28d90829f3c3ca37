"""Videos: frames in, frames out, with ffmpeg; rate, length, size and sound stay what they were."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from stylecli.files.atomic import atomic_path
from stylecli.files.images import ImageError, Picture

VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
_NTSC = 1001  # 24000/1001 and its kin, which ffmpeg prints as 23.98
_BEST_CRF, _WORST_CRF = 16, 51


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
        sound: name of the first sound track's codec; empty if it is silent.
    """

    path: Path
    rate: Fraction
    count: int
    sound: str

    @classmethod
    def open(cls, path: Path) -> "Video":
        """Read the head of a file.

        Raises:
            ImageError: there is no video in it that ffmpeg can read.
        """
        head, frames = _started(path, [])
        frames.close()
        rate = exact_rate(head["fps"])
        count = max(1, round(head["duration"] * rate))
        return cls(path, rate, count, head.get("audio_codec") or "")

    def frames(self) -> Iterator[Picture]:
        """All frames, upright, one at a time.

        Raises:
            ImageError: the file is damaged.
        """
        head, frames = _started(self.path, ["-r", str(self.rate)])
        width, height = head["size"]
        with closing(frames):
            try:
                for data in frames:
                    rgb = np.frombuffer(data, np.uint8).reshape(height, width, 3)
                    yield Picture(rgb)
            except (OSError, RuntimeError) as error:
                raise ImageError(f"{self.path} is damaged: {_first_line(error)}") from error

    def write(self, target: Path, pictures: Iterator[Picture], quality: int) -> None:
        """Encode frames as a video with this one's rate and sound, whole or not at all.

        Odd sides are kept by H.264's 4:4:4 form, which fewer players know: its usual form has
        even sides only.

        Args:
            target: the file; its suffix tells the container.
            pictures: one for each frame, of one size.
            quality: 1 to 100, as of a JPEG.

        Raises:
            ImageError: it cannot be written, or there are no frames.
        """
        first = next(pictures, None)
        if first is None:
            raise ImageError(f"{self.path} has no frames")
        height, width = first.rgb.shape[:2]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(target) as temporary:
                with closing(self._encoder(temporary, width, height, quality)) as encoder:
                    encoder.send(None)
                    written = 0
                    for picture in chain([first], pictures):
                        encoder.send(np.ascontiguousarray(picture.rgb))
                        written += 1
                self._check(temporary, (width, height), written)
        except (OSError, RuntimeError) as error:
            sound = f" and the {self.sound} sound of {self.path}" if self.sound else ""
            raise ImageError(
                f"cannot write {target}: ffmpeg could not put {width} x {height} pictures{sound} "
                f"into {target.suffix}"
            ) from error

    def _encoder(self, path: Path, width: int, height: int, quality: int) -> Any:
        even = width % 2 == height % 2 == 0
        vp9 = path.suffix.lower() == ".webm"
        crf = round(_BEST_CRF + (100 - quality) * (_WORST_CRF - _BEST_CRF) / 99)
        # Untagged, players guess the matrix by the size, and the colors shift.
        tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
        options = ["-vf", f"scale=out_color_matrix=bt709:out_range=tv,{tags}", "-crf", str(crf)]
        options += ["-b:v", "0", "-row-mt", "1"] if vp9 else ["-preset", "medium"]
        if path.suffix.lower() == ".avi":  # which cannot tell the order of B-frames
            options += ["-bf", "0"]
        if path.suffix.lower() in (".mp4", ".m4v", ".mov"):
            options += ["-movflags", "+faststart"]
        if self.sound:
            options += ["-map_metadata", "1"]
        return imageio_ffmpeg.write_frames(
            str(path),
            (width, height),
            pix_fmt_out="yuv420p" if even or vp9 else "yuv444p",
            fps=float(self.rate),
            quality=None,
            codec="libvpx-vp9" if vp9 else "libx264",
            macro_block_size=1,  # or odd frames would be scaled
            ffmpeg_log_level="quiet",
            input_params=["-r", str(self.rate)],  # the library rounds fps
            output_params=options,
            audio_path=str(self.path) if self.sound else None,
            audio_codec="copy" if self.sound else None,
        )

    def _check(self, written: Path, size: tuple[int, int], frames: int) -> None:
        """Raise RuntimeError unless a file is what it should be: ffmpeg fails silently."""
        try:
            head, rest = _started(written, [])
        except ImageError as error:
            raise RuntimeError(error.message) from error
        rest.close()
        if tuple(head["size"]) != size or head["duration"] < 0.9 * frames / self.rate - 1:
            raise RuntimeError(f"{head['size']}, {head['duration']} s")


def _started(path: Path, options: list[str]) -> tuple[dict[str, Any], Any]:
    """What ffmpeg says of a video, and its frames as bytes."""
    if not path.is_file():
        raise ImageError(f"no such file: {path}")
    frames = imageio_ffmpeg.read_frames(str(path), output_params=["-map", "0:v:0", *options])
    try:
        head = next(frames)
    except (OSError, RuntimeError, StopIteration, IndexError, ValueError) as error:
        raise ImageError(f"{path} is not a video that can be read") from error
    if not head.get("fps") or not all(head.get("size", (0, 0))):
        frames.close()
        raise ImageError(f"{path} is not a video that can be read")
    return head, frames


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
