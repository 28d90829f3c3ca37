"""What is told of models: a card in Markdown, and a page in HTML with pictures."""

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from stylecli.cli import app
from stylecli.collection.facts import license_of, render_card
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, bundled_models, read_info, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.core.tensor_files import has_controls
from stylecli.files.pictures import thumbnail

HOSTILE = "a](javascript:x) <script>alert(1)</script> `x` # * $"


def saved(path: Path, *styles: str, **more: object) -> Path:
    generator = Generator(GeneratorSpec(width=4)).remix(torch.ones(len(styles), 1)).eval()
    save_model(path, generator, ModelInfo("x", generator.spec, styles=[*styles], **more))
    return path


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


class Page(HTMLParser):
    """The pictures and the text of a page, and whatever it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: dict[str, Image.Image] = {}
        self.elsewhere: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, given):
        found = dict(given)
        self.tags.add(tag)
        if tag == "img":
            start, _, stored = found["src"].partition(",")
            assert start == "data:image/jpeg;base64"
            self.pictures[found["alt"]] = Image.open(BytesIO(base64.b64decode(stored)))
        self.elsewhere += [v for k, v in given if k in ("href", "src") and "data:" not in v]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a page of all models, and those of its own: one lies, and one paints black."""
    folder = tmp_path_factory.mktemp("place")
    red = np.full((50, 70, 3), (255, 0, 0), np.uint8)
    saved(folder / "models/sky.safetensors", "dawn", "dusk", thumbnail=thumbnail(red, red))
    large = BytesIO()
    Image.new("RGB", (400, 400)).save(large, "JPEG")
    stored = base64.b64encode(large.getvalue()).decode()
    saved(folder / "models/x.safetensors", HOSTILE, license=HOSTILE, thumbnail=stored)
    black = Generator(GeneratorSpec(width=4))
    next(black.parameters()).data.fill_(float("nan"))
    info = ModelInfo("x", black.spec, thumbnail='AAAA"><script>')
    save_model(folder / "models/black.safetensors", black, info)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.chdir(folder)
        assert models("--html", "models.html", "-q") == 0
    return folder


@pytest.mark.xdist_group("models page")  # it takes seconds
def test_a_page_shows_every_model_and_a_photo_in_each_style(place, monkeypatch, capsys):
    page = Page((place / "models.html").read_text("utf-8"))
    monkeypatch.chdir(place)
    bundled = [
        read_info(path) for path in bundled_models().glob("*.safetensors") if "vgg" not in path.stem
    ]
    styles = sum(len(info.styles) for info in bundled) + 4
    assert f"8 models, {styles} styles" in page.text
    painted = {alt: image for alt, image in page.pictures.items() if alt.startswith("The photo in")}
    assert len(painted) == styles - 1  # the black one
    assert {image.size for image in painted.values()} == {(480, 320)}
    dawn = np.asarray(painted["The photo in the style dawn of the model sky"]).astype(int)
    udnie = np.asarray(painted["The photo in the style udnie of the model gallery"]).astype(int)
    assert np.abs(dawn - udnie).mean() > 10
    strips = {alt: one for alt, one in page.pictures.items() if alt.startswith("The middle")}
    assert len(strips) == len(bundled) + 1  # not those that are no picture, or too large
    sky = np.asarray(strips["The middle of each painting from which sky learned last"])
    assert sky.shape == (96, 192, 3)
    assert np.abs(sky.astype(int) - (255, 0, 0)).max() < 4
    for said in ("instance norm", "pyramid, batch norm", "not stated", "1.8 MB, comes with"):
        assert said in page.text
    assert page.text.count("With batch norm, a picture depends on") == 2
    for line in ("--model gallery --style cezanne", "--model starry-night-pyramid-in"):
        assert f"stylecli stylize photo.jpg painted.jpg {line}\n" in page.text
    assert "cannot be painted: the weights in black.safetensors are not all finite" in page.text
    assert HOSTILE in page.text
    assert page.elsewhere == []
    assert "script" not in page.tags
    assert str(place) not in page.text
    assert models("--html", "models.html") == 2
    assert "models.html exists\nhint: pass --overwrite" in capsys.readouterr().err


@pytest.mark.xdist_group("models page")
def test_the_page_is_readable_on_a_desk_and_on_a_phone(place, browser):
    for size in ((1280, 900), (390, 844)):
        for scheme, paper in {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 22, 24)"}.items():
            viewport = {"width": size[0], "height": size[1]}
            shown = browser.new_page(viewport=viewport, color_scheme=scheme)
            require_readable(shown, place / "models.html")
            assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == paper
            shown.close()


def require_readable(shown, path):
    """Nothing is cut off or small, and nothing is loaded from elsewhere."""
    requests, troubles = [], []
    shown.on("request", lambda request: requests.append(request.url))
    shown.on("console", lambda message: troubles.append(message.text))
    shown.goto(path.as_uri())
    assert shown.evaluate("[...document.images].every(i => i.alt && i.naturalWidth > 0)")
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = "e => e.filter(x => x.getBoundingClientRect().right > innerWidth + 1).length"
    assert shown.locator("dl, dd, dt, pre, code, p, img, figcaption, h2").evaluate_all(wide) == 0
    small = "e => e.filter(x => parseFloat(getComputedStyle(x).fontSize) < 14).length"
    assert shown.locator("dd, dt, p, figcaption, code").evaluate_all(small) == 0
    assert min(shown.locator(".grid img").evaluate_all("e => e.map(x => x.clientWidth)")) > 140
    assert troubles == []
    assert all(url.startswith(("file:", "data:")) for url in requests)


def test_a_terminal_is_never_commanded_by_a_card(work):
    path = saved(Path("x.safetensors"), "a", license="\x1b[2J\u202e line \x9b")
    card = render_card(path)
    assert not has_controls(card.replace("\n", ""))
