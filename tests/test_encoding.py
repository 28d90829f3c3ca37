"""Writing films: how it fails, and what is asked of times."""

from fractions import Fraction

import numpy as np
import pytest

from clips import frames_of, packets
from stylecli.files.formats import ImageError
from stylecli.files.pictures import Picture
from stylecli.files.video.encoding import Look, encode, encode_alone
from stylecli.files.video.shots import Shot

FRAME = Picture(np.zeros((48, 64, 3), np.uint8))
LOOK = Look((64, 48), Fraction(1), Fraction(25), Fraction(1, 1000), 80, False)
LENGTH = Fraction(1, 25)


def test_times_that_do_not_grow_become_times_that_do(tmp_path):
    shots = [Shot(FRAME, Fraction(n, 10), LENGTH) for n in (0, 2, 2, 1, 3)]
    encode(tmp_path / "x.mkv", tmp_path / "x.mkv", LOOK, shots)
    times = sorted(packet.time for packet in packets(tmp_path / "x.mkv", "0:v"))
    assert times == [Fraction(n, 1000) for n in (0, 200, 201, 202, 300)]


def test_why_it_failed_is_said_without_a_name_that_nobody_gave(tmp_path):
    shots = [Shot(FRAME, n * LENGTH, LENGTH) for n in range(50)]
    target = tmp_path / "missing" / "x.mp4"
    with pytest.raises(ImageError) as failure:
        encode(target, target, LOOK, shots)
    assert failure.value.message.endswith("missing/x.mp4: No such file or directory")


def test_a_failure_of_the_frames_ends_it(tmp_path):
    def shots():
        yield Shot(FRAME, Fraction(0), LENGTH)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode(tmp_path / "x.mp4", tmp_path / "x.mp4", LOOK, shots())


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv", ".webm"])
def test_colors_are_read_as_they_were(tmp_path, suffix):
    """MPEG-4, in AVI, does not name its colors: players take small ones for standard definition."""
    green = Picture(np.full((48, 64, 3), (0x40, 0xC0, 0x40), np.uint8))
    target = tmp_path / f"x{suffix}"
    encode_alone(target, iter([Shot(green, n * LENGTH, LENGTH) for n in range(3)]), 95)
    assert np.abs(frames_of(target, 64, 48).mean((0, 1, 2)) - (0x40, 0xC0, 0x40)).max() < 4
