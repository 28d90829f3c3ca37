"""What is told of models in a card, in Markdown."""

import hashlib
import html
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from networks import saved
from stylecli.cli import app
from stylecli.collection import license_of, render_card
from stylecli.core.model_files import bundled_models, read_info
from stylecli.core.tensor_files import has_controls

HOSTILE = "a](javascript:x) <script>alert(1)</script> `x` # * $"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch) -> Path:
    """An empty present folder, and no models of the user's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def models(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        app(["models", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_a_card_holds_what_the_file_says_and_the_sum_of_its_bytes(capsys):
    assert models("export-card", "gallery") == 0
    card = capsys.readouterr().out
    head, body = re.fullmatch(r"---\n(.*?)---\n(.*)", card, re.S).groups()
    assert head == (
        "license: mit\nlibrary_name: stylecli\npipeline_tag: image-to-image\n"
        "tags:\n- style-transfer\n"
    )
    path = bundled_models() / "gallery.safetensors"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    info = read_info(path)
    assert "# gallery\n" in body
    assert all(f"\n- {style}\n" in body for style in info.styles)
    assert f"{info.training['steps_done']:,} steps" in body
    assert "residual, instance norm, 16 channels" in body
    assert body.endswith(f"## License\n\n{info.license}\n")
    assert f"stylecli models add gallery.safetensors --sha256 {sha256}\n" in body


def test_a_card_goes_into_a_file_that_is_not_replaced_unasked(work, capsys):
    saved(Path("models/bare.safetensors"), "one")
    assert models("export-card", "bare", "--output", "new/README.md") == 0
    card = Path("new/README.md").read_text("utf-8")
    assert "license: unknown\n" in card
    assert "The file states no license." in card
    assert "The file does not say." in card
    assert "--style" not in card  # there is only one
    assert models("export-card", "bare", "-o", "new/README.md") == 2
    assert "new/README.md exists\nhint: pass --overwrite" in capsys.readouterr().err
    assert models("export-card", "bare", "-o", "new/README.md", "--overwrite", "-q") == 0
    assert capsys.readouterr().err == ""
    assert models("export-card", "bare", "-o", "new", "--overwrite") == 2


def test_a_hostile_file_writes_no_markup_into_its_card(work):
    told = {"imported_from": f"{HOSTILE}\n---\n# Title", "device": {"x": HOSTILE}}
    path = saved(Path("x y.safetensors"), HOSTILE, "b'; rm -rf ~", license=HOSTILE, training=told)
    card = render_card(path)
    assert card.count("\n---\n") == 1
    assert re.findall("^#+ .*", card, re.M) == [
        "# x y",
        *(f"## {name}" for name in ("Styles", "How it was made", "How to use it", "License")),
    ]
    rendered = MarkdownIt("commonmark").render(card.partition("\n---\n")[2])
    tags = {*re.findall("<([a-z0-9]+)", rendered)}
    assert tags == {"h1", "h2", "p", "ul", "li", "strong", "pre", "code"}
    assert rendered.count(html.escape(HOSTILE)) == 4  # one in a command
    command = card.partition("```sh")[2]
    assert f"--model x-y --style '{HOSTILE}'\n" in command
    assert "models add 'x y.safetensors' --sha256" in command


@given(st.text(max_size=40))
@example("MIT\x1b[2J")
@example("---\nlicense: mit")
def test_the_license_in_the_head_is_one_of_the_hubs(line):
    assert re.fullmatch(r"[a-z][a-z0-9.-]+", license_of(line))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("", "unknown"),
        (" ", "unknown"),
        ("MIT", "mit"),
        ("Weights: MIT. Painting: public domain.", "mit"),
        ("CC BY 4.0", "cc-by-4.0"),
        ("Weights: CC-BY-NC-SA-4.0; paintings: mine", "cc-by-nc-sa-4.0"),
        ("Apache-2.0 license", "apache-2.0"),
        ("MIT, but not for sale", "other"),
        ("MIT for research only", "other"),
        ("MIT-0", "other"),
        ("CC BY 4.01", "other"),
        ("Painting: MIT. Weights: mine.", "other"),
        ("ask me", "other"),
    ],
)
def test_a_license_is_named_only_where_its_line_cannot_be_misread(line, name):
    assert license_of(line) == name


def test_a_terminal_is_never_commanded_by_a_card(work):
    path = saved(Path("x.safetensors"), "a", license="\x1b[2J\u202e line \x9b")
    card = render_card(path)
    assert not has_controls(card.replace("\n", ""))
