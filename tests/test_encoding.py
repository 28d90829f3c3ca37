"""Writing videos: how it fails, and what is asked of times."""

from fractions import Fraction

import numpy as np
import pytest

from clips import make_clip, packets
from stylecli.files.decoding import opened_video
from stylecli.files.encoding import Look, Shot, encode
from stylecli.files.formats import ImageError

FRAME = np.zeros((48, 64, 3), np.uint8)
LOOK = Look((64, 48), Fraction(1), Fraction(25), Fraction(1, 1000), 80, False)


@pytest.fixture
def write(tmp_path):
    source = make_clip(tmp_path / "source.mp4", frames=3, sound=False)

    def encode_shots(target, shots):
        with opened_video(source) as (container, _):
            encode(target, target, container, LOOK, shots, metadata=True)
        return [packet.time for packet in packets(target, "0:v")]

    return encode_shots


def test_frames_without_times_follow_at_the_rate(tmp_path, write):
    shots = [Shot(FRAME, None, Fraction(0))] * 4
    assert sorted(write(tmp_path / "x.mkv", shots)) == [Fraction(n, 25) for n in range(4)]


def test_times_that_do_not_grow_become_times_that_do(tmp_path, write):
    shots = [Shot(FRAME, Fraction(n, 10), Fraction(0)) for n in (0, 2, 2, 1, 3)]
    times = sorted(write(tmp_path / "x.mkv", shots))
    assert times == [
        0,
        Fraction(200, 1000),
        Fraction(201, 1000),
        Fraction(202, 1000),
        Fraction(3, 10),
    ]


def test_why_it_failed_is_said_without_a_name_that_nobody_gave(tmp_path, write):
    with pytest.raises(ImageError) as failure:
        write(tmp_path / "missing" / "x.mp4", [Shot(FRAME, Fraction(0), Fraction(1, 25))] * 50)
    assert failure.value.message.endswith("missing/x.mp4: No such file or directory")


def test_a_failure_of_the_frames_ends_it(tmp_path, write):
    def shots():
        yield Shot(FRAME, Fraction(0), Fraction(1, 25))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "x.mp4", shots())
