"""Reading and writing pictures: what a person sees must survive."""

import os
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from stylecli.files.colors import SRGB
from stylecli.files.formats import ImageError
from stylecli.files.images import read_picture, read_rgb, read_short_side, write_picture
from stylecli.files.pictures import Picture
from stylecli.files.video.clips import Animation

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


@pytest.mark.parametrize("name", ["text.jpg", "cut.jpg", "empty.png", "folder.png", "missing.png"])
def test_what_cannot_be_read_is_one_error_that_names_the_file(tmp_path, name):
    whole = BytesIO()
    Image.effect_noise((200, 200), 80).save(whole, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=name.replace(".", r"\.")) as caught:
        read_picture(tmp_path / name)
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
    for suffix in (".png", ".jpg", ".webp", ".tif", ".gif", ".avif", ".bmp"):
        path = tmp_path / f"big{suffix}"
        Image.new("RGB", (100, 100)).save(path)
        with pytest.raises(ImageError, match="more than 9,999 pixels: scale it down"):
            read_picture(path, 9999)
        assert read_picture(path, 10_000).rgb.shape == (100, 100, 3)


LIMITS = """
from PIL import Image, PngImagePlugin
Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = 12, 34
import sys, warnings
from pathlib import Path
from stylecli import StylizeConfig, Stylizer
config = StylizeConfig(max_pixels=9000, format="webp")
results = Stylizer("starry-night").run(sys.argv[1], sys.argv[2], config)
failed = [result.job.source.name for result in results if result.error]
assert failed == sorted(path.name for path in Path(sys.argv[1]).glob("a*")), results
assert all("more than 9,000 pixels" in result.error for result in results if result.error)
assert (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK) == (12, 34)
assert not any("PIL" in str(shown[3]) for shown in warnings.filters)
"""


def test_what_is_set_of_pillow_in_a_program_stays_and_does_not_count_for_a_call(tmp_path):
    (tmp_path / "in").mkdir()
    for kind in ("png", "tif", "webp", "gif", "jpg"):
        for name, side in (("a", 100), ("b", 90)):
            frames = [Image.new("RGB", (side, side), color) for color in ("red", "lime", "blue")]
            more = {} if kind == "jpg" else {"save_all": True, "append_images": frames[1:]}
            frames[0].save(tmp_path / "in" / f"{name}-{kind}.{kind}", **more)
    given = [tmp_path / "in", tmp_path / "out"]
    command = [sys.executable, "-W", "ignore", "-c", LIMITS, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_a_limit_of_pixels_belongs_to_a_call_also_where_threads_run(tmp_path):
    for name, side in (("small.png", 80), ("large.png", 120)):
        Image.new("RGB", (side, side)).save(tmp_path / name)

    def size(name, most):
        try:
            return len(read_picture(tmp_path / name, most).rgb)
        except ImageError as error:
            return error.message.partition("more than ")[2].partition(":")[0]

    def sizes(most):
        return [size(name, most) for _ in range(100) for name in ("small.png", "large.png")]

    with ThreadPoolExecutor(2) as pool:
        few, many = pool.map(sizes, (80 * 80, 120 * 120))
    assert few == 100 * [80, "6,400 pixels"]
    assert many == 100 * [80, 120]


def test_a_frame_larger_than_the_first_counts_too(tmp_path):
    """A page of a TIFF may have any size."""
    pages = [Image.new("RGB", (20, 20)), Image.new("RGB", (200, 200))]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with Image.open(tmp_path / "x.tif") as image:
        animation = Animation.of(image, tmp_path / "x.tif", 10_000)
    with pytest.raises(ImageError, match="more than 10,000 pixels"):
        list(animation.frames())


OPENED = """
import sys
from stylecli.cli import app
opened = []
sys.addaudithook(lambda event, given: event == "open" and opened.append(str(given[0])))
for out in ("png", "jpg", "tif"):
    opened.clear()
    given = [sys.argv[1], f"{sys.argv[2]}/{out}", "--format", out, "--device", "cpu"]
    try:
        app(["stylize", *given, "--quiet"])
    except SystemExit:
        print(max(opened.count(name) for name in opened if "/in/" in name))
"""


def test_a_photo_is_opened_twice_for_its_head_and_for_its_pixels(tmp_path):
    """On a shared disk each time is a question to its server."""
    (tmp_path / "in").mkdir()
    for suffix in ("jpg", "png", "webp", "tif", "bmp"):
        Image.new("RGB", (40, 30)).save(tmp_path / "in" / f"{suffix}.{suffix}")
    command = [sys.executable, "-c", OPENED, tmp_path / "in", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.stdout == "2\n2\n2\n", done.stderr
    assert len(list((tmp_path / "out").glob("*/*"))) == 15


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
        subprocess.run([sys.executable, "-c", WRITE, folder], check=True, timeout=240)
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


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.png")  # to read it would wait for a writer
    with pytest.raises(ImageError, match=r"x\.png is a named pipe, not a file"):
        read_picture(tmp_path / "x.png")


def chunk(name: bytes, content: bytes) -> bytes:
    """One part of a PNG."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def test_what_pillow_says_of_an_odd_file_that_it_reads_is_not_printed(tmp_path):
    """Only lines of ours are: its warnings name a line of its source."""
    Image.fromarray(LEFT_RED_RIGHT_BLUE).save(tmp_path / "x.png")
    png = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(png[:33] + chunk(b"acTL", bytes(8)) + png[33:])
    given = [tmp_path / "x.png", tmp_path / "y.png", "--quiet", "--device", "cpu"]
    command = [sys.executable, "-m", "stylecli", "stylize", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")


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
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
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
