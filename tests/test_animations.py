"""Animated images: every frame painted, times and loops as they were."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from stylecli.config import DEFAULT_MODEL, StylizeConfig
from stylecli.engine import Stylizer
from stylecli.files.content import bundled_photos

TIMES = [100, 40, 200]


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer(DEFAULT_MODEL, device="cpu")


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
    (result,) = stylizer.run(source, tmp_path / "out", StylizeConfig(format="jpg", strength=0))
    assert not result.error
    first = np.asarray(Image.open(tmp_path / "out/x.jpg")).astype(int)
    assert np.abs(first - np.asarray(frames(1)[0])).mean() < 15


def test_a_damaged_animation_is_named_and_nothing_is_left(stylizer, tmp_path):
    source = save(tmp_path / "x.webp", frames(), duration=TIMES)
    source.write_bytes(source.read_bytes()[:-300])
    (result,) = stylizer.run(source, tmp_path / "out")
    assert "x.webp" in result.error
    assert not list((tmp_path / "out").glob("*"))
