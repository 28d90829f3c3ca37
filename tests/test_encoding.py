"""Writing films: how it fails, and what is asked of times."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from clips import frames_of, packets
from stylecli.files.formats import ImageError
from stylecli.files.pictures import Picture
from stylecli.files.video.clips import Animation, write_clip
from stylecli.files.video.frames import Frame

FRAME = Picture(np.zeros((48, 64, 3), np.uint8))
LENGTH = Fraction(1, 25)


CLIP = Animation(path=Path("x.gif"), count=1)


def frames(*starts, picture=FRAME):
    """Frames that are shown from these times on."""
    return iter([Frame(picture, start, LENGTH) for start in starts])


def test_times_that_do_not_grow_become_times_that_do(tmp_path):
    given = frames(*(Fraction(n, 10) for n in (0, 2, 2, 1, 3)))
    write_clip(CLIP, tmp_path / "x.mp4", given, 80)
    unit = Fraction(1, 90_000)
    times = sorted(packet.time for packet in packets(tmp_path / "x.mp4", "0:v"))
    fifth = Fraction(1, 5)
    assert times == [0, fifth, fifth + unit, fifth + 2 * unit, Fraction(3, 10)]


def test_why_it_failed_is_said_with_the_name_that_was_given(tmp_path):
    wide = Picture(np.zeros((16, 17_000, 3), np.uint8))  # x264 takes 16,384
    with pytest.raises(ImageError) as failure:
        write_clip(CLIP, tmp_path / "x.mp4", frames(Fraction(0), picture=wide), 80)
    why = "Generic error in an external library"  # FFmpeg's own words
    assert failure.value.message == f"cannot write {tmp_path / 'x.mp4'}: {why}"
    assert not list(tmp_path.iterdir())


def test_a_clip_without_frames_is_one_clear_line(tmp_path):
    for name in ("x.mp4", "x.gif"):
        with pytest.raises(ImageError, match=r"x\.gif has no frames"):
            write_clip(CLIP, tmp_path / name, frames(), 80)


def test_a_failure_of_the_frames_ends_it(tmp_path):
    def failing():
        yield from frames(Fraction(0))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_clip(CLIP, tmp_path / "x.mp4", failing(), 80)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_colors_are_read_as_they_were(tmp_path, suffix):
    green = Picture(np.full((48, 64, 3), (0x40, 0xC0, 0x40), np.uint8))
    target = tmp_path / f"x{suffix}"
    write_clip(CLIP, target, frames(0 * LENGTH, LENGTH, 2 * LENGTH, picture=green), 95)
    assert np.abs(frames_of(target, 64, 48).mean((0, 1, 2)) - (0x40, 0xC0, 0x40)).max() < 4
