"""Running ffmpeg: what it says, and how it fails."""

from itertools import repeat

import numpy as np
import pytest

from clips import make_clip
from stylecli.files.ffmpeg import count_frames, decode, encode, ffmpeg_stderr, file_argument
from stylecli.files.formats import ImageError

FRAME = np.zeros((48, 64, 3), np.uint8)
RAW = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "25", "-i", "-"]


def test_frames_are_counted(tmp_path):
    assert count_frames(make_clip(tmp_path / "x.mp4", frames=7)) == 7
    (tmp_path / "text.mp4").write_text("no video")
    assert count_frames(tmp_path / "text.mp4") == 0
    assert count_frames(tmp_path / "missing.mp4") == 0


def test_what_it_prints_is_returned(tmp_path):
    assert "scale" in ffmpeg_stderr(["-filters"])
    assert "No such file" in ffmpeg_stderr(["-i", str(tmp_path / "missing.mp4")])


def test_frames_come_as_bytes_of_the_pixels_asked_for(tmp_path):
    source = make_clip(tmp_path / "x.mp4", frames=3)
    for pixels, channels in (("rgb24", 3), ("rgba", 4)):
        head, frames = decode(source, pixels, [], [])
        assert head["size"] == (64, 48)
        assert [len(frame) for frame in frames] == [48 * 64 * channels] * 3


def test_what_is_sent_is_written(tmp_path):
    target = tmp_path / "x.mp4"
    assert encode(target, [*RAW, file_argument(target)], repeat(FRAME, 5)) == 5
    assert count_frames(target) == 5


@pytest.mark.parametrize("frames", [1, 500])
def test_why_it_failed_is_said_however_many_frames_it_took(tmp_path, frames):
    """The pipe to it breaks while frames are sent."""
    target = tmp_path / "missing" / "x.mp4"
    with pytest.raises(ImageError, match=r"cannot write .*x\.mp4: .*No such file"):
        encode(target, [*RAW, file_argument(target)], repeat(FRAME, frames))


def test_a_failure_of_the_frames_ends_it(tmp_path):
    def frames():
        yield FRAME
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode(tmp_path / "x.mp4", [*RAW, file_argument(tmp_path / "x.mp4")], frames())
