"""Frames of videos and animations through a network."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylecli.config import StylizeConfig
from stylecli.engine.clips import painted_frames
from stylecli.files.clips import open_clip
from stylecli.files.pictures import Picture


def test_steady_keeps_what_does_not_move():
    """A photo that stands still under a little noise; the painting of it then flickers less."""
    random = np.random.default_rng(0)
    still = random.integers(0, 255, (48, 64, 3))
    noisy = [(still + random.integers(-3, 4, still.shape)).clip(0, 255) for _ in range(6)]

    class Still:
        def frames(self):
            return (Picture(frame.astype(np.uint8)) for frame in noisy)

    def louder(images):
        return [(3 * image.astype(int)).clip(0, 255).astype(np.uint8) for image in images]

    def flicker(steady):
        finish, config = (lambda frame, rgb: Picture(rgb)), StylizeConfig(steady=steady)
        painted = painted_frames(Still(), louder, finish, 1, config)
        frames = np.stack([picture.rgb.astype(int) for picture in painted])
        return np.abs(np.diff(frames, axis=0)).mean()

    assert flicker(0.9) < 0.4 * flicker(0.0)


@pytest.mark.parametrize(
    ("source", "target", "opens"),
    [
        ("x.gif", "y.gif", True),
        ("x.gif", "y.webp", True),
        ("x.gif", "y.jpg", False),  # which holds one picture
        ("x.gif", "-", False),
        ("still.gif", "y.gif", False),
        ("x.jpg", "y.gif", False),  # by its suffix, a file of one picture
    ],
)
def test_what_holds_many_pictures_and_may_stay_so_is_opened_as_such(
    tmp_path, source, target, opens
):
    images = [Image.new("RGB", (30, 20), (60 * i, 0, 0)) for i in range(4)]
    for name in ("x.gif", "x.jpg"):
        images[0].save(tmp_path / name, "GIF", save_all=True, append_images=images[1:])
    images[0].save(tmp_path / "still.gif")
    clip = open_clip(tmp_path / source, Path(target))
    assert (clip is not None) == opens
    assert clip is None or clip.count == 4
