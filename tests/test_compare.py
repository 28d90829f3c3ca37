"""The comparison: arms trained alike, interrupted and gone on with; outputs that agree."""

import json
import os
import re
import shlex
import shutil
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from stylecli.cli import app
from stylecli.commands.signature import read_options
from stylecli.comparison.arms import check_alike, find_arms, read_objective, train_arms
from stylecli.comparison.experiment import choose_companions, compare
from stylecli.comparison.folder import Comparison, ComparisonFolder
from stylecli.comparison.report import (
    describe_outcome,
    render_page,
    tabulate_metrics,
    tabulate_settings,
    write_outputs,
)
from stylecli.config import CompareConfig
from stylecli.core.model_files import bundled_models
from stylecli.core.objective import Scales
from stylecli.core.tensor_files import load_tensors, read_metadata, save_tensors
from stylecli.errors import StyleCliError
from stylecli.events import TrainResult
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb
from stylecli.options import command_line
from stylecli.training.state import hash_images

# One process makes the comparison that most of these look at.
pytestmark = [pytest.mark.xdist_group("compare"), pytest.mark.usefixtures("budget")]


@pytest.fixture(scope="module")
def config(budget, painting, tmp_path_factory) -> CompareConfig:
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
        patched.setattr("stylecli.training.loop._LOG_EVERY", 1)  # or one step leaves no curve
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
    assert bn["recipe"] == "paper"
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
    table = tabulate_metrics(comparison)
    assert page.count('class="line"') == 2  # of trainings: batch norm is one, and shown twice
    assert "<dt>noise</dt><dd>none</dd><dt>upsampling</dt><dd>nearest</dd>" in page
    assert table.networks[-1] == "gatys"
    for i, arm in enumerate(stored["arms"]):
        totals = [losses["total"] for losses in arm["losses"]]
        mean, deviation = np.mean(totals), np.std(totals, ddof=1)
        assert table.rows["total"][i] == f"{mean:,.0f} ± {deviation:,.0f}"
        for texts in table.rows.values():
            shown = texts[i].replace("> ", "&gt;\u00a0").replace("± ", "±\u00a0")
            assert f'<td data-arm="{arm["name"]}">{shown}</td>' in page
    with Image.open(grid) as image:
        assert image.width > 6 * 96
        assert image.height > 2 * 90
    assert page.count("<figure>") == 2 * 6
    links = re.findall(r"https?:[^\"<\s]*", page)
    assert links == ["https://arxiv.org/abs/1607.08022"]  # to be followed; nothing is loaded
    assert len(stored["gatys_losses"]) == 2


def test_every_row_is_explained_and_every_explanation_has_its_row(comparison):
    without = replace(comparison, gatys=[], gatys_losses=[], gatys_style_at_scales=[])
    for one in (comparison, without):
        page = render_page(one, "stylecli compare")
        explained = re.search(r"</table>.*?<dl>(.*?)</dl>", page, re.S)[1]
        names = ", ".join(re.findall("<dt>(.*?)</dt>", explained))
        assert names == ", ".join(tabulate_metrics(one).rows)


def test_the_page_opens_with_the_claim_and_what_came_of_it(comparison):
    """A page of one network says no more than the claim."""

    def of_total(arm, total):
        losses = [{**one, "total": total} for one in arm.losses]
        return replace(arm, losses=losses)

    bn, batch, instance = comparison.arms
    arms = [of_total(bn, 200.0), batch, of_total(instance, 150.0)]
    found = replace(comparison, arms=arms)
    assert "on 2 photos" in describe_outcome(found)
    assert "in total is 25 % lower with instance norm than with batch norm" in describe_outcome(
        found
    )
    opening = render_page(found, "stylecli compare").partition("<h2>")[0]
    assert describe_outcome(found) in opening
    assert "The paper says" in opening
    worse = replace(comparison, arms=[of_total(bn, 100.0), of_total(instance, 150.0)])
    assert "50 % higher" in describe_outcome(worse)
    assert describe_outcome(replace(comparison, arms=[instance])) == ""
    alone = render_page(replace(comparison, arms=[instance]), "stylecli compare")
    assert "<strong>bn</strong>" not in alone


def test_one_photo_has_no_spread(comparison):
    def first(arm):
        lists = ("losses", "style_at_scales", "contrast", "batch_dependence", "gatys_steps")
        return replace(arm, **{name: getattr(arm, name)[:1] for name in lists})

    one = replace(
        comparison,
        photos=comparison.photos[:1],
        arms=[first(arm) for arm in comparison.arms],
        gatys=comparison.gatys[:1],
        gatys_losses=comparison.gatys_losses[:1],
        gatys_style_at_scales=comparison.gatys_style_at_scales[:1],
    )
    assert all("±" not in cell for texts in tabulate_metrics(one).rows.values() for cell in texts)
    page = render_page(one, "stylecli compare")
    assert "±" not in page
    assert "on the same photo<" in page


def test_style_at_three_scales_is_that_of_the_pictures(comparison):
    for arm in comparison.arms:
        assert [len(shares) for shares in arm.style_at_scales] == [3, 3]
        assert all(share > 0 for shares in arm.style_at_scales for share in shares)
    *ours, slow = tabulate_metrics(comparison).rows["style at 1, 1/2, 1/4"]
    for arm, text in zip(comparison.arms, ours, strict=True):
        means = np.mean(arm.style_at_scales, axis=0)
        assert text == ", ".join(f"{mean:.2f}" for mean in means)
    means = np.mean(comparison.gatys_style_at_scales, axis=0)
    assert slow == ", ".join(f"{mean:.2f}" for mean in means)


def test_the_last_event_of_json_holds_the_numbers(config, comparison, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "stylecli.comparison.experiment.compare", lambda *args, **kwargs: comparison
    )
    words = ["compare", "--style", config.style, "--json", "-o", str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["event"] == "finished"
    assert last["results"] == json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(last["results"]["arms"]) == 3


def test_a_folder_of_another_comparison_or_of_other_things_is_refused(config, comparison, tmp_path):
    with pytest.raises(StyleCliError, match="another comparison; it differs in: seed"):
        compare(replace(config, seed=1))
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(StyleCliError, match="is not empty"):
        compare(replace(config, out=tmp_path))
    assert (tmp_path / "note.txt").read_text() == "mine"


@pytest.mark.parametrize("text", ["{}", '{"mine": 1}', "[1, 2]", "no json", '{"photos": []}'])
def test_a_comparison_json_of_another_program_does_not_hand_the_folder_over(config, tmp_path, text):
    (tmp_path / "comparison.json").write_text(text)
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "holiday.jpg").write_text("mine")
    with pytest.raises(StyleCliError, match="holds no comparison"):
        ComparisonFolder(replace(config, out=tmp_path), "sha", config.photos).claim()
    assert (tmp_path / "content" / "holiday.jpg").read_text() == "mine"
    assert (tmp_path / "comparison.json").read_text() == text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_not_waited_for(config, tmp_path):
    os.mkfifo(tmp_path / "comparison.json")
    with pytest.raises(StyleCliError, match="holds no comparison"):
        ComparisonFolder(replace(config, out=tmp_path), "sha", config.photos)
    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(StyleCliError, match="a named pipe"):
        compare(replace(config, photos=(tmp_path / "photo.jpg",), out=tmp_path / "out"))


def test_photos_of_a_mistyped_first_try_are_not_trained_on(config, tmp_path):
    for photo in bundled_photos()[:2]:  # nothing is trained between
        folder = ComparisonFolder(replace(config, out=tmp_path), "sha", (photo,))
        folder.check_content()
        folder.claim()
        names = {path.name for path in folder.content().iterdir()}
        assert names == {path.name for path in bundled_photos()} - {photo.name}


def test_an_interrupted_arm_holds_the_folder_too(config, tmp_path):
    """Or the next try, with other settings, would go on with it under the old ones."""
    first = ComparisonFolder(replace(config, out=tmp_path), "sha", config.photos)
    first.claim()
    first.models.mkdir()
    (first.models / "residual-bn.checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(StyleCliError, match="another comparison; it differs in: steps"):
        ComparisonFolder(replace(config, out=tmp_path, steps=7), "sha", config.photos)


def test_overwrite_removes_what_compare_wrote_and_nothing_else(config, tmp_path):
    made = ("models/residual-bn.safetensors", "gatys/1.png", "grid.png", "report.html")
    mine = ("notes.txt", "content/holiday.jpg")
    asked = replace(config, out=tmp_path)
    ComparisonFolder(asked, "sha", config.photos).claim()
    for name in (*made, "results.json", *mine):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("something")
    other = replace(asked, seed=7)
    with pytest.raises(StyleCliError, match="another comparison") as caught:
        ComparisonFolder(other, "sha", config.photos)
    assert "--overwrite" in caught.value.hint
    folder = ComparisonFolder(other, "sha", config.photos, overwrite=True)
    assert all((tmp_path / name).exists() for name in made)  # a later check may refuse the rest
    folder.claim()
    assert not any((tmp_path / name).exists() for name in (*made, "results.json"))
    assert all((tmp_path / name).read_text() == "something" for name in mine)
    ComparisonFolder(other, "sha", config.photos)  # it is that of the new comparison


def test_photos_that_lie_in_the_output_folder_are_named_as_the_reason(config, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    with pytest.raises(StyleCliError, match="0 photos were given") as caught:
        compare(replace(config, photos=(tmp_path,), out=tmp_path))
    assert f"what lies in {tmp_path} does not count" in caught.value.hint


def test_what_a_training_advises_is_said_in_the_options_of_compare(config, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise StyleCliError("broke off", hint="--resume goes on; or a lower --size, --overwrite")

    monkeypatch.setattr("stylecli.comparison.arms.train", broken)
    folder = ComparisonFolder(replace(config, out=tmp_path / "o"), "sha", config.photos)
    folder.claim()
    with pytest.raises(StyleCliError, match="residual-bn: broke off") as caught:
        train_arms(folder, lambda event: None, lambda: False)
    named = set(re.findall(r"--[a-z-]+", caught.value.hint))
    assert named <= options() - {"--size"}  # which is another thing in a training
    assert "the same command goes on" in caught.value.hint


def test_a_bundled_painting_without_arms_is_trained_by_its_name(config, tmp_path, monkeypatch):
    asked = []

    def stop(given, *args, **kwargs):
        asked.append(given)
        return TrainResult(given.output, False, 0, 0.0, {})

    monkeypatch.setattr("stylecli.comparison.arms.train", stop)
    assert compare(replace(config, style="udnie", out=tmp_path / "out")) is None
    (one,) = asked
    assert one.paintings == (bundled_models() / "paintings" / "udnie.jpg",)
    assert (one.recipe, one.init) == ("paper", "scratch")


def test_an_arm_that_there_is_not_is_answered_with_the_arms_of_that_style(config):
    with pytest.raises(StyleCliError) as caught:
        find_arms(replace(config, style="starry-night", norms=("none",)))
    assert caught.value.message == "starry-night has no network residual-none"
    assert "pyramid-bn, pyramid-in, residual-bn, residual-in" in caught.value.hint
    assert "--style PAINTING.jpg" in caught.value.hint
    assert "udnie" not in caught.value.hint
    assert find_arms(replace(config, style="udnie")) == []


def test_arms_that_are_trained_share_their_generator_settings_and_others_are_told_of(
    config, comparison, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    names = [f"udnie-residual-{norm}.safetensors" for norm in ("bn", "in")]
    for name in names:
        trained = config.out / "models" / name.removeprefix("udnie-")
        (tmp_path / "models" / name).write_bytes(trained.read_bytes())
    arms = find_arms(replace(config, style="udnie"))
    sha = arms[0].info.training["paintings_sha"]

    def like_the_third(**spec):
        info = arms[2].info
        return replace(arms[2], info=replace(info, spec=replace(info.spec, **spec)))

    for key, value in (("noise", "gaussian"), ("upsampling", "bilinear"), ("width", 99)):
        other = like_the_third(**{key: value})
        with pytest.raises(StyleCliError, match=rf"trained with {key} {value}, and "):
            check_alike([*arms[:2], other], sha)
    pyramid = replace(like_the_third(arch="pyramid", width=8), arch="pyramid")
    check_alike([*arms[:2], pyramid], sha)  # each architecture has a width of its own


def test_a_report_says_what_the_generators_share_and_what_not(comparison):
    shared, different = tabulate_settings(comparison)
    assert shared["width"] == "16"
    assert "width" not in different.rows
    *others, last = comparison.arms
    wider = replace(last, generator={**last.generator, "width": 99})
    shared, different = tabulate_settings(replace(comparison, arms=[*others, wider]))
    assert "width" not in shared
    assert different.rows["width"] == ["16"] * len(others) + ["99"]


def read_info_file(name):
    """What a bundled model says of itself, as it is stored, and its weights."""
    from stylecli.core.model_files import bundled_models
    from stylecli.core.tensor_files import read_metadata

    path = bundled_models() / name
    return read_metadata(path), load_tensors(path)


def test_what_gatys_made_for_another_objective_is_not_taken(tmp_path, monkeypatch):
    """A model of the same name, scales and painting may have been trained with other weights."""
    import stylecli.comparison.experiment

    monkeypatch.chdir(tmp_path)
    made = []

    def counted(*args):
        made.append(args[2])
        return optimize(*args)

    optimize = stylecli.comparison.experiment.optimize
    monkeypatch.setattr("stylecli.comparison.experiment.optimize", counted)
    here = [Path("models"), bundled_models()]  # otherwise the bundled network is the one
    monkeypatch.setattr("stylecli.comparison.folder.model_folders", lambda: here)
    Image.open(bundled_photos()[3]).resize((64, 48)).save("photo.png")
    asked = CompareConfig(
        photos=(Path("photo.png"),), norms=("in",), gatys=True, gatys_steps=1, size=64
    )
    info, tensors = read_info_file("starry-night-residual-in.safetensors")
    changes = [{}, {"style_weight": 9.0}, {"style_layers": ["relu2_2"]}, {}]
    for number, change in enumerate(changes, 1):
        training = {**info["training"], **change}
        path = tmp_path / "models" / "starry-night-residual-in.safetensors"
        save_tensors(path, tensors, {**info, "training": training})
        assert compare(asked) is not None
        assert len(made) == min(number, len(changes) - 1)  # the last is the first again
    (kept, *_) = (tmp_path / "comparison" / "gatys").glob("*.json")
    kept.write_text("damaged")
    assert compare(asked) is not None


def test_a_photo_is_never_its_own_companion(tmp_path):
    elsewhere = tmp_path / "photo.jpg"
    elsewhere.write_bytes(b"none of the bundled ones")
    usual = choose_companions(elsewhere)
    for photo in bundled_photos():
        copy = tmp_path / f"copy of {photo.name}"
        shutil.copyfile(photo, copy)
        for path in (photo, copy):
            batches = choose_companions(path)
            assert photo not in batches[0] + batches[1]
            assert [len(batch) for batch in batches] == [3, 3]
            assert len({*batches[0], *batches[1]}) == 6
            changed = {*usual[0], *usual[1]} - {*batches[0], *batches[1]}
            assert changed <= {photo}


def test_steps_that_were_not_enough_are_counted_right(comparison):
    unreached = [replace(arm, gatys_steps=[None, 2]) for arm in comparison.arms]
    table = tabulate_metrics(replace(comparison, arms=unreached))
    assert table.rows["Gatys steps"][0] == "> 3, 2"


def test_a_name_that_is_no_utf_8_can_stand_in_the_page(comparison, tmp_path):
    command = "stylecli compare " + os.fsdecode(b"caf\xe9.jpg")
    _, html, _ = write_outputs(comparison, tmp_path, command)
    assert "caf?.jpg" in html.read_text(encoding="utf-8")


def test_a_model_of_another_painting_is_refused(config, comparison, tmp_path):
    other = tmp_path / "other.png"
    Image.open(bundled_photos()[2]).save(other)
    again = replace(config, style=str(other), out=tmp_path / "out")
    (again.out / "models").mkdir(parents=True)
    (again.out / "comparison.json").write_text("{}")
    copy = again.out / "models" / "residual-in.safetensors"
    copy.write_bytes((config.out / "models" / copy.name).read_bytes())
    sha = hash_images([read_rgb(other, config.style_size)])
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
    arms = find_arms(named)
    longer = replace(arms[2].info, training={**arms[2].info.training, "seed": 5})
    with pytest.raises(StyleCliError, match=r"was trained with seed 5, and .* with 0"):
        check_alike(
            [*arms[:2], replace(arms[2], info=longer)], arms[0].info.training["paintings_sha"]
        )


def test_gatys_is_kept_for_the_next_run(config, comparison, monkeypatch):
    def never(*args):
        raise AssertionError("optimized again")

    monkeypatch.setattr("stylecli.comparison.experiment.optimize", never)
    again = compare(replace(config, norms=("in",)))
    assert [arm.name for arm in again.arms] == ["residual-in"]
    assert again.gatys_losses == comparison.gatys_losses
    assert all(map(np.array_equal, again.pictures["gatys"], comparison.pictures["gatys"]))


def test_arms_are_judged_by_the_objective_of_their_training(comparison, config):
    trained_with = comparison.arms[0].training["scales"]
    assert comparison.about["scales"] == trained_with


ODD = (None, True, -1, 10**9, 0.5, "x", "", [], ["x"], {}, {"x": 1}, [[]], [None], "vgg19")


@pytest.mark.parametrize(
    "fact",
    [
        *("scales", "style_size", "style_layers", "content_layer", "loss_padding", "loss_net"),
        *("style_weight", "content_weight", "tv_weight", "paintings_sha", "content_photos"),
        *("curve", "seed", "batch_size", "paintings"),
    ],
)
def test_odd_facts_in_a_strangers_model_are_one_error_or_do_no_harm(
    config, tmp_path, monkeypatch, fact
):
    monkeypatch.chdir(tmp_path)
    metadata = read_metadata(bundled_models() / "starry-night-residual-in.safetensors")
    known = metadata["training"]
    named = replace(config, style="udnie", norms=("in",))

    def objective(training):
        path = tmp_path / "models" / "udnie-residual-in.safetensors"
        save_tensors(path, {}, {**metadata, "training": training})
        arms = find_arms(named)
        check_alike(arms, known["paintings_sha"])
        settings, scales = read_objective(arms[0], named.loss_net)
        Scales.from_json(scales)
        return settings

    assert objective(known).style_size == known["style_size"]
    odd = [{**known, fact: value} for value in ODD]
    for training in [*odd, {key: value for key, value in known.items() if key != fact}]:
        with suppress(StyleCliError):
            settings = objective(training)
            assert settings.loss_net == "vgg16"
            assert settings.style_size <= 2**14


def test_a_model_names_no_file_that_compare_opens(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.pth")
    bundled = bundled_models() / "starry-night-residual-in.safetensors"
    metadata = read_metadata(bundled)
    style = bundled_models() / "paintings" / "udnie.jpg"
    metadata["training"] |= {
        "paintings_sha": hash_images([read_rgb(style, 384)]),
        "loss_net": "pipe.pth",
    }
    model = tmp_path / "models" / "udnie-residual-in.safetensors"
    save_tensors(model, load_tensors(bundled), metadata)
    named = replace(config, style="udnie", norms=("in",), out=tmp_path / "out")
    with pytest.raises(StyleCliError, match=r"against the loss network pipe\.pth, not vgg16"):
        compare(named)


def test_arms_are_judged_by_the_loss_network_that_is_given_if_it_is_the_one_they_name():
    """A model file holds its name only; --loss-net says where it lies."""
    (found,) = find_arms(CompareConfig(style="starry-night", norms=("in",)))
    training = {**found.info.training, "loss_net": "own.pth"}
    arm = replace(found, info=replace(found.info, training=training))
    assert read_objective(arm, "there/own.pth")[0].loss_net == "there/own.pth"
    with pytest.raises(StyleCliError, match=r"loss network own\.pth, not vgg16"):
        read_objective(arm, "vgg16")


def test_an_arm_whose_scales_are_not_those_of_one_painting_is_refused():
    (found,) = find_arms(CompareConfig(style="starry-night", norms=("in",)))
    training = {**found.info.training, "scales": {"style": [1.0, 2.0], "tv": [1.0]}}
    arm = replace(found, info=replace(found.info, training=training))
    with pytest.raises(StyleCliError, match="scales of 2 paintings"):
        read_objective(arm, "vgg16")


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"norms": ("bn", "inn")}, "unknown --norm 'inn'", "did you mean in?"),
        ({"archs": ("pyramids",)}, "unknown --arch", "did you mean pyramid?"),
        ({"norms": ("in", "in")}, "given twice", ""),
        ({"style": "stary-night"}, "bundled painting", "starry-night"),
        ({"content": Path("typo")}, "no content folder", "--content"),
        ({"photos": ("missing.jpg",)}, "no such file", ""),
        ({"size": 10}, "--size 10", ""),
        ({"batch_size": 1}, "--batch-size 1 is out of range", "at least 4"),
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
    with pytest.raises(StyleCliError, match="no photo can be read, of 1 given"):
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


def parsed(words: list[str]) -> CompareConfig:
    """What the command takes some words for."""
    command = typer.main.get_command(app).get_command(None, "compare")
    with command.make_context("compare", words) as context:
        return CompareConfig(**read_options(context, CompareConfig))


def options() -> set[str]:
    """Every option that the command has."""
    command = typer.main.get_command(app).get_command(None, "compare")
    return {name for each in command.params for name in each.opts if name.startswith("--")}


def test_the_command_that_is_printed_is_understood_whatever_was_asked():
    asked = CompareConfig(
        photos=(Path("-odd name.jpg"), Path("more")),
        style="a painting.jpg",
        norms=("in",),
        archs=("pyramid", "residual"),
        gatys=True,
        style_layers=("relu1_2", "relu2_2"),
        content_layer="relu2_2",
        loss_padding="zeros",
        loss_net="vgg19",
        content=Path("here"),
        out=Path("-out"),
        device="cpu",
        precision="float32",
        **dict.fromkeys(("gatys_steps", "size", "steps", "batch_size", "style_size", "seed"), 77),
        **dict.fromkeys(("style_weight", "content_weight", "tv_weight", "minutes"), 0.5),
    )
    default = CompareConfig()
    assert all(getattr(asked, f.name) != getattr(default, f.name) for f in fields(asked))
    again = parsed(shlex.split(command_line("compare", asked))[2:])
    assert [path.resolve() for path in again.photos] == [path.resolve() for path in asked.photos]
    assert replace(again, photos=asked.photos) == asked


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        (["--steps", "5", "--style-weight", "3"], "--steps, --style-weight"),
        (["--minutes", "1", "--loss-net", "vgg19"], "--minutes, --loss-net"),
        (["--content", ".", "--batch-size", "4"], "--content, --batch-size"),
        (["--style-size", "100", "--seed", "2"], "--style-size, --seed"),
        (["--gatys-steps", "5"], "--gatys-steps"),
    ],
)
def test_an_option_that_cannot_act_is_refused_by_name(tmp_path, words, idle):
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["compare", "--norm", "bn,in", *words, "-o", str(out)])
    assert result.exit_code == 2
    said = result.stderr
    assert all(f"{option} " in said.replace(",", " ") for option in idle.split(", ")), said
    assert set(re.findall(r"--[a-z-]+", said)) <= options()
    assert not out.exists()


def test_gatys_steps_without_gatys_are_refused_when_arms_are_trained_too(tmp_path, painting):
    words = ["compare", "--style", str(painting), "--gatys-steps", "5", "-o", str(tmp_path / "o")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--gatys-steps" in result.stderr
    assert not (tmp_path / "o").exists()


def test_the_command_line_says_what_was_asked(config):
    asked = replace(config, photos=(), out=CompareConfig().out, style="udnie")
    words = command_line("compare", asked, always=("norms",))
    assert words == (
        "stylecli compare --style udnie --norm bn,in --gatys --gatys-steps 3 --size 96 --steps 1 "
        "--device cpu --style-size 96"
    )


def test_bundled_photos_that_are_compared_on_are_not_trained_on(config, tmp_path):
    four = replace(config, photos=(), out=tmp_path / "out", gatys=False)
    assert compare(four, should_stop=lambda: True) is None
    names = {path.name for path in (four.out / ".bundled-photos").iterdir()}
    compared = {bundled_photos()[i].name for i in (14, 15, 7, 22)}
    assert names == {path.name for path in bundled_photos()} - compared


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
    box = wipe.bounding_box()
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
    wide = "e => e.filter(x => x.getBoundingClientRect().right > innerWidth + 1).length"
    assert (
        page.locator("td, th, table, pre, code, p, img, .plot, .plot span").evaluate_all(wide) == 0
    )
    assert page.locator("pre, .scroll").evaluate_all(
        "e => e.every(x => x.scrollWidth <= x.clientWidth + 1)"
    )
    small = "e => e.filter(x => parseFloat(getComputedStyle(x).fontSize) < 14).length"
    texts = "td, th, dd, dt, p, figcaption, code, select, .plot span"
    assert page.locator(texts).evaluate_all(small) == 0
    assert page.locator(".plot svg").evaluate("e => e.clientWidth") > 200
    assert page.locator(".plot span").count() > 4
    assert troubles == []
    assert all(url.startswith(("file:", "data:")) for url in requests)


def test_the_papers_claims_hold_for_the_arms_that_ship(tmp_path):
    """On two photos that none of them was trained on; docs/paper.md has the figures for more."""
    photos = (bundled_photos()[14], bundled_photos()[7])
    found = compare(
        CompareConfig(
            photos=photos, archs=("residual", "pyramid"), size=128, out=tmp_path / "o", device="cpu"
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


def test_a_hidden_file_does_not_make_a_folder_another_programs(tmp_path, painting):
    """Such as the one that a Mac's Finder leaves in every folder that it shows."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_bytes(b"")
    config = CompareConfig(out=tmp_path / "out", style=str(painting))
    ComparisonFolder(config, "sha", []).claim()
