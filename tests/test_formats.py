"""Which formats are read and written, whatever a file is called."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from stylecli.files.formats import ImageError
from stylecli.files.images import (
    read_picture,
    write_picture,
)
from stylecli.files.pictures import Picture

LEFT_RED_RIGHT_BLUE = np.zeros((4, 6, 3), np.uint8)


LEFT_RED_RIGHT_BLUE[:, :3, 0] = 255


LEFT_RED_RIGHT_BLUE[:, 3:, 2] = 255


def save_eps(path: Path) -> None:
    """A page that PostScript draws, with a name that says otherwise."""
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n")


def test_only_formats_that_are_supported_are_opened_whatever_the_name(tmp_path, monkeypatch):
    """Pillow would give an EPS to Ghostscript, and has many more formats that nobody asked for."""
    programs = []
    monkeypatch.setattr(subprocess, "check_call", lambda *args, **_: programs.append(args))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "icon.ico")
    (tmp_path / "icon.ico").rename(tmp_path / "icon.png")
    save_eps(tmp_path / "photo.jpg")
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
