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
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from stylecli.files.colors import SRGB
from stylecli.files.formats import ImageError
from stylecli.files.images import (
    read_picture,
    read_rgb,
    read_short_side,
    set_max_pixels,
    write_picture,
)
from stylecli.files.pictures import Picture

LEFT_RED_RIGHT_BLUE = np.zeros((4, 6, 3), np.uint8)
LEFT_RED_RIGHT_BLUE[:, :3, 0] = 255
LEFT_RED_RIGHT_BLUE[:, 3:, 2] = 255


def test_a_long_name_can_be_written(tmp_path):
    name = "n" * 250 + ".png"
    write_picture(tmp_path / name, Picture(LEFT_RED_RIGHT_BLUE))
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_narrow_strip_is_refused_for_training_and_read_for_stylizing(tmp_path):
    Image.new("RGB", (900, 3)).save(tmp_path / "strip.png")
    with pytest.raises(ImageError, match="900 x 3: too narrow"):
        read_rgb(tmp_path / "strip.png", 256)
    assert read_picture(tmp_path / "strip.png").rgb.shape == (3, 900, 3)


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


def chunk(name: bytes, content: bytes) -> bytes:
    """One part of a PNG."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


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
