"""Which formats are read and written, whatever a file is called."""

import subprocess

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from stylecli.files.formats import ImageError
from stylecli.files.images import open_image, read_picture, write_picture
from stylecli.files.pictures import Picture
from test_images import LEFT_RED_RIGHT_BLUE


def test_only_formats_that_are_supported_are_opened_whatever_the_name(tmp_path, monkeypatch):
    """Pillow would give an EPS to Ghostscript, and has many more formats that nobody asked for."""
    programs = []
    monkeypatch.setattr(subprocess, "check_call", lambda *args, **_: programs.append(args))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "icon.ico")
    (tmp_path / "icon.ico").rename(tmp_path / "icon.png")
    page = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
    (tmp_path / "photo.jpg").write_text(page)
    for name in ("photo.jpg", "icon.png"):
        with pytest.raises(
            ImageError, match=f"{name} is not an image that can be read: damaged, or none of AVIF"
        ):
            read_picture(tmp_path / name)
    assert not programs


def test_a_photo_with_the_suffix_of_another_format_is_read(tmp_path):
    pytest.importorskip("pillow_heif")
    for name in ("x.webp", "x.heic", "x.avif", "x.tif", "x.gif"):
        write_picture(tmp_path / name, Picture(LEFT_RED_RIGHT_BLUE.repeat(8, 0).repeat(8, 1)))
        (tmp_path / name).rename(tmp_path / "photo.jpg")
        assert read_picture(tmp_path / "photo.jpg").rgb.shape == (32, 48, 3)


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", "65,500"), (".webp", "16,383")])
def test_a_side_that_a_format_cannot_have_is_said(tmp_path, suffix, most):
    long = Picture(np.zeros((1, 66_000, 3), np.uint8))
    with pytest.raises(ImageError, match=f"cannot write .*66000 x 1.*at most {most} px a side"):
        write_picture(tmp_path / f"x{suffix}", long)
    write_picture(tmp_path / "x.png", long)


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        *(("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.jfi", "JPEG"), ("a.JIF", "JPEG")),
        *(("a.dib", "BMP"), ("a.apng", "PNG"), ("a.tif", "TIFF"), ("a.hif", "HEIF")),
    ],
)
def test_a_format_is_read_and_written_under_each_of_its_names(stylizer, tmp_path, name, format_):
    if format_ == "HEIF":
        pytest.importorskip("pillow_heif")
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "in" / name, Picture(LEFT_RED_RIGHT_BLUE.repeat(8, 0).repeat(8, 1)))
    with open_image(tmp_path / "in" / name) as image:
        assert (image.format, image.size) == (format_, (48, 32))
    (result,) = stylizer.run(tmp_path / "in", tmp_path / "out")
    assert (result.error, result.job.target) == ("", tmp_path / "out" / name)
    with open_image(result.job.target) as image:
        assert (image.format, image.size) == (format_, (48, 32))


def test_a_bitmap_without_the_head_of_its_file_is_read(tmp_path):
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "a.dib", format="DIB")
    assert not (tmp_path / "a.dib").read_bytes().startswith(b"BM")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.dib").rgb, LEFT_RED_RIGHT_BLUE)
