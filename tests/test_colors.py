"""Bit depths, color profiles and transparency become 8-bit sRGB."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from stylecli.files import colors
from stylecli.files.formats import ImageError
from stylecli.files.images import read_picture, write_picture
from stylecli.files.pictures import Picture
from test_images import LEFT_RED_RIGHT_BLUE, chunk


def test_sixteen_bit_gray_keeps_its_shades(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(3, 0)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    rgb = read_picture(tmp_path / "ramp.png").rgb
    np.testing.assert_array_equal(rgb[0, :, 0], np.arange(256))


def test_pixels_of_a_large_image_are_copied_once():
    image = Image.effect_noise((3000, 2000), 60).convert("RGB")
    tracemalloc.start()
    try:
        rgb, _ = colors.rgb_and_alpha(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(rgb, np.asarray(image))
    assert peak < 1.5 * rgb.nbytes


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


def test_a_broken_color_profile_is_passed_over(tmp_path):
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "odd.png", icc_profile=b"not a profile")
    np.testing.assert_array_equal(read_picture(tmp_path / "odd.png").rgb, LEFT_RED_RIGHT_BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "RGBA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("image.jpg" if mode in ("CMYK", "YCbCr") else "image.png")
    Image.fromarray(LEFT_RED_RIGHT_BLUE).convert(mode).save(path)
    assert read_picture(path).rgb.shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("dtype", "most"),
    [
        *((np.float32, most) for most in (1, 255, 65535)),
        *((np.int32, most) for most in (255, 65535, 2**31 - 1)),
        (np.uint32, 2**32 - 1),
        (np.uint16, 65535),
    ],
)
def test_deep_gray_keeps_its_shades_where_its_range_is_evident(tmp_path, dtype, most):
    ramp = (np.linspace(0, 1, 256)[None].repeat(3, 0) * most).astype(dtype)
    save_gray_tiff(tmp_path / "ramp.tif", ramp)
    rgb = read_picture(tmp_path / "ramp.tif").rgb
    assert np.abs(rgb[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize(
    ("low", "high"), [(-1, 1), (0, 3), (0, 1e6), (0, float("inf")), (0, float("nan"))]
)
def test_deep_gray_of_an_unclear_range_is_refused_and_not_made_black(tmp_path, low, high):
    save_gray_tiff(tmp_path / "x.tif", np.array([[low, high]], np.float32))
    with pytest.raises(ImageError, match=r"x\.tif: its pixels are numbers from .*expected 0 to 1"):
        read_picture(tmp_path / "x.tif")


def save_gray_tiff(path: Path, values: np.ndarray) -> None:
    """An uncompressed TIFF of one band, of any type of number."""
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    bits = 8 * values.itemsize
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: 1, 278: height, 339: kind}
    entries |= {273: 8, 279: values.nbytes}
    fields = [struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries)]
    directory = struct.pack("<H", len(fields)) + b"".join(fields) + bytes(4)
    head = b"II*\0" + struct.pack("<I", 8 + values.nbytes)
    path.write_bytes(head + values.tobytes() + directory)


def test_what_is_half_transparent_keeps_its_color(tmp_path):
    rgba = np.full((1, 256, 4), (255, 0, 0, 0), np.uint8)
    rgba[0, :, 3] = np.arange(256)
    Image.fromarray(rgba).save(tmp_path / "soft.png")
    picture = read_picture(tmp_path / "soft.png")
    assert picture.rgb[0, 0].tolist() == [128, 128, 128]
    assert (picture.rgb[0, 1:] == (255, 0, 0)).all()
    write_picture(tmp_path / "saved.png", picture)
    saved = np.asarray(Image.open(tmp_path / "saved.png"))
    np.testing.assert_array_equal(saved[0, 1:], rgba[0, 1:])


def test_a_format_without_transparency_gets_soft_edges_on_gray(tmp_path):
    rgb = np.full((16, 16, 3), (200, 0, 0), np.uint8)
    alpha = np.full((16, 16), 128, np.uint8)
    write_picture(tmp_path / "x.bmp", Picture(rgb, alpha))
    saved = np.asarray(Image.open(tmp_path / "x.bmp")).astype(int)
    assert np.abs(saved - (164, 64, 64)).max() <= 1


def test_sixteen_bit_gray_keeps_its_transparent_shade(tmp_path):
    ramp = np.array([[0, 4000, 65535]], np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    png = (tmp_path / "ramp.png").read_bytes()
    (tmp_path / "ramp.png").write_bytes(png[:33] + chunk(b"tRNS", b"\x0f\xa0") + png[33:])
    picture = read_picture(tmp_path / "ramp.png")
    assert picture.alpha.tolist() == [[255, 0, 255]]
    assert picture.rgb[0, :, 0].tolist() == [0, 128, 255]


def test_numbers_below_zero_are_not_taken_for_huge_ones(tmp_path):
    path = tmp_path / "x.tiff"
    Image.fromarray(np.array([[-5, 100], [200, 300]], np.int32)).save(path)
    with pytest.raises(ImageError, match="numbers from -5 to 300"):
        read_picture(path)


def test_a_profile_that_is_srgb_moves_no_pixel_and_one_that_is_not_does(tmp_path):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "srgb.png", icc_profile=colors.SRGB)
    np.testing.assert_array_equal(read_picture(tmp_path / "srgb.png").rgb, rgb)
    wide = bytearray(colors.SRGB)  # its red is as far out as that of Display P3
    at = wide.index(b"rXYZ", 128)
    offset = int.from_bytes(wide[at + 4 : at + 8], "big")
    wide[offset + 8 : offset + 20] = b"".join(
        round(v * 65536).to_bytes(4, "big") for v in (0.5151, 0.2412, 0.0011)
    )
    Image.fromarray(rgb).save(tmp_path / "wide.png", icc_profile=bytes(wide))
    assert np.abs(read_picture(tmp_path / "wide.png").rgb.astype(int) - rgb).max() > 10
