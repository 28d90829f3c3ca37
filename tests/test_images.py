"""Reading and writing pictures: what a person sees must survive."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from stylecli.files.images import (
    ImageError,
    Picture,
    mixed,
    read_picture,
    read_rgb,
    read_short_side,
    set_max_pixels,
    shrunk,
    write_picture,
)

ORIENTATION = 0x0112
LEFT_RED_RIGHT_BLUE = np.zeros((4, 6, 3), np.uint8)
LEFT_RED_RIGHT_BLUE[:, :3, 0] = 255
LEFT_RED_RIGHT_BLUE[:, 3:, 2] = 255


@pytest.mark.parametrize(
    ("orientation", "transposed"),
    [
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_a_photo_is_read_upright_and_saved_without_a_second_turn(tmp_path, orientation, transposed):
    upright = Image.fromarray(LEFT_RED_RIGHT_BLUE)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "A camera"
    upright.transpose(transposed).save(tmp_path / "turned.png", exif=exif)

    picture = read_picture(tmp_path / "turned.png")
    np.testing.assert_array_equal(picture.rgb, LEFT_RED_RIGHT_BLUE)
    write_picture(tmp_path / "saved.png", picture)
    saved = Image.open(tmp_path / "saved.png")
    assert saved.getexif().get(ORIENTATION, 1) == 1
    assert saved.getexif()[0x010F] == "A camera"
    np.testing.assert_array_equal(np.asarray(saved), LEFT_RED_RIGHT_BLUE)


def test_sixteen_bit_gray_keeps_its_shades(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(3, 0)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    rgb = read_picture(tmp_path / "ramp.png").rgb
    np.testing.assert_array_equal(rgb[0, :, 0], np.arange(256))


def test_transparency_is_kept_apart_and_hidden_colors_do_not_count(tmp_path):
    rgba = np.full((5, 5, 4), 255, np.uint8)
    rgba[:2, :, :] = (255, 0, 0, 0)  # red, but invisible
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    picture = read_picture(tmp_path / "clear.png")
    assert (picture.rgb[:2] == 128).all()
    assert (picture.rgb[2:] == 255).all()
    write_picture(tmp_path / "saved.png", picture)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "saved.png"))[..., 3], rgba[..., 3]
    )


def test_a_palette_with_a_transparent_entry_has_alpha_too(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 210, 220])
    image.save(tmp_path / "palette.png", transparency=0)
    picture = read_picture(tmp_path / "palette.png")
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[0, 255]]
    assert picture.rgb[0, 1].tolist() == [200, 210, 220]


def test_a_color_profile_is_applied(tmp_path):
    # sRGB with its red and blue primaries swapped: red in the file means blue.
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "swapped.png", icc_profile=swapped)
    rgb = read_picture(tmp_path / "swapped.png").rgb.astype(int)
    assert np.abs(rgb - LEFT_RED_RIGHT_BLUE[:, ::-1]).max() < 10


def exif_block(tag: int, type_: int, value: object) -> bytes:
    """EXIF with one entry, of a type that need not fit its tag."""
    entries = TiffImagePlugin.ImageFileDirectory_v2()
    entries.tagtype[tag] = type_
    entries[tag] = value
    return b"Exif\0\0II*\0\x08\0\0\0" + entries.tobytes(8)


@pytest.mark.parametrize(
    "exif", [exif_block(0x011A, 2, "abc"), exif_block(0x010F, 11, 1.5), b"Exif\0\0II*\0\xff"]
)
def test_odd_exif_is_left_out_and_the_photo_kept(tmp_path, exif):
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "odd.jpg", exif=exif)
    picture = read_picture(tmp_path / "odd.jpg")
    assert picture.rgb.shape == LEFT_RED_RIGHT_BLUE.shape
    write_picture(tmp_path / "saved.jpg", picture)
    assert not Image.open(tmp_path / "saved.jpg").getexif()


def test_more_exif_than_a_jpeg_can_hold_is_left_out(tmp_path):
    huge = Image.Exif()
    huge[0x010E] = "x" * 70_000
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "huge.png", exif=huge)
    write_picture(tmp_path / "saved.jpg", read_picture(tmp_path / "huge.png"))
    assert not Image.open(tmp_path / "saved.jpg").getexif()


def test_a_long_name_can_be_written(tmp_path):
    name = "n" * 250 + ".png"
    write_picture(tmp_path / name, Picture(LEFT_RED_RIGHT_BLUE))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_narrow_strip_is_refused_for_training_and_read_for_stylizing(tmp_path):
    Image.new("RGB", (900, 3)).save(tmp_path / "strip.png")
    with pytest.raises(ImageError, match="900 x 3: too narrow"):
        read_rgb(tmp_path / "strip.png", 256)
    assert read_picture(tmp_path / "strip.png").rgb.shape == (3, 900, 3)


def test_a_broken_color_profile_is_passed_over(tmp_path):
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "odd.png", icc_profile=b"not a profile")
    np.testing.assert_array_equal(read_picture(tmp_path / "odd.png").rgb, LEFT_RED_RIGHT_BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "RGBA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("image.jpg" if mode in ("CMYK", "YCbCr") else "image.png")
    Image.fromarray(LEFT_RED_RIGHT_BLUE).convert(mode).save(path)
    assert read_picture(path).rgb.shape == (4, 6, 3)


def test_a_jpeg_is_written_at_full_color_resolution_with_an_srgb_profile(tmp_path):
    write_picture(tmp_path / "x.jpg", Picture(LEFT_RED_RIGHT_BLUE.repeat(8, 0).repeat(8, 1)))
    saved = Image.open(tmp_path / "x.jpg")
    profile = ImageCms.ImageCmsProfile(BytesIO(saved.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)
    assert [component[1:3] for component in saved.layer] == [(1, 1)] * 3  # no chroma subsampling


def broken(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    if name == "text.jpg":
        path.write_text("no image at all")
    elif name == "cut.jpg":
        whole = BytesIO()
        Image.effect_noise((200, 200), 80).save(whole, "JPEG")
        path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    elif name == "empty.png":
        path.write_bytes(b"")
    elif name == "folder.png":
        path.mkdir()
    return path


@pytest.mark.parametrize("name", ["text.jpg", "cut.jpg", "empty.png", "folder.png", "missing.png"])
def test_what_cannot_be_read_is_one_error_that_names_the_file(tmp_path, name):
    path = broken(tmp_path, name)
    with pytest.raises(ImageError, match=name.replace(".", r"\.")) as caught:
        read_picture(path)
    assert "\n" not in caught.value.message


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(b"what was there")

    def full(self, target, **options):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ImageError, match="No space left"):
        write_picture(path, Picture(LEFT_RED_RIGHT_BLUE))
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert path.read_bytes() == b"what was there"


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.integers(1, 80))
def test_scaling_to_a_short_side(tmp_path_factory, height, width, short_side):
    path = tmp_path_factory.mktemp("scaling") / "x.png"
    Image.new("RGB", (width, height)).save(path)
    rgb = read_rgb(path, short_side)
    assert min(rgb.shape[:2]) == short_side
    assert rgb.shape[0] / rgb.shape[1] == pytest.approx(height / width, rel=0.6 / short_side + 1e-6)
    assert read_short_side(path) == min(height, width)


def test_strength_and_preserved_color_mix_photo_and_painting():
    random = np.random.default_rng(0)
    photo, painted = random.integers(60, 190, (2, 20, 30, 3), np.uint8)
    assert np.array_equal(mixed(photo, painted, 1, preserve_color=False), painted)
    assert np.array_equal(mixed(photo, painted, 0, preserve_color=False), photo)
    half = mixed(photo, painted, 0.5, preserve_color=False).astype(float)
    assert np.abs(half - (photo.astype(float) + painted) / 2).max() <= 1
    kept = Image.fromarray(mixed(photo, painted, 1, preserve_color=True)).convert("YCbCr")
    luma, blue, red = (np.asarray(band).astype(int) for band in kept.split())
    bands = Image.fromarray(photo).convert("YCbCr").split()
    before = [np.asarray(band).astype(int) for band in bands]
    wanted = np.asarray(Image.fromarray(painted).convert("L")).astype(int)
    rgb = np.asarray(kept.convert("RGB"))
    inside = ((rgb > 2) & (rgb < 253)).all(-1)  # elsewhere the mixture was clipped
    assert inside.mean() > 0.5
    for got, want in ((luma, wanted), (blue, before[1]), (red, before[2])):
        assert np.abs(got - want)[inside].max() <= 3


def test_a_smaller_picture_keeps_its_transparency_and_shape():
    alpha = np.zeros((40, 90), np.uint8)
    alpha[:, 45:] = 255
    small = shrunk(Picture(np.zeros((40, 90, 3), np.uint8), alpha, b"exif"), 30)
    assert small.rgb.shape == (13, 30, 3)
    assert small.alpha.shape == (13, 30)
    assert (small.alpha[6, 2], small.alpha[6, -3], small.exif) == (0, 255, b"exif")
    assert shrunk(small, 30) is small


def test_more_pixels_than_allowed_are_refused_with_the_way_out(tmp_path):
    Image.new("RGB", (100, 100)).save(tmp_path / "big.png")
    before = Image.MAX_IMAGE_PIXELS
    try:
        set_max_pixels(5000)
        with pytest.raises(ImageError, match="more than 5,000 pixels: scale it down"):
            read_picture(tmp_path / "big.png")
        set_max_pixels(10_000)
        assert read_picture(tmp_path / "big.png").rgb.shape == (100, 100, 3)
    finally:
        Image.MAX_IMAGE_PIXELS = before
