"""The engine with the bundled model, on real photos."""

import numpy as np
import pytest
from PIL import Image

from stylecli.config import DEFAULT_MODEL
from stylecli.core import checkpoints
from stylecli.engine import Stylizer
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb
from stylecli.files.jobs import plan


@pytest.fixture(scope="module")
def starry_night() -> Stylizer:
    return Stylizer(
        str(checkpoints.bundled_models() / f"{DEFAULT_MODEL}.safetensors"), device="cpu"
    )


def test_the_bundled_model_paints_strokes_in_the_paintings_colors(starry_night):
    for path in bundled_photos()[:3]:
        photo = read_rgb(path, 200)
        painted = starry_night(photo)
        assert painted.shape == photo.shape
        assert painted.std() > 25  # neither flat nor mud
        red, _, blue = painted.reshape(-1, 3).mean(0)
        assert blue > red + 20  # The Starry Night is blue, whatever the photo


def test_a_pale_photo_is_painted_as_boldly(starry_night):
    """The paper's second claim, on the model that ships."""
    photo = read_rgb(bundled_photos()[7], 200)
    pale = (photo.astype(float) * 0.5 + 64).round().astype(np.uint8)
    moved = np.abs(starry_night(photo).astype(float) - starry_night(pale)).mean()
    assert moved < 0.2 * np.abs(photo.astype(float) - pale).mean()


def test_a_failure_of_the_network_is_told_and_the_next_photo_is_done(
    starry_night, tmp_path, monkeypatch
):
    for name, size in (("a.png", 50), ("b.png", 60)):
        Image.new("RGB", (size, size)).save(tmp_path / name)

    def too_small_a_machine(self, rgb):
        if rgb.shape[0] == 50:
            raise RuntimeError("not enough memory: you tried to allocate 9 GB\nmore")
        return rgb

    monkeypatch.setattr(Stylizer, "__call__", too_small_a_machine)
    results = starry_night.run(plan([tmp_path], tmp_path / "out").jobs)
    assert [bool(result.error) for result in results] == [True, False]
    assert results[0].error.endswith("a.png: not enough memory: you tried to allocate 9 GB")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.png"]
