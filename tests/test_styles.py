"""Several styles in one run of ``stylize``: a folder for each, skipped and shared out as one is."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from clips import count_and_seconds, make_clip
from stylecli.cli import app
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.sheet import all_styles


def save(path: Path, *styles: str) -> None:
    """A model whose styles paint differently."""
    torch.manual_seed(len(path.stem))
    generator = Generator(GeneratorSpec("residual", "in", 4)).remix(torch.ones(len(styles), 1))
    for _, table in generator.eval().tables():
        table.data.copy_(torch.randn(table.shape))
    info = ModelInfo(path.stem, generator.spec, styles=[*styles])
    save_model(path, generator, info)


@pytest.fixture
def stylize(tmp_path, monkeypatch):
    """``stylecli stylize``, in tmp_path, with a model of one style and one of two."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "models" / "tiny.safetensors", "tiny")
    save(tmp_path / "models" / "pair.safetensors", "sea", "../sky")

    def run(*words: object, code: int = 0) -> Result:
        given = ["stylize", *map(str, words), "--device", "cpu"]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == code, result.stderr
        return result

    return run


def files_in(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found)


BOTH = [
    f"{style}/{name}"
    for style in ("sea", "tiny")
    for name in ("below/three.JPG", "one.jpg", "two.png")
]


def test_each_style_has_a_folder_with_what_it_paints_alone(stylize, tmp_path, photos):
    said = stylize(photos, "out", "--model", "tiny, Sea").stderr.splitlines()[-1]
    assert re.fullmatch(r"6 stylized in \d\.\d s, \S+ a second; written to out", said)
    assert files_in(tmp_path / "out") == BOTH
    stylize(photos, "alone", "--model", "tiny")
    stylize(photos, "alone-sea", "--model", "sea")
    for alone, style in (("alone", "tiny"), ("alone-sea", "sea")):
        for name in files_in(tmp_path / alone):
            there = [tmp_path / alone / name, tmp_path / "out" / style / name]
            assert there[0].read_bytes() == there[1].read_bytes()


def test_what_is_there_is_skipped_in_each_style_unless_it_is_to_be_done_again(
    stylize, tmp_path, photos
):
    several = photos, "-o", "out", "--model", "tiny,sea"
    stylize(*several)
    (tmp_path / "out" / "sea" / "one.jpg").unlink()
    kept = tmp_path / "out" / "tiny" / "one.jpg"
    before = kept.stat().st_mtime_ns
    assert "1 stylized, 5 skipped" in stylize(*several).stderr
    assert kept.stat().st_mtime_ns == before
    assert "6 stylized in" in stylize(*several, "--overwrite").stderr
    assert kept.stat().st_mtime_ns > before


def test_shards_and_a_dry_run_are_of_all_styles(stylize, tmp_path, photos):
    several = photos, "out", "--model", "tiny,sea"
    planned = stylize(*several, "--dry-run", "--json").stdout.splitlines()
    assert [json.loads(line)["status"] for line in planned] == ["planned"] * 6 + ["finished"]
    assert not (tmp_path / "out").exists()
    first = stylize(*several, "--shard", "0/2").stderr
    assert "shard 0 of 2: 4 files" in first
    assert files_in(tmp_path / "out") == [name for name in BOTH if "one" not in name]
    stylize(*several, "--shard", "1/2")
    assert files_in(tmp_path / "out") == BOTH
    stylize(*several, "--shard", "7/9")  # of three photos, it is nobody's


def test_one_photo_and_a_film_have_a_folder_for_each_style_too(stylize, tmp_path, photos):
    stylize(photos / "one.jpg", "out", "--model", "tiny,sea", "--suffix", "-x", "--format", "png")
    assert files_in(tmp_path / "out") == ["sea/one-x.png", "tiny/one-x.png"]
    clip = make_clip(tmp_path / "clip.mp4", "64x48", "10", 5)
    said = stylize(clip, "films", "--model", "tiny,sea").stderr
    assert re.search(r"2 stylized in \d\.\d s, \S+ frames a second; written to films", said)
    for style in ("tiny", "sea"):
        assert count_and_seconds(tmp_path / "films" / style / "clip.mp4")[0] == 5


def test_results_beside_the_photos_are_not_painted_again(stylize, tmp_path, photos):
    for _ in range(2):
        stylize(photos, photos / "out", "--model", "tiny,sea", "--overwrite")
    assert files_in(photos / "out") == BOTH


def test_no_style_overwrites_a_photo(stylize, photos, tmp_path):
    (photos / "one.jpg").rename(photos / "original.jpg")
    (photos / "tiny").mkdir()
    source = photos / "tiny" / "one.jpg"
    Image.new("RGB", (40, 30)).save(source)
    before = source.read_bytes()
    refused = stylize(photos / "tiny", photos, "--model", "tiny,sea", "--overwrite", code=2)
    assert "would be overwritten by its own stylization" in refused.stderr
    assert source.read_bytes() == before


def test_all_is_every_style_and_none_leaves_the_output(stylize, tmp_path, photos):
    planned = stylize(photos / "one.jpg", "out", "--model", "all", "--dry-run", "--json").stdout
    targets = [json.loads(line).get("target") for line in planned.splitlines()[:-1]]
    folders = [Path(target).parent for target in targets]
    assert len({*folders}) == len(folders) == len(all_styles()) == 11
    assert {folder.parent for folder in folders} == {Path("out")}
    assert Path("out/---sky") in folders


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out.jpg", "--model", "tiny,sea"], "out.jpg is one file, and --model tiny,sea paints in"),
        (["-", "--model", "all"], "- is one file, and --model all paints in several styles"),
        (["out", "--model", "tiny,Tiny"], "tiny is named twice in --model"),
        (["out", "--model", "tiny,tony"], "there is no model named 'tony'"),
        (["out", "--model", ",".join(["tony"] * 99)], "there is no model named 'tony'"),
        (["out", "--model", "tiny,pair"], "pair is a model of 2 styles"),
        (["out", "--model", "tiny,sea", "--style", "sea"], "--style sea is of one model"),
        (["out", "--model", "sea:0.5,tiny:0.5"], "there is no model named 'sea:0.5,tiny:0.5'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_painted(
    stylize, tmp_path, photos, words, message
):
    refused = stylize(photos / "one.jpg", *words, code=2)
    assert refused.stderr.startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()


def test_the_end_of_the_events_says_what_was_left_out_and_which_part_it_was(
    stylize, tmp_path, photos
):
    (photos / "notes.txt").touch()
    lines = stylize(photos, "out", "--model", "tiny", "--json", "--shard", "0/2").stdout
    end = json.loads(lines.splitlines()[-1])
    assert end.pop("seconds") > 0
    assert end == {"status": "finished", "shard": "0/2", "left_out": "1 .txt", "left": 0}
