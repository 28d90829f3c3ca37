"""The comparison: arms trained alike, interrupted and gone on with; outputs that agree."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylecli.arms import bundled_arms, check_alike
from stylecli.commands.compare import command_line
from stylecli.compare import Comparison, compare, spread
from stylecli.comparison_folder import ComparisonFolder
from stylecli.config import CompareConfig
from stylecli.errors import StyleCliError
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb
from stylecli.report import measures_table, write_outputs
from stylecli.train import digest

# One process makes the comparison that most of these look at.
pytestmark = pytest.mark.xdist_group("compare")


@pytest.fixture(scope="module", autouse=True)
def quick_balance():
    """A painting's weight from two photos in place of sixteen: seconds for every arm."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stylecli.objective._BALANCE_PHOTOS", 2)
        yield


@pytest.fixture(scope="module")
def config(painting, tmp_path_factory) -> CompareConfig:
    """A comparison of a painting on two small photos, in a folder of its own."""
    folder = tmp_path_factory.mktemp("compared")
    photos = []
    for i, size in ((14, (96, 64)), (3, (64, 90))):
        photos.append(folder / f"{i}.png")
        Image.open(bundled_photos()[i]).resize(size).save(photos[-1])
    return CompareConfig(
        photos=tuple(photos),
        style=str(painting),
        style_size=96,
        size=96,
        steps=1,
        gatys=True,
        gatys_steps=3,
        out=folder / "out",
        device="cpu",
    )


@pytest.fixture(scope="module")
def comparison(config) -> Comparison:
    """Made in two goes: stopped when the first arm was trained."""
    first = config.out / "models" / "residual-bn.safetensors"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stylecli.train._LOG_EVERY", 1)  # or one step leaves no curve
        assert compare(config, should_stop=first.exists) is None
        assert first.exists()
        assert not (config.out / "models" / "residual-in.safetensors").exists()
        trained = first.stat().st_mtime_ns
        done = compare(config)
    assert done is not None
    assert first.stat().st_mtime_ns == trained
    return done


def test_arms_are_trained_alike_and_batch_norm_is_shown_as_what_it_is(config, comparison):
    assert [arm.name for arm in comparison.arms] == [
        "residual-bn",
        "residual-bn-batch",
        "residual-in",
    ]
    bn, _, instance = (arm.training for arm in comparison.arms)
    different = {key for key in bn if bn[key] != instance.get(key)}
    assert different <= {"seconds", "curve"}
    assert bn["curve"]
    assert bn["init"] == "scratch"
    assert list(comparison.pictures) == [
        *("photo", "style", "residual-bn", "residual-bn-batch", "residual-in", "gatys")
    ]
    for name, pictures in comparison.pictures.items():
        if name != "style":
            assert [rgb.shape for rgb in pictures] == [(64, 96, 3), (90, 64, 3)]
    depends = {arm.name: max(arm.batch_dependence) for arm in comparison.arms}
    assert depends["residual-in"] < 1e-3
    assert depends["residual-bn"] < 1e-3
    assert depends["residual-bn-batch"] > 0.01


def test_grid_page_and_json_say_the_same(config, comparison, tmp_path):
    grid, html, results = write_outputs(comparison, tmp_path, "stylecli compare")
    stored = json.loads(results.read_text())
    page = html.read_text()
    table = measures_table(comparison)
    assert "data:image/svg+xml" in page
    assert [row.name for row in table.rows][-1] == "gatys"
    for arm, row in zip(stored["arms"], table.rows[:-1], strict=True):
        totals = [losses["total"] for losses in arm["losses"]]
        mean, deviation = np.mean(totals), np.std(totals, ddof=1)
        assert row.cells[table.heads.index("total")] == f"{mean:,.0f} ± {deviation:,.0f}"
        assert all(f"<td>{cell.replace('>', '&gt;')}</td>" in page for cell in row.cells)
    with Image.open(grid) as image:
        assert image.width > 6 * 96
        assert image.height > 2 * 90
    assert page.count("<figure>") == 2 * 6
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert len(stored["gatys_losses"]) == 2


def test_a_folder_of_another_comparison_or_of_other_things_is_refused(config, comparison, tmp_path):
    with pytest.raises(StyleCliError, match="another comparison; it differs in: seed"):
        compare(replace(config, seed=1))
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(StyleCliError, match="is not empty"):
        compare(replace(config, out=tmp_path))
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_a_model_of_another_painting_is_refused(config, comparison, tmp_path):
    other = tmp_path / "other.png"
    Image.open(bundled_photos()[2]).save(other)
    again = replace(config, style=str(other), out=tmp_path / "out")
    (again.out / "models").mkdir(parents=True)
    (again.out / "comparison.json").write_text("{}")
    copy = again.out / "models" / "residual-in.safetensors"
    copy.write_bytes((config.out / "models" / copy.name).read_bytes())
    sha = digest([read_rgb(other, config.style_size)])
    identity = ComparisonFolder(replace(again, out=tmp_path / "new"), sha, again.photos).identity
    (again.out / "comparison.json").write_text(json.dumps(identity))
    with pytest.raises(StyleCliError, match="was trained for another painting"):
        compare(again)


def test_a_named_style_needs_arms_of_its_painting_that_were_trained_alike(
    config, comparison, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    for norm in ("bn", "in"):
        trained = config.out / "models" / f"residual-{norm}.safetensors"
        (tmp_path / "models" / f"udnie-residual-{norm}.safetensors").write_bytes(
            trained.read_bytes()
        )
    named = replace(config, style="udnie", out=tmp_path / "out")
    with pytest.raises(StyleCliError, match="was trained for another painting"):
        compare(named)
    assert not named.out.exists()
    arms = bundled_arms(named)
    longer = replace(arms[2].info, training={**arms[2].info.training, "seed": 5})
    with pytest.raises(StyleCliError, match=r"was trained with seed 5, and .* with 0"):
        check_alike(
            [*arms[:2], replace(arms[2], info=longer)], arms[0].info.training["paintings_sha"]
        )


def test_a_mistyped_first_try_does_not_hold_the_folder(config, tmp_path):
    new = replace(config, out=tmp_path / "out", gatys=False)
    with pytest.raises(StyleCliError, match="no content folder"):
        compare(replace(new, content=tmp_path / "typo"))
    with pytest.raises(StyleCliError, match="--steps 0 is out of range"):
        compare(replace(new, steps=0))
    with pytest.raises(StyleCliError, match="no model udnie-residual-bn"):
        compare(replace(new, style="udnie"))
    assert not new.out.exists()
    assert compare(new, should_stop=lambda: True) is None


def test_gatys_is_kept_for_the_next_run(config, comparison, monkeypatch):
    def never(*args):
        raise AssertionError("optimized again")

    monkeypatch.setattr("stylecli.compare.optimize", never)
    again = compare(replace(config, norms=("in",)))
    assert [arm.name for arm in again.arms] == ["residual-in"]
    assert again.gatys_losses == comparison.gatys_losses
    assert all(map(np.array_equal, again.pictures["gatys"], comparison.pictures["gatys"]))


def test_arms_are_judged_by_the_objective_of_their_training(comparison, config):
    trained_with = comparison.arms[0].training["scales"]
    assert comparison.about["scales"] == trained_with


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"norms": ("bn", "inn")}, "unknown norm 'inn'", "did you mean in?"),
        ({"archs": ("pyramids",)}, "unknown architecture", "did you mean pyramid?"),
        ({"norms": ("in", "in")}, "given twice", ""),
        ({"style": "stary-night"}, "neither a file nor a bundled one", "starry-night"),
        ({"photos": ("missing.jpg",)}, "no such file", ""),
        ({"size": 10}, "--size 10", ""),
        ({"batch_size": 1}, "too small for batch norm", "at least 4"),
        ({"minutes": 1.0}, "both --steps and --minutes", ""),
        ({"gatys_steps": 0}, "--gatys-steps 0", ""),
    ],
)
def test_bad_choices_are_refused_before_anything_is_written(
    config, tmp_path, changes, message, hint
):
    if "photos" in changes:
        changes = {"photos": tuple(map(Path, changes["photos"]))}
    out = tmp_path / "new"
    with pytest.raises(StyleCliError, match=message) as caught:
        compare(replace(config, out=out, **changes))
    assert hint in caught.value.hint
    assert not out.exists()


def test_photos_that_cannot_be_read_are_left_out_and_none_is_an_error(config, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    with pytest.raises(StyleCliError, match="none of the 1 photos"):
        compare(replace(config, out=tmp_path / "out", photos=(tmp_path / "bad.jpg",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StyleCliError, match="0 photos were given"):
        compare(replace(config, out=tmp_path / "out", photos=(tmp_path / "empty",)))
    with pytest.raises(StyleCliError, match="would be trained on it"):
        compare(replace(config, out=tmp_path / "out", content=config.photos[0].parent))
    with pytest.raises(StyleCliError, match="would be trained on it"):
        bundled = bundled_photos()[0].parent
        compare(replace(config, out=tmp_path / "out", photos=(), content=bundled))
    strip = tmp_path / "strip.png"
    Image.new("RGB", (640, 64)).save(strip)
    with pytest.raises(StyleCliError, match="is 96 x 10 px at --size 96"):
        compare(replace(config, out=tmp_path / "out", photos=(strip,)))
    with pytest.raises(StyleCliError, match="none is left to train on"):
        compare(replace(config, out=tmp_path / "out", photos=tuple(bundled_photos()), size=64))


def test_the_command_line_says_what_was_asked(config):
    words = command_line(replace(config, photos=(), out=CompareConfig().out, style="udnie"))
    assert words == (
        "stylecli compare --style-size 96 --device cpu --style udnie --norm bn,in --gatys "
        "--gatys-steps 3 --size 96 --steps 1"
    )


def test_spread_is_mean_and_sample_deviation():
    assert spread([1.0, 2.0, 6.0]) == (3.0, pytest.approx(np.std([1, 2, 6], ddof=1)))
    assert spread([4.0]) == (4.0, 0.0)


def test_bundled_photos_that_are_compared_on_are_not_trained_on(config, tmp_path):
    four = replace(config, photos=(), out=tmp_path / "out", gatys=False)
    assert compare(four, should_stop=lambda: True) is None
    names = {path.name for path in (four.out / "content").iterdir()}
    compared = {bundled_photos()[i].name for i in (14, 15, 7, 22)}
    assert names == {path.name for path in bundled_photos()} - compared


@pytest.fixture
def browser():
    """A real browser, where there is one."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_the_page_works_in_a_browser_with_no_network(comparison, tmp_path, browser, size):
    _, html, _ = write_outputs(comparison, tmp_path, "stylecli compare")
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    requests, troubles = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(html.as_uri())
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    wipe, slider = page.locator(".wipe").first, page.locator(".wipe input").first

    def divide():
        return float(wipe.evaluate("e => getComputedStyle(e).getPropertyValue('--at')").strip("% "))

    assert divide() == 50
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert divide() == 51
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 5, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert divide() == pytest.approx(20, abs=6)
    before = page.locator(".wipe .above").first.get_attribute("src")
    page.get_by_label("left").first.select_option("gatys")
    after = page.locator(".wipe .above").first.get_attribute("src")
    assert after == page.locator("[data-column=gatys]").first.get_attribute("src") != before
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert troubles == []
    assert all(url.startswith(("file:", "data:")) for url in requests)


def test_the_papers_claims_hold_for_the_arms_that_ship(tmp_path):
    """On two photos that none of them was trained on; docs/paper.md has the figures for more."""
    photos = (bundled_photos()[14], bundled_photos()[7])
    found = compare(
        CompareConfig(
            photos=photos, archs=("residual", "pyramid"), size=192, out=tmp_path / "o", device="cpu"
        )
    )
    arms = {arm.name: arm for arm in found.arms}
    assert len(arms) == 6
    for arch in ("residual", "pyramid"):
        instance, batch, of_batch = (arms[f"{arch}-{n}"] for n in ("in", "bn", "bn-batch"))
        for i in range(len(photos)):
            assert instance.losses[i]["total"] < batch.losses[i]["total"]
            for contrast in ("0.5", "0.25"):
                for kind in ("pixels", "features"):
                    ours, theirs = (a.contrast[i][contrast][kind] for a in (instance, batch))
                    assert ours < 0.2 * theirs
        assert max(instance.batch_dependence) < 1e-3
        assert max(batch.batch_dependence) < 1e-3
        assert min(of_batch.batch_dependence) > 1
