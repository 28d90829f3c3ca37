"""Training photos: a repeatable series, whatever else lies in the folder."""

import os
import sys
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from stylecli.errors import StyleCliError
from stylecli.files import content, images
from stylecli.files.content import ContentPhotos


def test_a_batch_follows_from_seed_and_number_alone(photos):
    one, other = ContentPhotos(photos, 3), ContentPhotos(photos, 3)
    straight = list(islice(one.batches(0, 4, lambda n: 64), 7))
    later = list(islice(other.batches(5, 4, lambda n: 64), 2))
    np.testing.assert_array_equal(straight[5:], later)
    assert not np.array_equal(straight[0], ContentPhotos(photos, 4).batch(0, 4, 64))


def test_crops_have_the_size_asked_for_each_batch(photos):
    sizes = [
        batch.shape for batch in islice(ContentPhotos(photos, 0).batches(0, 2, lambda n: 32 + n), 3)
    ]
    assert sizes == [(2, 32, 32, 3), (2, 33, 33, 3), (2, 34, 34, 3)]


def test_every_photo_is_seen_once_before_any_is_seen_again(tmp_path):
    for level in range(8):
        shades = np.tile(np.array([level * 30] * 64 + [level * 30 + 1] * 6, np.uint8), (70, 1))
        Image.fromarray(shades).save(tmp_path / f"{level}.png")
    series = ContentPhotos(tmp_path, 1)
    for epoch in range(3):
        shades = sorted(series.batch(epoch, 8, 64).min((1, 2, 3)).tolist())
        assert shades == [level * 30 for level in range(8)]


def test_previews_of_trainings_are_no_photos(photos):
    before = ContentPhotos(photos, 0).paths
    (photos / "models").mkdir()
    Image.new("RGB", (70, 70)).save(photos / "models" / "mine.preview.png")
    assert ContentPhotos(photos, 0).paths == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, names are always Unicode")
def test_a_name_that_is_no_unicode_is_a_name(photos):
    plain = ContentPhotos(photos, 0).hash_names()
    name = os.fsencode(photos) + b"/caf\xe9.jpg"
    with open(name, "wb") as file:  # noqa: PTH123
        file.write((photos / "one.jpg").read_bytes())
    assert ContentPhotos(photos, 0).hash_names() != plain


def test_bad_files_are_replaced_and_counted(photos):
    (photos / "text.jpg").write_text("no image")
    (photos / "empty.png").touch()
    series = ContentPhotos(photos, 0)
    assert series.batch(0, 20, 64).shape == (20, 64, 64, 3)
    assert {path.name for path in series.bad} == {"text.jpg", "empty.png"}


def test_only_bad_files_or_none_or_no_folder_is_an_error(tmp_path):
    with pytest.raises(StyleCliError, match="no photos in"):
        ContentPhotos(tmp_path, 0)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(StyleCliError, match="none of the 1 content photos"):
        ContentPhotos(tmp_path, 0).batch(0, 1, 64)
    with pytest.raises(StyleCliError, match="no content folder"):
        ContentPhotos(tmp_path / "missing", 0)


def test_photos_smaller_than_the_crop_are_enlarged(tmp_path):
    Image.radial_gradient("L").resize((20, 30)).save(tmp_path / "small.png")
    assert ContentPhotos(tmp_path, 0).batch(0, 1, 96).shape == (1, 96, 96, 3)


def product_shot(path, dot=10):
    """Something small on pure white: most of its crops are of one color."""
    picture = Image.new("RGB", (300, 200), "white")
    picture.paste((200, 30, 30), (5, 5, 5 + dot, 5 + dot))
    picture.save(path)


def is_plain(crop):
    return (crop == crop[0, 0]).all()


def test_no_crop_is_of_one_color_and_what_replaces_it_follows_from_seed_and_number(tmp_path):
    for i in range(3):
        product_shot(tmp_path / f"{i}.png", dot=10 * i + 10)
    Image.new("RGB", (100, 100), "black").save(tmp_path / "black.png")
    one, other = ContentPhotos(tmp_path, 0), ContentPhotos(tmp_path, 0)
    straight = list(islice(one.batches(0, 4, lambda n: 64), 6))
    assert not any(is_plain(crop) for batch in straight for crop in batch)
    np.testing.assert_array_equal(straight[4:], list(islice(other.batches(4, 4, lambda n: 64), 2)))


def test_photos_that_are_all_of_one_color_are_an_error(tmp_path):
    for name in ("white", "gray"):
        Image.new("RGB", (90, 90), name).save(tmp_path / f"{name}.png")
    with pytest.raises(StyleCliError, match="one plain color"):
        ContentPhotos(tmp_path, 0).batch(0, 1, 64)


def test_the_first_batch_reads_no_other_photos(monkeypatch):
    """A folder may hold thousands, and a training is not to wait for them."""
    read = []

    def read_rgb(path, short_side):
        read.append(path)
        return images.read_rgb(path, short_side)

    monkeypatch.setattr(content, "read_rgb", read_rgb)
    ContentPhotos(None, 0).batch(0, 2, 64)
    assert len(read) == 2


def test_crops_vary_in_scale_place_and_direction(tmp_path):
    across = np.linspace(0, 255, 300).astype(np.uint8)
    Image.fromarray(np.tile(across, (200, 1))).save(tmp_path / "ramp.png")
    series = ContentPhotos(tmp_path, 0)
    crops = series.batch(0, 60, 64)[:, 0, :, 0].astype(float)  # the top row of each
    slopes = (crops[:, -1] - crops[:, 0]) / 63
    assert 15 < (slopes < 0).sum() < 45  # about half are flipped
    steepness = np.abs(slopes)  # at a short side of 64..128 px, the ramp spans 96..192 px
    assert steepness.min() < 1.5
    assert steepness.max() > 2.3
    assert crops[:, 0].std() > 20
