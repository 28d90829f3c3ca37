"""The slow optimization: it minimizes what training minimizes, over pixels."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from stylecli import gatys
from stylecli.cli import app
from stylecli.config import GatysConfig
from stylecli.console import format_time_left
from stylecli.core.model_files import bundled_models, bundled_painting
from stylecli.core.torch_backend import TorchEnlarger
from stylecli.engine import Stylizer
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Pixels, Progress
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb
from stylecli.files.pictures import Picture, resize, shrink
from stylecli.gatys import stylize_slowly

pytestmark = pytest.mark.usefixtures("budget")


@pytest.fixture
def config(painting):
    return GatysConfig(style=painting, steps=12, style_size=96, seed=3)


@pytest.fixture(scope="module")
def photo():
    return read_rgb(bundled_photos()[14], 64)


def steps_of(events):
    return [event for event in events if isinstance(event, Pixels)]


@pytest.mark.parametrize(("optimizer", "start"), [("lbfgs", "photo"), ("adam", "noise")])
def test_it_lowers_the_objective_and_keeps_the_size(config, photo, optimizer, start):
    events = []
    given = replace(config, optimizer=optimizer, start=start)
    picture = stylize_slowly(photo, given, events.append)
    assert picture.shape == photo.shape
    steps = steps_of(events)
    assert [event.step for event in steps] == list(range(13))
    totals = [event.losses["total"] for event in steps]
    assert min(totals) < 0.6 * totals[0]
    assert np.array_equal(events[-1].best(), picture)


def test_a_photo_may_be_one_of_pillows_and_anything_else_is_one_error(config, photo, tmp_path):
    given = replace(config, steps=1)
    turned = Image.fromarray(photo).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees, clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert np.array_equal(stylize_slowly(image, given), stylize_slowly(photo, given))
    for bad, says in (
        ("photo.jpg", "'photo.jpg' is a path, not an image"),
        (None, "a NoneType is not an image"),
        (photo.astype(np.float32), "an array of float32, .* is not an image"),
        (photo[..., 0], "an array of uint8, .* is not an image"),
        (photo[:0], "is not an image"),
    ):
        with pytest.raises(StyleCliError, match=says):
            stylize_slowly(bad, given)


def test_it_says_what_it_does_before_the_first_step(config, photo):
    events = []
    stylize_slowly(photo, replace(config, start="udnie", steps=1, device="cpu"), events.append)
    before = events[: events.index(steps_of(events)[0])]
    progress = [event for event in before if isinstance(event, Progress)]
    assert [event.progress for event in progress] == [0, 0.5]  # of two photos
    assert [event.text for event in before if isinstance(event, Notice)] == [
        "measuring the style of Waves & Lines.png",
        "painting with udnie",
        "optimizing 96 x 64 px in 1 step on cpu",
    ]


def test_what_comes_back_is_the_best_not_the_last(config, photo, monkeypatch):
    totals = iter([9.0, 4.0, 7.0, float("nan"), 8.0, 5.0])
    sound = gatys._Search.evaluate
    pictures = []

    def evaluate(self, picture):
        pictures.append(picture.detach().clone())
        losses, gradient = sound(self, picture)
        return {**losses, "total": next(totals)}, gradient

    monkeypatch.setattr(gatys._Search, "evaluate", evaluate)
    best = stylize_slowly(photo, replace(config, steps=5, optimizer="adam"))
    assert np.array_equal(best, gatys._as_picture(pictures[1]))
    assert not np.array_equal(best, gatys._as_picture(pictures[5]))


@pytest.mark.parametrize("name", ["starry-night", "the-scream"])
def test_real_paintings_are_reached_step_by_step(name, photo, monkeypatch):
    monkeypatch.setattr("stylecli.gatys._BALANCE_SIZE", 64)
    painting = bundled_models() / "paintings" / f"{name}.jpg"
    events = []
    stylize_slowly(photo, GatysConfig(style=painting, steps=15, style_size=128), events.append)
    totals = [event.losses["total"] for event in steps_of(events)]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < 0.2 * totals[0]


def test_it_stops_when_asked_and_keeps_what_there_is(config, photo):
    events = []
    stylize_slowly(photo, config, events.append, lambda: len(steps_of(events)) == 4)
    assert [event.step for event in steps_of(events)] == [0, 1, 2, 3]


def test_from_what_a_model_paints_it_comes_further(photo, monkeypatch):
    monkeypatch.setattr("stylecli.gatys._BALANCE_SIZE", 64)
    settings = GatysConfig(style=Path("starry-night"), steps=5)  # a bundled painting, by its name
    odd = photo[:51, :61]
    totals = {}
    for start in ("photo", "starry-night"):
        events = []
        picture = stylize_slowly(odd, replace(settings, start=start), events.append)
        totals[start] = [event.losses["total"] for event in steps_of(events)]
        assert picture.shape == odd.shape
    painted = Stylizer("starry-night")(odd)
    assert totals["starry-night"][0] < 0.3 * totals["photo"][0]
    assert totals["starry-night"][-1] < 0.9 * min(totals["starry-night"][0], totals["photo"][-1])
    assert np.abs(picture.astype(float) - painted).mean() < 20  # of 255: it is still that picture


def test_from_a_model_fewer_steps_are_usual(config):
    assert replace(config, steps=None).most_steps == 300
    assert replace(config, steps=None, start="udnie").most_steps == 20
    assert replace(config, steps=7, start="udnie").most_steps == 7


def test_a_painting_is_a_file_in_the_folder_or_else_a_bundled_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = Path("starry-night")
    assert bundled_painting(name) == bundled_models() / "paintings" / "starry-night.jpg"
    name.mkdir()  # as `stylize photos/ starry-night/` would
    assert bundled_painting(name) == bundled_models() / "paintings" / "starry-night.jpg"
    name.rmdir()
    name.touch()
    assert bundled_painting(name) == name
    for given in (Path("no-painting.jpg"), Path("folder/udnie")):
        assert bundled_painting(given) == given
    with pytest.raises(
        StyleCliError, match="udni is neither a file nor a bundled painting"
    ) as refused:
        bundled_painting(Path("udni"))
    assert "did you mean udnie?" in refused.value.hint


def test_a_seed_makes_the_noise(config, photo):
    noise = replace(config, start="noise", steps=1)
    one, same = stylize_slowly(photo, noise), stylize_slowly(photo, noise)
    other = stylize_slowly(photo, replace(noise, seed=4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lbgfs"}, "unknown --optimizer"),
        ({"start": "foto"}, "no model named 'foto'"),
        ({"start": "gallery"}, "--start gallery is a model of 8 styles"),
        ({"content_layer": "relu9_9"}, "no layer"),
        ({"lr": -1.0}, "--lr -1.0"),
        ({"steps": 0}, "--steps 0"),
    ],
)
def test_bad_settings_are_refused(config, photo, changes, message):
    with pytest.raises(StyleCliError, match=message):
        stylize_slowly(photo, replace(config, **changes))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_an_objective_that_is_not_finite_is_an_error_before_the_first_step(
    config, photo, optimizer
):
    events = []
    settings = replace(config, optimizer=optimizer, steps=9, style_weight=1e300)
    with pytest.raises(StyleCliError, match="not finite at the start"):
        stylize_slowly(photo, settings, events.append)
    assert steps_of(events) == []


def test_one_step_is_not_thrown_away(config, photo):
    events = []
    picture = stylize_slowly(photo, replace(config, steps=1, optimizer="adam"), events.append)
    first, second = steps_of(events)
    assert second.losses["total"] < first.losses["total"]
    assert not np.array_equal(picture, photo)


def test_to_check_a_start_with_an_address_fetches_nothing(config):
    replace(config, start="memory://no-such-place/udnie.safetensors").check()


def test_a_word_for_the_start_that_is_nearly_right_is_told_all_that_can_be_chosen(config):
    with pytest.raises(StyleCliError) as refused:
        replace(config, start="nose").check()
    assert refused.value.hint.startswith("photo, noise, or a model: ")


@pytest.mark.parametrize("start", ["photo", "noise", "starry-night"])
def test_a_large_photo_is_optimized_small_and_keeps_its_size(config, photo, start):
    large = np.tile(photo, (3, 2, 1))[:, :125]
    given = replace(config, start=start, size=64, steps=2)
    events, of_small = [], []
    picture = stylize_slowly(large, given, events.append)
    small = resize(large, 64)
    alone = stylize_slowly(small, given, of_small.append)
    assert picture.shape == large.shape
    enlarge = TorchEnlarger(torch.device("cpu"))
    assert np.array_equal(picture, enlarge(large, small, alone))
    assert np.array_equal(picture, steps_of(events)[-1].best())
    assert [e.losses for e in steps_of(events)] == [e.losses for e in steps_of(of_small)]


def test_at_a_smaller_size_nothing_is_enlarged(config, photo):
    """So whoever wants the pixels that were optimized asks for a long side of --size at most."""
    large = np.tile(photo, (3, 2, 1))[:, :125]
    given = replace(config, size=64, steps=2)
    smaller = stylize_slowly(large, replace(given, max_size=64))
    assert smaller.shape == (64, 42, 3)
    assert np.array_equal(smaller, stylize_slowly(shrink(Picture(large), 64).rgb, given))


def test_a_seed_makes_the_strokes_of_a_start(config, photo, monkeypatch):
    monkeypatch.setattr(gatys, "optimize", lambda photo, start, *others: start)
    given = replace(config, start="udnie", device="cpu")
    one, other, largest = (
        stylize_slowly(photo, replace(given, seed=seed)) for seed in (3, 4, 2**63 - 1)
    )
    assert not np.array_equal(one, other)
    assert largest.shape == photo.shape


@pytest.mark.parametrize(("size", "stroke_size"), [(384, 1), (192, 2), (480, 0.8)])
def test_a_start_that_is_not_optimized_is_what_stylize_paints(
    config, monkeypatch, size, stroke_size
):
    """So the strokes are those of the last layer, and the photo guides as there."""
    monkeypatch.setattr(gatys, "optimize", lambda photo, start, *others: start)
    photo = read_rgb(bundled_photos()[14], 512)
    given = replace(config, start="starry-night", device="cpu", size=size)
    assert given.precision == "float32"
    stylizer = Stylizer("starry-night", device="cpu", precision="float32", seed=given.seed)
    painted = stylizer(photo, stroke_size=stroke_size)
    difference = np.abs(stylize_slowly(photo, given).astype(int) - painted)
    assert (difference > 1).mean() < 0.01  # OpenVINO and torch, in float32


def test_a_photo_too_small_for_the_loss_network_is_refused(config, photo):
    with pytest.raises(StyleCliError, match="9 x 7 px is too small"):
        stylize_slowly(photo[:7, :9], config)


def asked_by_command(tmp_path, painting, *words):
    """Run the command on a small photo, with a preview after every step."""
    Image.open(bundled_photos()[14]).resize((48, 40)).save(tmp_path / "photo.png")
    command = ["gatys", str(tmp_path / "photo.png"), str(painting), str(tmp_path / "slow.png")]
    brief = ["--steps", "2", "--style-size", "64", "--optimizer", "adam", "--preview-every", "1"]
    return CliRunner().invoke(app, [*command, *brief, *words])


def totals_are(monkeypatch, totals):
    """Let the objective of each picture that is tried be as given; then fail."""
    sound, given = gatys._Search.evaluate, iter(totals)

    def evaluate(self, picture):
        total = next(given, None)
        if total is None:
            raise RuntimeError("the device is on fire")
        losses, gradient = sound(self, picture)
        return {**losses, "total": total}, gradient

    monkeypatch.setattr(gatys._Search, "evaluate", evaluate)


def test_a_failure_before_the_first_step_leaves_no_file(tmp_path, painting, monkeypatch):
    totals_are(monkeypatch, [9.0])
    result = asked_by_command(tmp_path, painting)
    assert result.exit_code == 1
    assert "on fire" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]


@pytest.mark.parametrize("totals", [[4.0, 5.0, 6.0], [4.0, 4.0, float("nan")]])
def test_the_untouched_photo_is_no_result(tmp_path, painting, monkeypatch, totals):
    totals_are(monkeypatch, totals)
    result = asked_by_command(tmp_path, painting)
    assert result.exit_code == 1
    assert "no step lowered the objective" in result.stderr
    assert not (tmp_path / "slow.png").exists()


def test_a_failure_later_keeps_the_best_so_far_and_says_so(tmp_path, painting, monkeypatch):
    totals_are(monkeypatch, [9.0, 4.0])
    result = asked_by_command(tmp_path, painting)
    assert result.exit_code == 1
    assert "slow.png: the best picture after step 1" in result.stderr.replace("\n", "")
    with Image.open(tmp_path / "slow.png") as picture:
        assert picture.size == (48, 40)


def test_a_folder_in_the_place_of_the_picture_is_refused_at_once(tmp_path, painting):
    (tmp_path / "slow.png").mkdir()
    result = asked_by_command(tmp_path, painting, "--overwrite")
    assert result.exit_code == 2
    assert "is a folder" in result.stderr


def test_size_transparency_and_metadata_are_the_photos(tmp_path, painting, monkeypatch):
    totals_are(monkeypatch, [9.0, 4.0, 3.0])
    with Image.open(bundled_photos()[14]) as photo:
        clear = photo.resize((150, 120)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((150, 120)))
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    clear.save(tmp_path / "clear.png", exif=exif)
    words = [str(tmp_path / "clear.png"), str(painting), str(tmp_path / "slow.png")]
    brief = ["--steps", "2", "--style-size", "64", "--optimizer", "adam", "--size", "64"]
    result = CliRunner().invoke(app, ["gatys", *words, *brief])
    assert result.exit_code == 0
    for said in ("loading torch", "measuring the style", "optimizing 80 x 64 px in 2 steps"):
        assert said in result.stderr
    assert "step 1 of 2" in result.stderr
    assert "slow.png: the best picture after step 2, 150 x 120 px" in result.stderr.replace(
        "\n", ""
    )
    with Image.open(tmp_path / "slow.png") as picture:
        assert picture.mode == "RGBA"
        assert np.array_equal(picture.getchannel("A"), clear.getchannel("A"))
        assert picture.getexif()[0x010F] == "a camera"


def test_files_are_read_and_written_as_by_stylize(tmp_path, painting, monkeypatch):
    totals_are(monkeypatch, [9.0, 4.0, 3.0] * 3)
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    with Image.open(bundled_photos()[14]) as photo:
        photo.resize((150, 120)).save(tmp_path / "photo.png", exif=exif)
    command = ["gatys", str(tmp_path / "photo.png"), str(painting)]
    command += ["--steps", "2", "--style-size", "64", "--optimizer", "adam", "--size", "64"]
    for quality in ("95", "20"):
        out = str(tmp_path / f"{quality}.jpg")
        words = ["--quality", quality, "--max-size", "100", "--strip-metadata"]
        assert CliRunner().invoke(app, [*command, out, *words]).exit_code == 0
    with Image.open(tmp_path / "20.jpg") as picture:
        assert picture.size == (100, 80)
        assert not picture.getexif()
    assert (tmp_path / "20.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size / 2
    refused = CliRunner().invoke(app, [*command, str(tmp_path / "x.png"), "--max-pixels", "9999"])
    assert refused.exit_code == 2
    assert "has more than 9,999 pixels" in refused.stderr.replace("\n", " ")


def test_json_says_all_that_the_lines_say(tmp_path, painting, monkeypatch):
    totals_are(monkeypatch, [9.0, 4.0, 3.0])
    result = asked_by_command(tmp_path, painting, "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = ["notice"] * 2 + ["progress"] * 2 + ["notice"] + ["step"] * 3 + ["finished"]
    assert [event["event"] for event in events] == kinds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "nearly done"),
        (0.4, "less than 10 seconds left"),
        (61, "about 70 seconds left"),
        (89, "about 90 seconds left"),
        (91, "about 2 minutes left"),
        (3600, "about 60 minutes left"),
        (9_000.1, "about 3 hours left"),
    ],
)
def test_what_is_left_is_said_in_words(seconds, words):
    assert format_time_left(seconds) == words


@pytest.mark.parametrize("words", [["--size", "0"], ["--steps", "0"], ["--start", "foto"]])
def test_a_bad_setting_makes_no_folder(tmp_path, painting, words):
    out = tmp_path / "new" / "slow.png"
    photo = str(bundled_photos()[14])
    result = CliRunner().invoke(app, ["gatys", photo, str(painting), str(out), *words])
    assert result.exit_code == 2
    assert words[1] in result.stderr
    assert not out.parent.exists()


def test_a_bundled_painting_is_not_overwritten_by_its_own_name(tmp_path, painting, monkeypatch):
    paintings = tmp_path / "paintings"
    paintings.mkdir()
    own = shutil.copy(painting, paintings / "udnie.jpg")
    monkeypatch.setattr("stylecli.core.model_files.bundled_models", lambda: tmp_path)
    words = ["gatys", str(bundled_photos()[14]), "udnie", str(own), "--overwrite"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "be overwritten" in result.stderr
    assert own.read_bytes() == painting.read_bytes()
