"""Real clips for tests, and what ffmpeg says of them."""

import re
import subprocess
from fractions import Fraction
from pathlib import Path

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
    seconds = frames / Fraction(rate)
    source = ["-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={rate}"]
    if sound:
        source += ["-f", "lavfi", "-i", "sine=frequency=440", "-c:a", "aac"]
    width, height = map(int, size.split("x"))
    pixels = "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"
    said = ffmpeg(
        *source,
        *("-t", float(seconds), "-vf", f"scale={width}:{height},setsar=1", "-pix_fmt", pixels),
        *("-frames:v", frames, "-c:v", "libx264", path),
    )
    assert path.is_file(), said
    return path


def count_and_seconds(path: Path) -> tuple[int, float]:
    """How many frames a clip has, and how long they last, counted from its packets."""
    said = ffmpeg("-i", path, "-map", "0:v", "-c", "copy", "-f", "framecrc", "-")
    packets = [line.split(",") for line in said.splitlines() if re.match(r"0, +-?\d", line)]
    unit = Fraction(re.search(r"#tb 0: (\S+)", said)[1])
    ends = [int(packet[2]) + int(packet[3]) for packet in packets]
    start = min(int(packet[2]) for packet in packets)
    return len(packets), float((max(ends) - start) * unit)


def sound_of(path: Path) -> str:
    """A fingerprint of the sound as it is stored; empty if there is none."""
    found = re.search(r"MD5=\w+", ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "md5", "-"))
    return found[0] if found else ""


def frames_of(path: Path, width: int, height: int) -> np.ndarray:
    """All frames, (T, H, W, 3)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
