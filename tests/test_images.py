"""Reading and writing pictures: what a person sees must survive."""

import os
import re
import socket
import struct
import subprocess
import sys
import time
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageCms, ImageFile, PngImagePlugin, TiffImagePlugin

from stylecli.files.colors import SRGB
from stylecli.files.formats import ImageError
from stylecli.files.images import (
    read_picture,
    read_rgb,
    read_short_side,
    set_max_pixels,
    write_picture,
)
from stylecli.files.pictures import Picture, mixed, shrunk

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
        target.write(b"half")
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


def test_a_smaller_picture_gets_no_fringe_from_what_is_hidden():
    alpha = np.zeros((40, 40), np.uint8)
    alpha[:, 19:] = 255
    rgb = np.full((40, 40, 3), 128, np.uint8)
    rgb[:, 19:] = (255, 0, 0)
    small = shrunk(Picture(rgb, alpha), 10)
    seen = small.rgb[small.alpha > 8].astype(int)
    assert np.abs(seen - (255, 0, 0)).max() <= 4
    assert (small.rgb[small.alpha == 0] == 128).all()


def test_a_format_without_transparency_gets_soft_edges_on_gray(tmp_path):
    rgb = np.full((16, 16, 3), (200, 0, 0), np.uint8)
    alpha = np.full((16, 16), 128, np.uint8)
    write_picture(tmp_path / "x.bmp", Picture(rgb, alpha))
    saved = np.asarray(Image.open(tmp_path / "x.bmp")).astype(int)
    assert np.abs(saved - (164, 64, 64)).max() <= 1


WRITE = """
import sys
import numpy as np
from pathlib import Path
from stylecli.files.images import (write_picture)
from stylecli.files.pictures import (Picture)
rgb = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8)
for suffix in (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".avif"):
    write_picture(Path(sys.argv[1]) / f"x{suffix}", Picture(rgb))
"""


def test_the_same_picture_becomes_the_same_bytes_in_every_run(tmp_path):
    """A color profile that is made anew holds the second in which that was."""
    written = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        subprocess.run([sys.executable, "-c", WRITE, folder], check=True, timeout=60)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
        time.sleep(1 - time.time() % 1)
    assert len(written[0]) == 7
    assert written[0] == written[1]


def test_a_png_with_a_long_text_or_a_large_profile_is_sound(tmp_path):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Workflow", "x" * 2**21, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", "y" * 2**21, zip=True)
    image = Image.fromarray(LEFT_RED_RIGHT_BLUE)
    image.save(tmp_path / "x.png", pnginfo=texts, icc_profile=SRGB + bytes(2**21))
    assert read_picture(tmp_path / "x.png").rgb.shape == (4, 6, 3)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    code = "import sys; from pathlib import Path; from stylecli.files import images; "
    code += "images.read_picture(Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=20
    )
    assert re.search(r"ImageError: .*x\.png is a (named pipe|socket|device), not", done.stderr)


def test_sixteen_bit_gray_keeps_its_transparent_shade(tmp_path):
    ramp = np.array([[0, 4000, 65535]], np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    png = (tmp_path / "ramp.png").read_bytes()
    (tmp_path / "ramp.png").write_bytes(png[:33] + chunk(b"tRNS", b"\x0f\xa0") + png[33:])
    picture = read_picture(tmp_path / "ramp.png")
    assert picture.alpha.tolist() == [[255, 0, 255]]
    assert picture.rgb[0, :, 0].tolist() == [0, 128, 255]


def chunk(name: bytes, content: bytes) -> bytes:
    """One part of a PNG."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", "65,500"), (".webp", "16,383")])
def test_a_side_that_a_format_cannot_have_is_said(tmp_path, suffix, most):
    long = Picture(np.zeros((1, 66_000, 3), np.uint8))
    with pytest.raises(ImageError, match=f"cannot write .*66000 x 1.*at most {most} px a side"):
        write_picture(tmp_path / f"x{suffix}", long)
    write_picture(tmp_path / "x.png", long)


def test_what_pillow_says_of_an_odd_file_that_it_reads_is_not_printed(tmp_path):
    """Only lines of ours are: its warnings name a line of its source."""
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "x.png")
    png = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(png[:33] + chunk(b"acTL", bytes(8)) + png[33:])
    code = "import sys; from pathlib import Path; from stylecli.files import images; "
    code += "print(images.read_picture(Path(sys.argv[1])).rgb.shape)"
    command = [sys.executable, "-c", code, tmp_path / "x.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("(4, 6, 3)\n", "")


SHORT_WRITES = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from stylecli.files.formats import (ImageError)
from stylecli.files.images import (write_picture)
from stylecli.files.pictures import (Picture)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
for suffix in sys.argv[2:]:
    path = Path(sys.argv[1]) / f"x{suffix}"
    write_picture(path, Picture(rgb))
    size = path.stat().st_size
    path.unlink()
    for less in (1, size // 3):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - less, resource.RLIM_INFINITY))
        try: write_picture(path, Picture(rgb))
        except ImageError: continue
        finally: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print("cut short:", path.name, path.stat().st_size, "of", size)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of a file's size")
def test_a_disk_that_takes_a_part_of_a_picture_leaves_none(tmp_path):
    """Where a part of what is written has room, the system writes that part, and says so."""
    suffixes = (".jpg", ".png", ".webp", ".tiff", ".bmp", ".gif", ".avif")
    command = [sys.executable, "-c", SHORT_WRITES, tmp_path, *suffixes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_no_memory_is_not_a_damaged_picture(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_picture(path, Picture(LEFT_RED_RIGHT_BLUE))

    def none_left(*args, **more):
        raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(ImageFile.ImageFile, "load", none_left)
        read_picture(path)
    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(Image.Image, "save", none_left)
        write_picture(path, Picture(LEFT_RED_RIGHT_BLUE))


def test_numbers_below_zero_are_not_taken_for_huge_ones(tmp_path):
    path = tmp_path / "x.tiff"
    Image.fromarray(np.array([[-5, 100], [200, 300]], np.int32)).save(path)
    with pytest.raises(ImageError, match="numbers from -5 to 300"):
        read_picture(path)
