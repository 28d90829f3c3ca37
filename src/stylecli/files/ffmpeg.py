"""Running ffmpeg: what it says of a file, frames from it, and frames to it."""

import logging
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from stylecli.files.formats import ImageError
from stylecli.files.images import require_file

Frame = npt.NDArray[np.uint8]  # (H, W, 3), or (H, W, 4) with transparency

# Otherwise ffmpeg goes by a file's content, and would read a list of addresses and fetch them.
_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg"

logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every turned video


def input_options(path: Path) -> list[str]:
    """The options that make a video file ffmpeg's next input."""
    return ["-format_whitelist", _CONTAINERS, "-i", file_argument(path)]


def file_argument(path: Path) -> str:
    """A path for ffmpeg's command line.

    It is absolute, as ffmpeg takes what stands before a colon for a protocol.
    """
    return str(path.absolute())


def ffmpeg_stderr(options: list[str]) -> str:
    """Run ffmpeg and return what it prints: messages, and what it prints to standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    return (done.stderr + done.stdout).decode(errors="replace")


def count_frames(path: Path) -> int:
    """How many frames a video has, by reading all of it; 0 if it cannot be read."""
    options = [*input_options(path), "-map", "0:v:0", "-c", "copy", "-f", "null", "-"]
    counts = re.findall(r"frame= *(\d+)", ffmpeg_stderr(options))
    return int(counts[-1]) if counts else 0


def decode(
    path: Path, pixels: str, before: list[str], after: list[str]
) -> tuple[dict[str, Any], Any]:
    """Start to read a video.

    Args:
        path: the file.
        pixels: ``rgb24`` or ``rgba``.
        before: options of the input.
        after: options of the output.

    Returns:
        What imageio's ffmpeg knows of the video, and a generator of its frames as bytes, which is
        to be closed.

    Raises:
        ImageError: there is no video in the file that ffmpeg can read.
    """
    require_file(path)
    frames = imageio_ffmpeg.read_frames(
        file_argument(path),
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


def encode(target: Path, options: list[str], frames: Iterator[Frame]) -> int:
    """Send frames to ffmpeg's standard input, and return how many it took.

    The library's own writer is not used, as it hides ffmpeg's exit code, and so a full disk.

    Args:
        target: the file, for messages.
        options: ffmpeg's, those of its input from ``-`` included.
        frames: all of one size.

    Raises:
        ImageError: ffmpeg failed.
    """
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C does not end it: the engine decides when to stop
        )
        assert process.stdin
        try:
            sent = _send_all(process.stdin, frames)
            exit_code = process.wait()
        finally:
            process.kill()
            process.wait()
        if exit_code:
            stderr.seek(0)
            lines = stderr.read().decode(errors="replace").strip().splitlines()
            reason = lines[0] if lines else f"ffmpeg ended with {exit_code}"
            raise ImageError(f"cannot write {target}: {reason}")
    return sent


def _send_all(pipe: IO[bytes], frames: Iterator[Frame]) -> int:
    """Write frames to a pipe and close it; stop early if its reader has ended."""
    sent = 0
    for frame in frames:
        try:
            pipe.write(np.ascontiguousarray(frame).data)
        except OSError:  # the exit code says why
            break
        sent += 1
    with suppress(OSError):
        pipe.close()
    return sent
