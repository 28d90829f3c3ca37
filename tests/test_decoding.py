"""Reading videos: what is in them, and what is damaged."""

from fractions import Fraction

import numpy as np
import pytest

from clips import ffmpeg, make_clip, open_film
from stylecli.files.formats import ImageError
from stylecli.files.video.films import open_video


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("x.mp4", "libx264", "yuv420p"),
        ("x.mp4", "libx265", "yuv420p10le"),
        ("x.webm", "libvpx", "yuv420p"),
        ("x.webm", "libvpx-vp9", "yuv420p"),
        ("x.mkv", "libsvtav1", "yuv420p"),
        ("x.mp4", "mpeg4", "yuv420p"),
        ("x.mov", "prores_ks", "yuv422p10le"),
        ("x.avi", "mjpeg", "yuvj420p"),
        ("x.mkv", "ffv1", "yuv444p"),
    ],
)
def test_the_usual_codecs_are_read(tmp_path, name, codec, pixels):
    ffmpeg(
        *("-f", "lavfi", "-i", "color=0x4080c0:size=64x64:rate=25", "-frames:v", 3),
        *("-c:v", codec, "-pix_fmt", pixels, tmp_path / name),
    )
    pictures = [frame.picture for frame in open_film(tmp_path / name).frames()]
    assert len(pictures) == 3
    for picture in pictures:
        assert np.abs(picture.rgb.mean((0, 1)) - (0x40, 0x80, 0xC0)).max() < 4


@pytest.mark.parametrize(
    ("size", "matrix"), [("640x480", "bt601"), ("720x576", "bt601"), ("1280x720", "bt709")]
)
def test_a_video_that_does_not_name_its_colors_is_shown_as_players_show_it(tmp_path, size, matrix):
    """High definition as BT.709, and standard definition as BT.601."""
    path = tmp_path / "x.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", f"color=0x40c040:size={size}:rate=25", "-frames:v", 1),
        *("-vf", f"format=gbrp,scale=out_color_matrix={matrix},setparams=colorspace=unknown"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", path),
    )
    with open_video(path) as (_, stream):
        assert stream.codec_context.colorspace == 2  # not named
    (picture,) = [frame.picture for frame in open_film(path).frames()]
    assert np.abs(picture.rgb.mean((0, 1)) - (0x40, 0xC0, 0x40)).max() < 4


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi"])
def test_a_file_that_ends_early_is_named_with_what_could_be_read(tmp_path, suffix):
    whole, path = make_clip(tmp_path / f"whole.{suffix}", frames=200), tmp_path / f"x.{suffix}"
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(ImageError, match=rf"x.{suffix} is damaged: \d\d of about 200 frames"):
        open_film(path)  # before any frame is painted


def test_damage_in_the_middle_moves_no_other_frame(tmp_path):
    path = make_clip(tmp_path / "x.mp4", frames=200, sound=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 60] = bytes(60)
    path.write_bytes(content)
    times = [frame.start for frame in open_film(path).frames()]
    assert 190 <= len(times) <= 200
    assert times[-1] == Fraction(199, 25)
    assert set(times) <= {Fraction(n, 25) for n in range(200)}


def test_frames_of_which_most_are_damaged_are_an_error(tmp_path):
    path = tmp_path / "x.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 40, "-c:v", "png", path)
    )
    content = path.read_bytes()
    path.write_bytes(content.replace(b"IHDR", b"IHDX", 20))
    video = open_film(path)
    with pytest.raises(ImageError, match="damaged"):
        list(video.frames())


def test_sound_alone_is_no_video(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", tmp_path / "x.mp4")
    with (
        pytest.raises(ImageError, match=r"x\.mp4 is not a video that can be read"),
        open_video(tmp_path / "x.mp4"),
    ):
        pass
