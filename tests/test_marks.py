"""A picture names the model that made it."""

import pytest
from PIL import Image

from stylecli.engine import pipeline
from stylecli.files.metadata import set_tags


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.avif", "x.tif"])
def test_a_picture_names_its_model_and_keeps_what_its_photo_says(stylizer, tmp_path, name):
    tags = Image.Exif()
    tags[0x010E] = "a description"
    tags.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0)})
    Image.new("RGB", (40, 30)).save(tmp_path / name, exif=tags.tobytes())
    (result,) = stylizer.run(tmp_path / name, tmp_path / "out")
    assert (
        pipeline.find_other_settings(result.job.target, "udnie")
        == stylizer.description.split(" on ")[0]
    )
    with Image.open(result.job.target) as painted:
        assert painted.getexif()[0x010E] == "a description"
        assert dict(painted.getexif().get_ifd(0x8825)) == {1: "N", 2: (1.0, 2.0, 3.0)}


def test_exif_that_is_damaged_or_as_large_as_can_be_is_left_as_it_is():
    tags = Image.Exif()
    tags[0x010E] = 65_480 * "x"
    for exif in (b"no EXIF at all", tags.tobytes()):
        assert set_tags(exif, {0x0131: "stylecli udnie"}) == exif
