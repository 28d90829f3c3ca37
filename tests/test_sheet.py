"""One photo in every style."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from networks import saved
from stylecli.cli import app
from stylecli.config import SheetConfig
from stylecli.core.generators import Generator
from stylecli.core.model_files import ModelInfo, bundled_models, save_model
from stylecli.core.spec import GeneratorSpec
from stylecli.engine import Stylizer
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Progress
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_picture
from stylecli.files.pages import Cell, lay_out
from stylecli.files.pictures import thumbnail
from stylecli.sheet import Choice, find_painting, paint_styles, render_html

HOSTILE = "</style><script>alert(1)</script>\" onerror='x' & {{ 7777 * 7 }}"


def solid(*color: int) -> np.ndarray:
    return np.full((50, 70, 3), color, np.uint8)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_a_sheet_shows_each_style_as_it_is_painted_alone(tmp_path, photo):
    path = saved(tmp_path / "two.safetensors", "a", "b")
    on = {"device": "cpu", "precision": "float32"}
    sheet = lay_out(paint_styles(photo, [Choice(path, s, s) for s in "ab"], SheetConfig(**on)))
    alone = [Stylizer(str(path), name, **on)(photo) for name in "ab"]
    assert np.array_equal(
        sheet, lay_out([Cell(photo, "the photo"), Cell(alone[0], "a"), Cell(alone[1], "b")])
    )
    assert not np.array_equal(*alone)
    _, broad = paint_styles(photo, [Choice(path, "b", "b")], SheetConfig(**on, stroke_size=2))
    assert np.array_equal(broad.rgb, Stylizer(str(path), "b", **on)(photo, stroke_size=2))


def test_the_smallest_pictures_have_the_size_that_was_asked_for(tmp_path):
    """Of a panorama and two styles, the photo has a row of its own, and is larger."""
    path = saved(tmp_path / "one.safetensors", "one")
    wide = np.random.default_rng(0).integers(0, 256, (100, 800, 3), np.uint8)
    for count, sides in {1: [160] * 2, 8: [320] * 9}.items():
        config = SheetConfig(size=160, device="cpu")
        cells = paint_styles(wide, [Choice(path, None, "one")] * count, config)
        assert [cell.rgb.shape[1] for cell in cells] == sides
        assert min(cell.rgb.shape[1] for cell in cells) >= 160


def test_a_style_that_cannot_be_painted_is_left_out_and_said(tmp_path, photo):
    sound = saved(tmp_path / "sound.safetensors", "sound")
    black = saved(tmp_path / "black.safetensors", "black")
    generator = Generator(GeneratorSpec("residual", "in", 4))
    next(generator.parameters()).data.fill_(float("nan"))
    save_model(black, generator, ModelInfo("black", generator.spec))
    events = []
    choices = [Choice(black, None, "black"), Choice(sound, None, "sound")]
    cells = paint_styles(photo, choices, SheetConfig(device="cpu"), events.append)
    assert [cell.label for cell in cells] == ["the photo", "sound"]
    (fault,) = [event.text for event in events if isinstance(event, Notice)]
    assert fault.startswith("left out: black: the weights in ")
    begun = [event.note for event in events if isinstance(event, Progress)]
    assert begun == ["1/2  black", "2/2  sound"]
    with pytest.raises(StyleCliError, match="not all finite"):
        paint_styles(photo, choices[:1], SheetConfig(device="cpu"))


def test_the_painting_of_a_style_is_bundled_or_in_its_model_file(tmp_path):
    bundled = bundled_models()
    udnie = find_painting(Choice(bundled / "gallery.safetensors", "udnie", "udnie"))
    assert np.array_equal(udnie, read_picture(bundled / "paintings" / "udnie.jpg").rgb)
    alone = find_painting(Choice(bundled / "starry-night-pyramid-in.safetensors", None, "x"))
    assert np.array_equal(alone, read_picture(bundled / "paintings" / "starry-night.jpg").rgb)
    colors = {"a": (255, 0, 0), "udnie": (0, 0, 255)}
    stored = thumbnail(*(solid(*color) for color in colors.values()))
    both = saved(tmp_path / "both.safetensors", *colors, thumbnail=stored)
    for name, color in colors.items():
        square = find_painting(Choice(both, name, name)).astype(int)
        assert square.shape == (96, 96, 3)
        assert np.abs(square - color)[:, 16:-16].max() < 4  # a JPEG blurs where squares meet
    added = saved(tmp_path / "added.safetensors", *colors, thumbnail=thumbnail(solid(9, 99, 9)))
    assert find_painting(Choice(added, "a", "a")) is None
    assert find_painting(Choice(added, "udnie", "udnie")).shape == (96, 96, 3)
    large = thumbnail(solid(9, 99, 9), side=321)
    for name, text in {"no-picture": "AAAA", "no-base64": '"><script>', "large": large}.items():
        odd = saved(tmp_path / f"{name}.safetensors", "udnie", thumbnail=text)
        assert find_painting(Choice(odd, None, "udnie")) is None


def attributes_of(text: str) -> list[str]:
    """The names of the attributes of all elements of a page."""
    names = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, given: names.extend(name for name, _ in given)
    reader.feed(text)
    return names


def test_the_page_has_all_pictures_inside_and_no_markup_of_a_name(photo):
    painting = solid(0, 0, 255)
    text = render_html([Cell(photo, "x"), Cell(255 - photo, HOSTILE, painting)], HOSTILE)
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert not [name for name in attributes_of(text) if name.startswith("on")]
    assert str(7777 * 7) not in text  # a name is no template
    assert not re.search(r"https?:|src=\"(?!data:)|url\(\"(?!data:)|@import|<link", text)
    stored = [base64.b64decode(one) for one in re.findall('data:image/jpeg;base64,([^"]+)', text)]
    there, painted, small = (np.asarray(Image.open(BytesIO(one))).astype(int) for one in stored)
    assert np.abs(there - photo).mean() < 12
    assert np.abs(painted - (255 - photo.astype(int))).mean() < 12
    assert np.abs(small - painting).max() < 4


@pytest.fixture(scope="module")
def sliders(tmp_path_factory) -> Path:
    """A folder with a page of a landscape, of a portrait and of a panorama."""
    folder = tmp_path_factory.mktemp("sliders")
    rgb = read_picture(bundled_photos()[14]).rgb
    for name, photo in {"land": rgb, "portrait": rgb[:, :300], "pano": rgb[:120]}.items():
        styles = [Cell(255 - photo, f"style-{i}", solid(i, 99, 9)) for i in range(8)]
        page_ = render_html([Cell(photo, "the photo"), *styles], f"{name}.jpg")
        (folder / f"{name}.html").write_text(page_, "utf-8")
    return folder


@pytest.mark.parametrize("name", ["land", "portrait", "pano"])
def test_the_page_works_in_a_browser_with_no_network(sliders, browser, name):
    shown = browser.new_page(reduced_motion="reduce")
    requests, troubles = [], []
    shown.on("request", lambda request: requests.append(request.url))
    shown.on("console", lambda message: troubles.append(message.text))
    shown.on("pageerror", lambda error: troubles.append(str(error)))
    shown.goto((sliders / f"{name}.html").as_uri())
    assert shown.evaluate("[...document.images].every(i => i.alt && i.naturalWidth > 0)")
    for width in (390, 1280, 2560):
        shown.set_viewport_size({"width": width, "height": 900})
        require_layout(shown, width)
    assert shown.evaluate("document.getAnimations().length") == 0
    assert troubles == []
    assert all(url.startswith(("file:", "data:")) for url in requests)


def require_layout(shown, width):
    """Nothing is cut off or small, and pictures keep their proportions."""
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = "e => e.filter(x => x.getBoundingClientRect().right > innerWidth + 1).length"
    assert shown.locator("p, h1, img, figure, figcaption, .compare").evaluate_all(wide) == 0
    small = "e => e.filter(x => parseFloat(getComputedStyle(x).fontSize) < 14).length"
    assert shown.locator("p, h1, label").evaluate_all(small) == 0
    shape = shown.locator(".compare").first.bounding_box()
    whole = shown.locator(".compare > img").first.evaluate("i => i.naturalWidth / i.naturalHeight")
    assert shape["width"] / shape["height"] == pytest.approx(whole, rel=0.02)
    assert 150 < shape["width"] <= width


def test_a_slider_is_moved_with_the_keyboard_and_the_mouse(sliders, browser):
    shown = browser.new_page(viewport={"width": 1280, "height": 900})
    shown.goto((sliders / "land.html").as_uri())
    slider = shown.get_by_role("slider", name="style-1: how much of the photo is shown")
    box = shown.locator(".compare").nth(1).bounding_box()

    def divide():
        """Where the photo ends, as a share of the picture's width."""
        screen = Image.open(BytesIO(shown.screenshot())).convert("RGB")
        row = int(box["y"] + box["height"] / 4)
        left, right = int(box["x"]) + 4, int(box["x"] + box["width"]) - 4
        line = np.asarray(screen)[row, left:right].astype(int).min(-1)
        return (int(np.argmax(line)) + 4) / box["width"]  # the white line

    assert divide() == pytest.approx(0.3, abs=0.01)
    slider.focus()
    for _ in range(10):
        shown.keyboard.press("ArrowRight")
    assert divide() == pytest.approx(0.4, abs=0.01)
    middle = box["y"] + box["height"] / 2
    shown.mouse.move(box["x"] + 0.4 * box["width"], middle)
    shown.mouse.down()
    shown.mouse.move(box["x"] + 0.75 * box["width"], middle, steps=4)
    shown.mouse.up()
    assert divide() == pytest.approx(0.75, abs=0.01)
    others = shown.locator("input").evaluate_all("e => e.map(x => x.value)")
    assert others == ["30", "75"] + ["30"] * 6
    shown.keyboard.press("Home")
    assert slider.input_value() == "0"


@pytest.mark.parametrize(
    ("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 22, 24)")]
)
def test_the_page_is_light_or_dark_as_the_reader_wants(sliders, browser, scheme, paper):
    shown = browser.new_page(color_scheme=scheme)
    shown.goto((sliders / "land.html").as_uri())
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == paper


def test_the_command_writes_a_page_with_the_paintings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "stylecli.sheet.all_styles",
        lambda: [Choice(bundled_models() / "gallery.safetensors", "udnie", "udnie")],
    )
    Image.open(bundled_photos()[14]).resize((96, 64)).save("photo.png")
    words = ["sheet", "photo.png", "new/all.html", "--paintings", "--size", "64"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "new/all.html: photo.png in 1 style\n" in result.stderr
    text = Path("new/all.html").read_text("utf-8")
    assert "<h1>photo.png in 1 style</h1>" in text
    assert text.count("data:image/jpeg") == 3
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "new/all.html exists" in again.stderr


def test_a_folder_in_the_place_of_a_sheet_is_refused_at_once(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    (tmp_path / "sheet.png").mkdir()
    words = ["sheet", str(tmp_path / "photo.png"), str(tmp_path / "sheet.png"), "--overwrite"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "is a folder" in result.stderr
