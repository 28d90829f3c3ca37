"""What a file tells about its photo comes through, as far as the result's format can hold it."""

import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, IptcImagePlugin, PngImagePlugin, TiffImagePlugin

from stylecli import StylizeConfig
from stylecli.files.images import read_picture, write_picture
from stylecli.files.metadata import Metadata
from stylecli.files.pictures import Picture

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf>rating 5</rdf></x:xmpmeta>'
IPTC = b"\x1c\x02\x78\x00\x07harbour"  # record 2, data set 120: the caption
RGB = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
PHOTO = Image.fromarray(RGB)
DESCRIPTION, CAMERA, SOFTWARE, ORIENTATION = 0x010E, 0x010F, 0x0131, 0x0112
EXIF_IFD, GPS_IFD, TAKEN = 0x8769, 0x8825, 0x9003
HOLDS = {  # of XMP, IPTC, comment, resolution, text, EXIF
    "jpg": "xmp iptc comment dpi exif",
    "png": "xmp dpi text exif",
    "webp": "xmp exif",
    "avif": "xmp exif",
    "tif": "xmp iptc dpi exif",
    "heic": "xmp exif",
}


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[DESCRIPTION] = "a harbour"
    tags.get_ifd(EXIF_IFD)[TAKEN] = "2024:05:06 07:08:09"
    tags.get_ifd(GPS_IFD).update({1: "N", 2: (1.0, 2.0, 3.0)})
    return tags


def app13(iptc: bytes) -> bytes:
    """The segment of a JPEG in which Photoshop writes IPTC, made by hand."""
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">L", len(iptc)) + iptc + bytes(len(iptc) % 2)
    segment = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment


def save_with_all(path: Path) -> Path:
    """A photo that tells all that its format can hold, saved by Pillow and not by the program."""
    suffix = path.suffix[1:]
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    given = {"exif": exif().tobytes(), "xmp": XMP}
    if suffix == "jpg":
        given |= {"comment": b"for grandma", "dpi": (300, 240), "extra": app13(IPTC)}
    elif suffix == "png":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Title", "harbour")
        texts.add_itxt("Author", "Ælfgifu 千", "en", "Author")
        texts.add_text("Workflow", "steps " * 999, zip=True)
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
        given = {"exif": given["exif"], "dpi": (300, 240), "pnginfo": texts}
    elif suffix == "tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[DESCRIPTION], tags[0x02BC] = "a harbour", XMP
        tags.tagtype[0x83BB], tags[0x83BB] = 7, IPTC
        tags[EXIF_IFD] = {TAKEN: "2024:05:06 07:08:09"}
        tags[GPS_IFD] = {1: "N", 2: (1.0, 2.0, 3.0)}
        given = {"tiffinfo": tags, "dpi": (300, 240)}
    PHOTO.save(path, **given)
    return path


def told(path: Path) -> dict[str, object]:
    """What a file tells, read by Pillow and not by the program."""
    with Image.open(path) as image:
        image.load()
        tags = image.getexif()
        iptc = IptcImagePlugin.getiptcinfo(image)
        found = {
            "xmp": image.info.get("xmp"),
            "iptc": (iptc or {}).get((2, 120)),
            "comment": image.info.get("comment"),
            "dpi": tuple(map(round, image.info.get("dpi", ()))),
            "text": dict(getattr(image, "text", {})),
            "exif": (
                tags.get(DESCRIPTION),
                tags.get_ifd(EXIF_IFD).get(TAKEN),
                dict(tags.get_ifd(GPS_IFD)),
            ),
        }
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize("suffix", HOLDS)
def test_what_a_photo_tells_is_kept_unless_it_is_to_be_left_out(stylizer, tmp_path, suffix):
    source = save_with_all(tmp_path / f"x.{suffix}")
    before = told(source)
    assert set(HOLDS[suffix].split()) <= set(before)
    (result,) = stylizer.run(source, tmp_path / "out")
    assert not result.error
    after = told(result.job.target)
    assert {name: after[name] for name in HOLDS[suffix].split()} == {
        name: before[name] for name in HOLDS[suffix].split()
    }
    with Image.open(result.job.target) as image:
        assert image.getexif()[SOFTWARE].startswith("stylecli ")
    (result,) = stylizer.run(source, tmp_path / "bare", StylizeConfig(strip_metadata=True))
    bare = told(result.job.target)
    assert bare.pop("exif", (None, None, {})) == (None, None, {})
    assert not bare.keys() - {"dpi"}
    assert bare.get("dpi") in (None, (0, 0), (1, 1))
    assert b"harbour" not in result.job.target.read_bytes()


@pytest.mark.parametrize("target", HOLDS)
@pytest.mark.parametrize("source", ["jpg", "png", "tif"])
def test_what_the_format_of_the_result_can_hold_is_kept(stylizer, tmp_path, source, target):
    if target == "heic":
        pytest.importorskip("pillow_heif")
    before = told(save_with_all(tmp_path / f"x.{source}"))
    (result,) = stylizer.run(tmp_path / f"x.{source}", tmp_path / f"y.{target}")
    assert not result.error
    after = told(result.job.target)
    both = set(HOLDS[source].split()) & set(HOLDS[target].split())
    assert {name: after[name] for name in both} == {name: before[name] for name in both}
    if (source, target) == ("jpg", "png"):
        assert after["text"]["Comment"] == "for grandma"
    if target in ("webp", "avif", "heic"):  # EXIF holds the resolution where nothing else does
        with Image.open(result.job.target) as image:
            assert [round(image.getexif()[tag]) for tag in (0x011A, 0x011B)] == [300, 240]


def test_the_resolution_of_a_jpegs_head_is_kept_where_its_exif_says_another(tmp_path):
    tags = Image.Exif()
    tags[0x011A], tags[0x011B], tags[0x0128] = 72.0, 72.0, 3
    PHOTO.save(tmp_path / "x.jpg", exif=tags, dpi=(300, 240))
    write_picture(tmp_path / "y.webp", read_picture(tmp_path / "x.jpg"))
    assert read_picture(tmp_path / "y.webp").metadata.dpi == (300, 240)


@pytest.mark.parametrize("form", ['tiff:Orientation="6"', "tiff:Orientation = '6'"])
@pytest.mark.parametrize("with_exif", [True, False])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_orientation_in_xmp_is_reset_too(tmp_path, suffix, with_exif, form):
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:tiff="t" {form}/>'.encode()
    turned = PHOTO.transpose(Image.Transpose.ROTATE_90)
    tags = Image.Exif()
    if with_exif:
        tags[ORIENTATION] = 6
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
    given = {"pnginfo": texts} if suffix == "png" else {"xmp": xmp}
    if suffix == "tif":
        tags[0x02BC] = xmp
    turned.save(tmp_path / f"x.{suffix}", exif=tags, **given)
    picture = read_picture(tmp_path / f"x.{suffix}")
    write_picture(tmp_path / f"y.{suffix}", picture)
    with Image.open(tmp_path / f"y.{suffix}") as saved:
        assert b"6" not in saved.info["xmp"]
        assert saved.getexif().get(ORIENTATION, 1) == 1
    again = read_picture(tmp_path / f"y.{suffix}")
    assert again.rgb.shape == picture.rgb.shape
    if with_exif or "=" + '"' in form:
        assert picture.rgb.shape == RGB.shape


def test_an_element_of_xmp_with_the_orientation_is_reset():
    image = Image.new("RGB", (9, 9))
    image.info["xmp"] = b"<a xmlns:tiff='t'><tiff:Orientation>8</tiff:Orientation></a>"
    kept = Metadata.of(image).xmp
    assert kept == b"<a xmlns:tiff='t'><tiff:Orientation>1</tiff:Orientation></a>"


@pytest.mark.parametrize(
    ("key", "block"),
    [
        ("xmp", XMP[:-9]),
        ("xmp", b"\xff\xfe<\0a\0/\0>\0"),
        ("xmp", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
        ("xmp", b"<a>" + b"x" * 2**21 + b"</a>"),
        ("photoshop", {0x0404: IPTC[:-3]}),
        ("photoshop", {0x0404: b"no records"}),
        ("photoshop", {}),
        ("comment", b"x" * 2**21),
        ("dpi", (0, 300)),
        ("dpi", (float("nan"), 300)),
        ("dpi", ("many", None)),
        ("dpi", (10.0**9, 300)),
    ],
)
def test_damaged_and_huge_blocks_are_left_out_and_the_others_kept(key, block):
    image = Image.new("RGB", (9, 9))
    image.info = {"xmp": XMP, "photoshop": {0x0404: IPTC}, "comment": b"c", "dpi": (72, 72)}
    whole = Metadata.of(image)
    assert whole == Metadata(b"", XMP, IPTC, b"c", (72, 72))
    image.info[key] = block
    lost = {"photoshop": "iptc"}.get(key, key)
    assert Metadata.of(image) == replace(whole, **{lost: None if lost == "dpi" else b""})


def test_iptc_that_a_tiff_stores_as_whole_numbers_is_read(tmp_path):
    """Photoshop does so."""
    padded = IPTC + bytes(-len(IPTC) % 4)
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    tags.tagtype[0x83BB], tags[0x83BB] = 7, padded
    PHOTO.save(tmp_path / "x.tif", tiffinfo=tags)
    entry = struct.pack("<HHL", 0x83BB, 7, len(padded))
    as_numbers = struct.pack("<HHL", 0x83BB, 4, len(padded) // 4)
    content = (tmp_path / "x.tif").read_bytes()
    assert content.count(entry) == 1
    (tmp_path / "x.tif").write_bytes(content.replace(entry, as_numbers))
    assert read_picture(tmp_path / "x.tif").metadata.iptc == IPTC


def test_a_block_that_does_not_fit_into_a_jpeg_is_left_out_and_the_photo_written(tmp_path):
    long = b"<a>" + b"x" * 65_510 + b"</a>"
    records = b"".join(b"\x1c\x02\x78" + struct.pack(">H", 9000) + bytes(9000) for _ in range(8))
    picture = Picture(RGB, None, Metadata(b"", long, records, b"c" * 65_540, (72.4, 72.6)))
    write_picture(tmp_path / "x.jpg", picture)
    assert read_picture(tmp_path / "x.jpg").metadata == Metadata(dpi=(72, 73))
    write_picture(tmp_path / "x.webp", picture)
    assert read_picture(tmp_path / "x.webp").metadata.xmp == long


def test_the_longest_blocks_that_fit_into_a_jpeg_are_kept(tmp_path):
    xmp = b"<a>" + b"x" * (65_504 - 7) + b"</a>"
    lengths = [30_000, 30_000, 65_506 - 60_000 - 15]
    iptc = b"".join(b"\x1c\x02\x78" + struct.pack(">H", n) + bytes(n) for n in lengths)
    metadata = Metadata(b"", xmp, iptc, b"c" * 65_533)
    write_picture(tmp_path / "x.jpg", Picture(RGB, None, metadata))
    kept = read_picture(tmp_path / "x.jpg").metadata
    assert replace(kept, dpi=None) == metadata


def test_an_animation_keeps_what_its_first_frame_tells(stylizer, tmp_path):
    frames = [PHOTO.rotate(90 * i) for i in range(3)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:], comment=b"waves")
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], xmp=XMP)
    gif, webp = stylizer.run([tmp_path / "x.gif", tmp_path / "x.webp"], tmp_path / "out")
    with Image.open(gif.job.target) as image:
        assert (image.info["comment"], image.n_frames) == (b"waves", 3)
    with Image.open(webp.job.target) as image:
        assert (image.info["xmp"], image.n_frames) == (XMP, 3)


def test_the_real_command_keeps_and_strips(tmp_path):
    save_with_all(tmp_path / "x.jpg")
    command = [sys.executable, "-m", "stylecli", "stylize", "x.jpg", "y.jpg", "--device", "cpu"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=240)
    assert told(tmp_path / "y.jpg") == told(tmp_path / "x.jpg")
