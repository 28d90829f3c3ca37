"""One photo in every style."""

import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner

from stylecli.cli import app
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.engine import Stylizer
from stylecli.files.grid import Cell, page
from stylecli.sheet import Choice, render_sheet


def test_a_sheet_shows_each_style_as_it_is_painted_alone(tmp_path):
    torch.manual_seed(0)
    generator = Generator(GeneratorSpec("residual", "in", 4)).remix(torch.ones(2, 1)).eval()
    for _, table in generator.tables():
        table.data.copy_(torch.randn(table.shape))
    path = tmp_path / "two.safetensors"
    save_model(path, generator, ModelInfo("two", "residual", "in", 4, "linear", styles=["a", "b"]))
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    sheet = render_sheet(photo, [Choice(path, "a", "a"), Choice(path, "b", "b")], "cpu", "float32")
    alone = [Stylizer(str(path), name, "cpu", "float32")(photo) for name in ("a", "b")]
    assert np.array_equal(
        sheet, page([Cell(photo, "the photo"), Cell(alone[0], "a"), Cell(alone[1], "b")])
    )
    assert not np.array_equal(*alone)
    broad = render_sheet(photo, [Choice(path, "b", "b")], "cpu", "float32", stroke_size=2)
    alone = Stylizer(str(path), "b", "cpu", "float32")(photo, stroke_size=2)
    assert np.array_equal(broad, page([Cell(photo, "the photo"), Cell(alone, "b")]))


def test_a_folder_in_the_place_of_a_sheet_is_refused_at_once(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    (tmp_path / "sheet.png").mkdir()
    words = ["sheet", str(tmp_path / "photo.png"), str(tmp_path / "sheet.png"), "--overwrite"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "is a folder" in result.stderr
