"""Real clips for tests, and what ffmpeg says of them."""

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imageio_ffmpeg
import numpy as np


def ffmpeg(*arguments: object) -> str:
    """Run ffmpeg and return what it said."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    return done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")


def make_clip(
    path: Path, size: str = "64x48", rate: str = "25", frames: int = 10, *, sound: bool = True
) -> Path:
    """A moving test picture with a tone."""
    path.write_bytes(_encode_clip(path.suffix, size, rate, frames, sound))
    return path


@cache
def _encode_clip(suffix: str, size: str, rate: str, frames: int, sound: bool) -> bytes:
    seconds = frames / Fraction(rate)
    source = ["-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={rate}"]
    if sound:
        source += ["-f", "lavfi", "-i", "sine=frequency=440", "-c:a", "aac"]
    width, height = map(int, size.split("x"))
    pixels = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
    with TemporaryDirectory() as folder:
        path = Path(folder, f"clip{suffix}")
        said = ffmpeg(
            *source,
            *("-t", float(seconds), "-vf", f"scale={width}:{height},setsar=1", "-pix_fmt", pixels),
            *("-frames:v", frames, "-c:v", "libx264", path),
        )
        assert path.is_file(), said
        return path.read_bytes()


@dataclass(frozen=True)
class Packet:
    """A packet as ffmpeg lists it.

    Attributes:
        time: when its content is shown, in seconds.
        seconds: for how long.
        content: its size and checksum.
    """

    time: Fraction
    seconds: Fraction
    content: str


def packets(path: Path, stream: str) -> list[Packet]:
    """The packets of a stream such as ``0:v``, in the order in which they are stored."""
    said = ffmpeg("-copyts", "-i", path, "-map", stream, "-c", "copy", "-f", "framecrc", "-")
    unit = Fraction(re.search(r"#tb 0: (\S+)", said)[1])
    lines = [line.split(",") for line in said.splitlines() if re.match(r"0, +-?\d", line)]
    return [
        Packet(int(line[2]) * unit, int(line[3]) * unit, f"{line[4]},{line[5]}".replace(" ", ""))
        for line in lines
    ]


def count_and_seconds(path: Path) -> tuple[int, float]:
    """How many frames a clip has, and how long they last, counted from its packets."""
    video = packets(path, "0:v")
    end = max(packet.time + packet.seconds for packet in video)
    return len(video), float(end - min(packet.time for packet in video))


def sound_of(path: Path) -> str:
    """A fingerprint of the sound as it is stored; empty if there is none."""
    found = re.search(r"MD5=\w+", ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "md5", "-"))
    return found[0] if found else ""


def frames_of(path: Path, width: int, height: int) -> np.ndarray:
    """All frames, (T, H, W, 3)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def open_clip(source: Path, target: Path) -> Any:
    """The clip in a file; or its picture, if it holds one, or its target can hold only one."""
    from stylecli.files.video.clips import read_clip_or_picture

    return read_clip_or_picture(source, target)[0]


def open_film(path: Path) -> Any:
    """The film in a file, to become an MP4."""
    from stylecli.files.video.films import Video

    return Video.open(path, path.with_suffix(".mp4"))


def convert(source: Path, target: Path) -> str:
    """Write the frames of a film or an animation to another, unpainted; what is said of it."""
    from stylecli.files.video.clips import read_clip_or_picture, write_clip

    clip, said = read_clip_or_picture(source, target)
    write_clip(clip, target, clip.frames(), 95)
    return said


def shown_at(path: Path) -> list[float]:
    """When each frame is shown, in seconds, in the order in which PyAV decodes them."""
    import av

    with av.open(str(path)) as container:
        return [round(float(frame.time), 4) for frame in container.decode(video=0)]


def start_of_sound(path: Path) -> float:
    """When a tone begins, in seconds after the first frame: in the sound as it is heard."""
    rate = 8000
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:a:0"]
    command += ["-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", str(rate)]
    raw = subprocess.run([*command, "-f", "s16le", "-"], capture_output=True, check=True).stdout
    loud = np.abs(np.frombuffer(raw, np.int16)) > 300
    return float(loud.argmax() / rate)
