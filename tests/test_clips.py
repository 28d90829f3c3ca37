"""Frames of videos and animations through a network."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from clips import ffmpeg, make_clip, open_clip, shown_at, sound_of
from stylecli.errors import StyleCliError
from stylecli.files.formats import is_video_by_content
from stylecli.files.jobs import plan
from stylecli.files.pictures import Picture
from stylecli.files.video.films import Video


@pytest.mark.parametrize(
    ("source", "target", "opens"),
    [
        ("x.gif", "y.gif", True),
        ("x.gif", "y.webp", True),
        ("x.gif", "y.jpg", False),  # which holds one picture
        ("still.gif", "y.gif", False),
        ("x.jpg", "y.gif", False),  # by its suffix, a file of one picture
    ],
)
def test_what_holds_many_pictures_and_may_stay_so_is_opened_as_such(
    tmp_path, source, target, opens
):
    images = [Image.new("RGB", (30, 20), (60 * i, 0, 0)) for i in range(4)]
    for name in ("x.gif", "x.jpg"):
        images[0].save(tmp_path / name, "GIF", save_all=True, append_images=images[1:])
    images[0].save(tmp_path / "still.gif")
    clip = open_clip(tmp_path / source, Path(target))
    assert isinstance(clip, Picture) != opens
    assert not opens or clip.count == 4


def stylize(folder, *arguments, stdin=b""):
    """What the command writes to standard output; it paints nothing."""
    command = [sys.executable, "-m", "stylecli", "stylize", *arguments, "--strength", "0"]
    done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_an_animation_keeps_its_frames_through_standard_input_and_output(tmp_path):
    images = [Image.new("RGB", (30, 20), (60 * i, 0, 0)) for i in range(4)]
    images[0].save(tmp_path / "x.gif", save_all=True, append_images=images[1:], duration=70)
    content = (tmp_path / "x.gif").read_bytes()
    for out in (
        stylize(tmp_path, "x.gif", "-"),
        stylize(tmp_path, "-", "-", "--format", "webp", stdin=content),
    ):
        assert Image.open(BytesIO(out)).n_frames == 4
    stylize(tmp_path, "-", "y.mp4", stdin=content)
    assert shown_at(tmp_path / "y.mp4") == [0, 0.07, 0.14, 0.21]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mpg", ".flv", ".webm"])
def test_a_film_goes_through_standard_input_known_by_its_content(tmp_path, suffix):
    plain, source = make_clip(tmp_path / "plain.mp4", frames=10), tmp_path / f"x{suffix}"
    codecs = ["-c:v", "mpeg2video", "-c:a", "mp2"] if suffix == ".mpg" else ["-c", "copy"]
    codecs = ["-c:v", "libvpx", "-c:a", "libopus"] if suffix == ".webm" else codecs
    ffmpeg("-i", plain, *codecs, source)
    content = source.read_bytes()
    assert is_video_by_content(content[:400])
    (tmp_path / "nameless").write_bytes(content)
    assert isinstance(open_clip(tmp_path / "nameless", tmp_path / "y.mp4"), Video)
    if suffix == ".mp4":
        (tmp_path / "y.mp4").write_bytes(
            stylize(tmp_path, "-", "-", "--format", "mp4", stdin=content)
        )
        assert shown_at(tmp_path / "y.mp4") == [n / 25 for n in range(10)]
        assert sound_of(tmp_path / "y.mp4") == sound_of(source) != ""


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.gif", "x.webp", "x.avif", "x.tiff", "x.bmp"])
def test_an_image_is_no_film_by_its_content(tmp_path, name):
    Image.new("RGB", (30, 20), (71, 71, 71)).save(tmp_path / name)
    assert not is_video_by_content((tmp_path / name).read_bytes()[:400])


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        (None, "a.mp4 b.gif c.png d.mp4 e.jpg"),
        ("mp4", "a.mp4 b.mp4 c.png d.mp4 e.jpg"),
        ("webm", "a.webm b.webm c.png d.webm e.jpg"),
        ("gif", "a.gif b.gif c.gif d.gif e.gif"),
        ("webp", "a.webp b.webp c.webp d.webp e.webp"),
        ("png", "a.mp4 b.png c.png d.mp4 e.png"),  # of photos, above all
        ("jpg", "a.mp4 b.jpg c.jpg d.mp4 e.jpg"),
    ],
)
def test_films_and_animations_turn_into_one_another_in_a_folder(tmp_path, format, expected):
    for name in ("a.mp4", "b.gif", "c.png", "d.ts", "e.jpg"):
        (tmp_path / name).touch()
    jobs = plan([tmp_path], tmp_path / "out", format=format).jobs
    assert [job.target.name for job in jobs] == expected.split()
    assert [bool(job.note) for job in jobs] == [False] * 5 or format in (None, "png", "jpg")


@pytest.mark.parametrize(("source", "target"), [("a.mp4", "b.jpg"), ("a.jpg", "b.mp4")])
def test_a_photo_is_no_film(tmp_path, source, target):
    (tmp_path / source).touch()
    with pytest.raises(StyleCliError, match="one is a video, and one is an image"):
        plan([tmp_path / source], tmp_path / target)


def test_photos_import_no_library_of_films(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "x.gif")
    code = """
import sys
from stylecli.engine import Stylizer
Stylizer("udnie", device="cpu").run(["x.png", "x.gif"], "out")
assert "av" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=os.environ)
    assert len(list((tmp_path / "out").iterdir())) == 2
