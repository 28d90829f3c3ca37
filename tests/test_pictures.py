"""Pictures in memory: scaled, cropped, mixed; EXIF as it is to be saved."""

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from stylecli.files.images import read_picture, write_picture
from stylecli.files.metadata import Metadata
from stylecli.files.pictures import Picture, mix, shrink
from test_images import LEFT_RED_RIGHT_BLUE

ORIENTATION = 0x0112


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


def test_strength_and_preserved_color_mix_photo_and_painting():
    random = np.random.default_rng(0)
    photo, painted = random.integers(60, 190, (2, 20, 30, 3), np.uint8)
    assert np.array_equal(mix(photo, painted, 1, preserve_color=False), painted)
    assert np.array_equal(mix(photo, painted, 0, preserve_color=False), photo)
    half = mix(photo, painted, 0.5, preserve_color=False).astype(float)
    assert np.abs(half - (photo.astype(float) + painted) / 2).max() <= 1
    kept = Image.fromarray(mix(photo, painted, 1, preserve_color=True)).convert("YCbCr")
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
    small = shrink(Picture(np.zeros((40, 90, 3), np.uint8), alpha, Metadata(b"exif")), 30)
    assert small.rgb.shape == (13, 30, 3)
    assert small.alpha.shape == (13, 30)
    assert (small.alpha[6, 2], small.alpha[6, -3], small.metadata.exif) == (0, 255, b"exif")
    assert shrink(small, 30) is small


def test_a_smaller_picture_gets_no_fringe_from_what_is_hidden():
    alpha = np.zeros((40, 40), np.uint8)
    alpha[:, 19:] = 255
    rgb = np.full((40, 40, 3), 128, np.uint8)
    rgb[:, 19:] = (255, 0, 0)
    small = shrink(Picture(rgb, alpha), 10)
    seen = small.rgb[small.alpha > 8].astype(int)
    assert np.abs(seen - (255, 0, 0)).max() <= 4
    assert (small.rgb[small.alpha == 0] == 128).all()
