"""Animated images: every frame painted, times and loops as they were."""

import io
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from clips import convert, ffmpeg, make_clip, open_clip, packets, shown_at
from stylecli.config import DEFAULT_MODEL, StylizeConfig
from stylecli.engine import Stylizer
from stylecli.events import Notice
from stylecli.files.content import bundled_photos
from stylecli.files.jobs import plan
from stylecli.files.pictures import Picture
from stylecli.files.video.clips import Animation, write_clip

TIMES = [100, 40, 200]


def frames(count=3, mode="RGB"):
    photo = Image.open(bundled_photos()[3]).resize((64, 48))
    turned = [photo.rotate(90 * i) for i in range(count)]
    for image in turned:
        if mode == "RGBA":
            alpha = np.full((48, 64), 255, np.uint8)
            alpha[:10] = 0
            image.putalpha(Image.fromarray(alpha))
    return turned


def save(path, images, **options):
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def times(path):
    with Image.open(path) as image:
        loaded = [(frame.load(), frame.info["duration"]) for frame in ImageSequence.Iterator(image)]
        return [time for _, time in loaded]


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
@pytest.mark.parametrize("loop", [0, 3])
def test_every_frame_is_painted_and_shown_as_long(stylizer, tmp_path, name, loop):
    source = save(tmp_path / name, frames(), duration=TIMES, loop=loop)
    (result,) = stylizer.run(source, tmp_path / "out")
    assert not result.error
    painted = tmp_path / "out" / name
    assert times(painted) == times(source) == TIMES
    with Image.open(painted) as image, Image.open(source) as before:
        assert (image.n_frames, image.size) == (3, (64, 48))
        assert image.info.get("loop") == before.info.get("loop") == loop
        for frame, photo in zip(ImageSequence.Iterator(image), frames(), strict=True):
            rgb = np.asarray(frame.convert("RGB")).astype(int)
            assert np.abs(rgb - stylizer(np.asarray(photo))).mean() < 25  # 256 colors in a GIF


def test_equal_frames_may_be_joined_but_last_as_long(stylizer, tmp_path):
    still = frames(1) * 3 + frames(2)[1:]
    source = save(tmp_path / "x.gif", still, duration=[50, 60, 70, 80], loop=0)
    stylizer.run(source, tmp_path / "out")
    assert sum(times(tmp_path / "out" / "x.gif")) == sum(times(source)) == 260


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
def test_transparency_is_kept(stylizer, tmp_path, name):
    source = save(tmp_path / name, frames(mode="RGBA"), duration=TIMES, loop=0, lossless=True)
    stylizer.run(source, tmp_path / "out")
    with Image.open(tmp_path / "out" / name) as image:
        for frame in ImageSequence.Iterator(image):
            alpha = np.asarray(frame.convert("RGBA"))[..., 3]
            assert (alpha[:10] == 0).all()
            assert (alpha[10:] == 255).all()


def test_an_animation_on_its_side_is_turned_and_keeps_its_exif(stylizer, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    source = save(tmp_path / "x.webp", frames(), duration=TIMES, exif=exif)
    (result,) = stylizer.run(source, tmp_path / "out", StylizeConfig(strength=0))
    assert not result.error
    with Image.open(tmp_path / "out/x.webp") as image:
        assert (image.size, image.n_frames) == ((48, 64), 3)
        assert image.getexif()[0x010F] == "A camera"
        assert image.getexif().get(0x0112, 1) == 1


def test_the_pages_of_a_tiff_are_kept(stylizer, tmp_path):
    pages = [frames(1)[0], frames(1)[0].resize((40, 30))]
    save(tmp_path / "x.tif", pages)
    (result,) = stylizer.run(tmp_path / "x.tif", tmp_path / "out")
    assert not result.error
    with Image.open(tmp_path / "out/x.tif") as image:
        assert [page.size for page in ImageSequence.Iterator(image)] == [(64, 48), (40, 30)]


def test_a_format_of_one_frame_gets_the_first(stylizer, tmp_path):
    source = save(tmp_path / "x.gif", frames(), duration=TIMES)
    seen = []
    jobs = plan([source], tmp_path / "out", format="jpg").jobs
    (result,) = stylizer.run_jobs(jobs, seen.append, config=StylizeConfig(strength=0))
    assert not result.error
    (notice,) = (event for event in seen if isinstance(event, Notice))
    assert notice.text.startswith(f"{source}: only the first of its 3 frames is kept")
    first = np.asarray(Image.open(tmp_path / "out/x.jpg")).astype(int)
    assert np.abs(first - np.asarray(frames(1)[0])).mean() < 15


def test_one_animation_that_is_named_twice_is_painted_to_both_places(tmp_path):
    """Equal clips one after the other share no batch."""
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    path = save(tmp_path / "photos" / "sub" / "a.gif", frames())
    stylizer = Stylizer(DEFAULT_MODEL, device="cpu", batch_size=2)
    jobs = plan([path.parent.parent, path.parent], tmp_path / "out").jobs
    results = stylizer.run_jobs(jobs)
    assert [result.error for result in results] == ["", ""]
    assert all(job.target.is_file() for job in jobs)


def test_an_animation_that_vanishes_before_its_turn_fails_and_the_others_are_done(
    stylizer, tmp_path, monkeypatch
):
    for name in ("a.gif", "b.gif", "c.gif"):
        save(tmp_path / name, frames())
    usual = Animation.frames

    def read(self):
        if self.path.name == "b.gif":
            self.path.unlink()
        return usual(self)

    monkeypatch.setattr(Animation, "frames", read)
    results = stylizer.run(tmp_path, tmp_path / "out")
    errors = {result.job.source.name: result.error for result in results}
    assert errors == {
        "a.gif": "",
        "b.gif": f"cannot open {tmp_path / 'b.gif'}: No such file or directory",
        "c.gif": "",
    }


def test_a_damaged_animation_is_named_and_nothing_is_left(stylizer, tmp_path):
    source = save(tmp_path / "x.webp", frames(), duration=TIMES)
    source.write_bytes(source.read_bytes()[:-300])
    (result,) = stylizer.run(source, tmp_path / "out")
    assert "x.webp" in result.error
    assert not list((tmp_path / "out").glob("*"))


STREAM = """
import re, sys
from pathlib import Path
from stylecli.files.video.clips import read_clip_or_picture, write_clip
source, target = map(Path, sys.argv[1:])
clip, _ = read_clip_or_picture(source, target)
write_clip(clip, target, clip.frames(), 50)
status = Path("/proc/self/status").read_text()  # getrusage would count the parent's, too
print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024)
"""


def peak(source, target):
    """Megabytes that a process has at most, which copies an animation frame by frame."""
    command = [sys.executable, "-c", STREAM, source, target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return int(done.stdout)


def long_animation(path, count, size=(800, 600)):
    """A square that moves: small in the file, large when it is decoded."""
    images = [Image.new("RGB", size, (60, 120, 180)) for _ in range(count)]
    for number, image in enumerate(images):
        image.paste((255, 255, 0), (2 * number, 0, 2 * number + 20, 20))
    return save(path, images, duration=20, loop=0)


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.parametrize(
    ("suffix", "most"), [(".webp", 8), (".tif", 8), (".avif", 20), (".gif", 15), (".png", 45)]
)
def test_frames_go_through_one_by_one(tmp_path, suffix, most):
    """14 frames of 800 x 600, 20 MB as RGB: what these take beyond what 4 do.

    Pillow's encoder of GIF holds 1 byte of each pixel, and that of PNG makes it 8.
    """
    few, many = (long_animation(tmp_path / f"{n}.gif", n) for n in (4, 14))
    more = peak(many, tmp_path / f"x{suffix}") - peak(few, tmp_path / f"y{suffix}")
    assert more < most
    with Image.open(tmp_path / f"x{suffix}") as image:
        assert image.n_frames == 14


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_what_an_encoder_would_hold_counts_as_one_image(stylizer, tmp_path, suffix):
    source = long_animation(tmp_path / f"x{suffix}", 20, (64, 48))
    few = StylizeConfig(max_pixels=60_000)
    (result,) = stylizer.run(source, tmp_path / "out", few)
    assert f"x{suffix} has 20 frames of 64 x 48, 61,440 pixels, more than 60,000" in result.error
    assert not list((tmp_path / "out").glob("*"))
    (result,) = stylizer.run(source, tmp_path / "small", replace(few, max_size=60))
    assert not result.error
    (result,) = stylizer.run(source, tmp_path / "x.webp", few)
    assert not result.error


def test_an_animated_avif_keeps_its_frames(stylizer, tmp_path):
    source = save(tmp_path / "x.avif", frames(), duration=TIMES)
    (result,) = stylizer.run(source, tmp_path / "out", StylizeConfig(strength=0))
    assert not result.error
    assert times(tmp_path / "out/x.avif") == times(source) == TIMES


@pytest.mark.parametrize("fault", ["sequence", "cut"])
def test_a_png_with_a_faulty_later_frame_keeps_the_frames_before_it_and_says_so(
    stylizer, tmp_path, fault
):
    """Viewers show as much of it."""
    source = save(tmp_path / "x.png", frames(), duration=TIMES)
    data = source.read_bytes()
    last = data.rindex(b"fcTL")
    if fault == "cut":
        source.write_bytes(data[: last + 200])
    else:
        source.write_bytes(data[: last + 4] + b"\0\0\0\x09" + data[last + 8 :])
    seen = []
    jobs = plan([source], tmp_path / "out").jobs
    (result,) = stylizer.run_jobs(jobs, seen.append, config=StylizeConfig(strength=0))
    assert not result.error
    assert times(tmp_path / "out/x.png") == TIMES[:2]
    (notice,) = (event for event in seen if isinstance(event, Notice))
    assert notice.text == f"{source}: only the first 2 of 3 frames can be read, and are kept"


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tiff", ".png", ".avif"])
def test_what_goes_wrong_with_a_frame_is_not_blamed_on_the_file_that_is_written(tmp_path, suffix):
    """Ctrl-C is such a thing: it must not look like a failure."""

    class StoppedError(Exception):
        pass

    def frames():
        yield from islice(animation.frames(), 2)
        raise StoppedError

    source = tmp_path / "a.gif"
    images = [Image.new("RGB", (30, 20), (60 * i, 0, 0)) for i in range(4)]
    images[0].save(source, save_all=True, append_images=images[1:], duration=50)
    animation = open_clip(source, tmp_path / f"out{suffix}")
    with pytest.raises(StoppedError):
        write_clip(animation, tmp_path / f"out{suffix}", frames(), 90)
    assert not (tmp_path / f"out{suffix}").exists()


@pytest.mark.parametrize(("name", "opens"), [("x.gif", 2), ("x.jpg", 1)])
def test_an_animation_is_opened_once_to_look_at_and_once_to_read(
    tmp_path, monkeypatch, name, opens
):
    """On a slow disk, or of a large GIF, to count the frames takes long."""
    source = save(tmp_path / "x.gif", frames(), duration=TIMES)
    opened = []
    usual = io.open
    monkeypatch.setattr(io, "open", lambda *a, **k: opened.append(a) or usual(*a, **k))
    clip = open_clip(source, tmp_path / name)
    assert isinstance(clip, Picture) == (name == "x.jpg")
    if name == "x.gif":
        assert len(list(clip.frames())) == 3
    assert len(opened) == opens


@pytest.mark.parametrize("first", ["x.gif", "x.webp", "x.png", "x.avif"])
@pytest.mark.parametrize("second", [".mp4", ".mkv", ".webm", ".mov"])
def test_an_animation_becomes_a_film_with_the_same_times(tmp_path, first, second):
    source = save(tmp_path / first, frames(), duration=TIMES, loop=0)
    assert convert(source, tmp_path / f"y{second}") == ""
    assert shown_at(tmp_path / f"y{second}") == pytest.approx([0, 0.1, 0.14], abs=1e-3)
    if second in (".mp4", ".mov"):  # the others hold no length of the last frame
        last = max(packets(tmp_path / f"y{second}", "0:v"), key=lambda packet: packet.time)
        assert float(last.time + last.seconds) == pytest.approx(0.34, abs=1e-3)
    with av.open(str(tmp_path / f"y{second}")) as film:
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]
    for frame, photo in zip(shown, frames(), strict=True):
        assert np.abs(frame - np.asarray(photo)).mean() < 12


@pytest.mark.parametrize("second", [".gif", ".webp", ".png", ".apng", ".avif"])
@pytest.mark.parametrize("rate", ["10", "24000/1001", "30"])
def test_a_film_becomes_an_animation_that_lasts_as_long_and_lost_sound_is_said(
    tmp_path, second, rate
):
    source = make_clip(tmp_path / "x.mp4", rate=rate, frames=30)
    said = convert(source, tmp_path / f"y{second}")
    assert said == f"{source}: {tmp_path}/y{second} is without its sound (aac)"
    ends = np.cumsum(times(tmp_path / f"y{second}")) / 1000 * float(Fraction(rate))  # in frames
    assert ends[-1] == pytest.approx(30, abs=0.16)
    assert len(ends) > 15  # encoders join frames that are alike
    unit = 0.01 if second == ".gif" else 0.001
    assert ends == pytest.approx(np.round(ends), abs=0.51 * unit * float(Fraction(rate)))


def test_a_film_of_more_than_50_frames_a_second_gets_fewer_in_a_gif(tmp_path):
    """Browsers show a frame of one hundredth of a second for ten."""
    source = make_clip(tmp_path / "x.mp4", rate="60", frames=60, sound=False)
    said = convert(source, tmp_path / "y.gif")
    assert said.endswith("y.gif gets at most 50 frames a second")
    assert open_clip(source, tmp_path / "y.gif").count == 30
    lasts = times(tmp_path / "y.gif")
    assert (sum(lasts), min(lasts)) == (1000, 30)


def test_pixels_that_are_not_square_are_so_in_an_animation(tmp_path):
    plain = make_clip(tmp_path / "plain.mp4", frames=3, sound=False)
    ffmpeg("-i", plain, "-vf", "setsar=3/2", tmp_path / "x.mp4")
    convert(tmp_path / "x.mp4", tmp_path / "y.gif")
    assert Image.open(tmp_path / "y.gif").size == (96, 48)


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
def test_transparency_goes_into_webm_and_elsewhere_it_is_gray_and_said(tmp_path, name):
    source = save(tmp_path / name, frames(mode="RGBA"), duration=TIMES, lossless=True)
    assert convert(source, tmp_path / "y.webm") == ""
    said = convert(source, tmp_path / "y.mp4")
    assert "its transparency is lost in" in said and ".webm would keep it" in said
    clear = [
        frame.picture.alpha
        for frame in open_clip(tmp_path / "y.webm", tmp_path / "z.webm").frames()
    ]
    assert all(alpha[:8].max() < 60 and alpha[12:].min() > 200 for alpha in clear)
    gray = [
        frame.picture.rgb for frame in open_clip(tmp_path / "y.mp4", tmp_path / "z.mp4").frames()
    ]
    assert all(np.abs(rgb[:8].astype(int) - 128).mean() < 6 for rgb in gray)
    assert convert(tmp_path / "y.webm", tmp_path / "z.gif") == ""
    with Image.open(tmp_path / "z.gif") as image:
        assert (np.asarray(image.convert("RGBA"))[:8, :, 3] == 0).all()


@pytest.mark.parametrize("time", [0, 10])
def test_frames_that_browsers_show_for_a_tenth_of_a_second_last_so_long(tmp_path, time):
    source = save(tmp_path / "x.gif", frames(), duration=time)
    convert(source, tmp_path / "y.mp4")
    assert shown_at(tmp_path / "y.mp4") == pytest.approx([0, 0.1, 0.2])
    convert(source, tmp_path / "y.gif")
    assert times(tmp_path / "y.gif") == [100, 100, 100]


@pytest.mark.parametrize("second", ["y.png", "y.webp", "y.gif", "y.mp4"])
def test_the_picture_for_those_who_show_no_animation_stays_out_of_it(tmp_path, second):
    source = tmp_path / "x.png"
    hidden = Image.new("RGB", (64, 48), (255, 0, 0))
    hidden.save(source, save_all=True, append_images=frames(), default_image=True, duration=80)
    assert open_clip(source, tmp_path / second).count == 3
    convert(source, tmp_path / second)
    if second.endswith("mp4"):
        assert shown_at(tmp_path / second) == pytest.approx([0, 0.08, 0.16])
    else:
        assert times(tmp_path / second) == [80, 80, 80]
    first = next(open_clip(tmp_path / second, tmp_path / second).frames()).picture.rgb.astype(int)
    assert np.abs(first - np.asarray(frames(1)[0])).mean() < 15


def test_a_still_image_becomes_a_film_of_one_frame(tmp_path):
    frames(1)[0].save(tmp_path / "x.gif")
    convert(tmp_path / "x.gif", tmp_path / "y.mp4")
    assert shown_at(tmp_path / "y.mp4") == [0]
