"""The page: every picture whole and in its place, every label there."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from stylecli.cli import app
from stylecli.core.generators import build_generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.engine import Stylizer
from stylecli.files.grid import Cell, page
from stylecli.sheet import Choice, render_sheet


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 12),
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    columns=st.none() | st.integers(1, 5),
)
def test_every_picture_is_on_the_page_once_unscaled(count, height, width, columns):
    shades = [20 + 15 * i for i in range(count)]
    cells = [Cell(np.full((height, width, 3), (s, 0, 99), np.uint8), "a") for s in shades]
    rgb = page(cells, columns)
    for shade in shades:
        rows, across = np.nonzero((rgb == (shade, 0, 99)).all(-1))
        assert len(rows) == height * width
        assert (np.ptp(rows) + 1, np.ptp(across) + 1) == (height, width)


def test_a_sheet_shows_each_style_as_it_is_painted_alone(tmp_path):
    torch.manual_seed(0)
    generator = build_generator(GeneratorSpec("residual", "in", 4)).remix(torch.ones(2, 1)).eval()
    for _, table in generator.tables():
        table.data.copy_(torch.randn(table.shape))
    path = tmp_path / "two.safetensors"
    save_model(path, generator, ModelInfo("two", "residual", "in", 4, "linear", styles=["a", "b"]))
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    sheet = render_sheet(photo, [Choice(path, 0, "a"), Choice(path, 1, "b")], "cpu", "float32")
    alone = [Stylizer(str(path), name, "cpu", "float32", "torch")(photo) for name in ("a", "b")]
    assert np.array_equal(
        sheet, page([Cell(photo, "the photo"), Cell(alone[0], "a"), Cell(alone[1], "b")])
    )
    assert not np.array_equal(*alone)


def test_reading_order_and_columns():
    cells = [Cell(np.full((40, 60, 3), (s, 0, 99), np.uint8), str(s)) for s in (10, 20, 30)]
    rgb = page(cells, 2)
    places = [tuple(np.argwhere((rgb == (s, 0, 99)).all(-1))[0]) for s in (10, 20, 30)]
    assert places[0][0] == places[1][0] < places[2][0]
    assert places[0][1] == places[2][1] < places[1][1]


@pytest.mark.parametrize("label", ["", "sky", "a name that is much too long for its picture" * 3])
def test_a_label_stays_below_its_picture(label):
    rgb = page([Cell(np.zeros((50, 80, 3), np.uint8), label)])
    ink = np.argwhere((rgb < 200).all(-1))
    picture_right, paper_right = 12 + 80, rgb.shape[1]
    assert ink[:, 1].max() <= min(picture_right, paper_right)
    assert (len(ink) > 50 * 80) == bool(label)


def test_a_folder_in_the_place_of_a_sheet_is_refused_at_once(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    (tmp_path / "sheet.png").mkdir()
    words = ["sheet", str(tmp_path / "photo.png"), str(tmp_path / "sheet.png"), "--overwrite"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "is a folder" in result.stderr
