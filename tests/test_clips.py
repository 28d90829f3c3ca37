"""Frames of videos and animations through a network."""

from pathlib import Path

import pytest
from PIL import Image

from stylecli.files.clips import open_clip


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
