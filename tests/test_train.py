"""Training: it learns, it resumes bit for bit, it never loses or breaks a model."""

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stylecli.config import TrainConfig
from stylecli.core import model_files
from stylecli.core.model_files import read_info
from stylecli.errors import StyleCliError, choose_from
from stylecli.events import Notice, Step
from stylecli.training import loop as training
from stylecli.training import schedule
from stylecli.training.divergence import Guard
from stylecli.training.files import TrainFiles, saved_config, style_name
from stylecli.training.loop import train


@pytest.fixture
def config(painting, tmp_path) -> TrainConfig:
    """A training that takes seconds: small crops, a narrow network, the bundled photos."""
    return TrainConfig(
        styles=(painting,),
        output=tmp_path / "m.safetensors",
        steps=20,
        size=64,
        style_size=64,
        width=4,
        batch_size=2,
        preview_every=0,
        device="cpu",  # where a resume is promised to be exact
    )


def gallery_kind():
    """What a training has to share with the bundled gallery to start from it."""
    info = read_info(model_files.bundled_models() / "gallery.safetensors")
    return {name: getattr(info, name) for name in ("noise", "upsampling", "activation")}


def stop_after(steps):
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= steps


@pytest.mark.parametrize(
    ("arch", "norm", "noise"),
    [("residual", "in", "gaussian"), ("residual", "bn", "none"), ("pyramid", "in", "gaussian")],
)
def test_twenty_steps_straight_equal_ten_and_ten_more(config, tmp_path, arch, norm, noise):
    config = replace(config, arch=arch, norm=norm, noise=noise, upsampling="bilinear")
    config = replace(config, loss_margin=0.16 if noise != "none" else 0.0)
    straight = train(config)
    halves = replace(config, output=tmp_path / "halves.safetensors")
    halves = replace(halves, preview_every=3)  # to look at a network changes nothing in it
    stopped = train(halves, should_stop=stop_after(10))
    assert (stopped.finished, stopped.steps) == (False, 10)
    assert not halves.output.exists()
    resumed = train(halves, resume=True)
    assert (resumed.finished, resumed.steps) == (True, 20)
    assert resumed.losses == straight.losses
    weights, again = load_file(config.output), load_file(halves.output)
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights)


@pytest.fixture
def trio(config, tmp_path) -> TrainConfig:
    """A training of three paintings in one network."""
    paintings = []
    for i, name in enumerate(["one", "two", "Three!"]):
        paintings.append(tmp_path / f"{name}.png")
        rgb = training.read_rgb(training.bundled_photos()[i], 64)
        training.write_picture(paintings[-1], training.Picture(rgb))
    output = tmp_path / "trio.safetensors"
    return replace(config, styles=tuple(paintings), output=output, steps=12)


def test_a_killed_training_goes_on_from_its_last_checkpoint(config, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0.0)
    files, kept = TrainFiles(config.output), tmp_path / "as-killed.safetensors"

    def watch(event):
        if isinstance(event, Step) and event.step == 8:  # of the state after seven
            kept.write_bytes(files.checkpoint.read_bytes())

    straight = train(config, watch)
    weights = load_file(config.output)
    config.output.unlink()
    kept.rename(files.checkpoint)
    assert train(config, watch, resume=True).losses == straight.losses
    again = load_file(config.output)
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_settings_reach_what_they_are_about(config, monkeypatch):
    seen = {"sizes": [], "factors": [], "previews": 0}
    batch, step = training.ContentPhotos.batch, training.GeneratorOptimizer.step
    preview, init = training._Training.write_preview, training.GeneratorOptimizer.__init__

    def spy_batch(self, number, batch_size, size):
        seen["sizes"].append((number, size))
        return batch(self, number, batch_size, size)

    def spy_step(self, factor):
        seen["factors"].append(factor)
        step(self, factor)

    def spy_init(self, parameters, name, lr):
        seen["optimizer"] = (name, lr)
        init(self, parameters, name, lr)

    def spy_preview(self):
        seen["previews"] += 1
        seen["weights"] = self.objective.weights
        seen["padding"] = self.objective.network.padding
        preview(self)

    monkeypatch.setattr(training.ContentPhotos, "batch", spy_batch)
    monkeypatch.setattr(training.GeneratorOptimizer, "step", spy_step)
    monkeypatch.setattr(training.GeneratorOptimizer, "__init__", spy_init)
    monkeypatch.setattr(training._Training, "write_preview", spy_preview)
    break_losses(monkeypatch, lambda step: step == 10)
    weights = {"content_weight": 2.0, "style_weight": 3.0, "tv_weight": 0.5}
    how = {"optimizer": "adam", "lr": 1e-3, "small_crops": 0.5, "loss_padding": "zeros"}
    train(replace(config, **weights, **how, size=96, preview_every=8))
    assert {size for number, size in seen["sizes"] if 0 < number < 10} == {48}
    assert {size for number, size in seen["sizes"] if 10 <= number < 20} == {96}
    assert seen["optimizer"] == ("adam", 1e-3)
    assert (seen["weights"].content, seen["weights"].style, seen["weights"].tv) == (2, 3, 0.5)
    assert seen["padding"] == "zeros"
    assert seen["previews"] == 3  # after steps 8 and 16, and at the end
    usual = [schedule.learning_rate_factor(done / 20) for done in range(20)]
    assert seen["factors"] == usual[:10] + [factor / 2 for factor in usual[11:]]


def test_a_network_of_several_styles_resumes_bit_for_bit_too(trio, tmp_path):
    straight = train(trio)
    halves = replace(trio, output=tmp_path / "halves.safetensors")
    train(halves, should_stop=stop_after(5))
    saved = saved_config(TrainFiles(halves.output), {})
    assert train(saved, resume=True).losses == straight.losses
    weights, again = load_file(trio.output), load_file(halves.output)
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    info = read_info(trio.output)
    assert info.styles == ["one", "two", "three"]
    assert weights["body.0.1.weight"].shape == (3, 4)
    assert not torch.equal(weights["body.0.1.weight"][0], weights["body.0.1.weight"][1])


def test_an_added_style_learns_its_own_rows_and_nothing_else_changes(trio, painting, tmp_path):
    train(replace(trio, license="mine"))
    before = load_file(trio.output)
    output = tmp_path / "four.safetensors"
    more = replace(trio, styles=(), add_style=painting, init=str(trio.output), output=output)
    train(more)
    straight = load_file(output)
    train(more, should_stop=stop_after(4), overwrite=True)
    train(more, resume=True)
    after = load_file(output)
    assert all(torch.equal(straight[key], after[key]) for key in after)
    assert read_info(output).license == "mine"
    assert read_info(output).styles == ["one", "two", "three", "waves-lines"]
    for key, tensor in after.items():
        if tensor.shape == before[key].shape:
            assert torch.equal(tensor, before[key])
        else:
            assert torch.equal(tensor[:3], before[key])
            rows = (before[key] == tensor[3]).all(1)
            assert not rows.any(), f"{key} learned nothing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"styles": ()}, "no painting"),
        ({"norm": "bn"}, "holds one style"),
        ({"add_style": Path("x.png")}, "adds one painting"),
        ({"styles": (), "add_style": Path("x.png")}, "adds one painting"),
    ],
)
def test_styles_that_cannot_be_trained_are_refused(trio, changes, message):
    with pytest.raises(StyleCliError, match=message):
        train(replace(trio, **changes))
    assert not trio.output.exists()


def test_a_style_cannot_be_added_to_a_model_without_instance_norm(trio, tmp_path):
    train(replace(trio, styles=trio.styles[:1], norm="bn"))
    more = replace(trio, styles=(), add_style=trio.styles[1], init=str(trio.output))
    with pytest.raises(StyleCliError, match="only instance norm can hold several"):
        train(replace(more, output=tmp_path / "more.safetensors"))


def test_a_painting_starts_from_the_bundled_model_unless_told_otherwise(config, tmp_path):
    events = []
    quick = replace(config, width=None, steps=1, lr=1e-12, **gallery_kind())
    train(quick, events.append)
    assert read_info(config.output).training["init"] == "gallery"
    bundled = load_file(model_files.bundled_models() / "gallery.safetensors")
    for key, ours in load_file(config.output).items():
        rows = bundled[key] if bundled[key].ndim > ours.ndim else bundled[key][None]
        assert any(torch.allclose(ours, row, atol=1e-6) for row in rows), key
    other = tmp_path / "other.safetensors"
    for changes in ({"init": "scratch"}, {"norm": "bn"}, {"arch": "pyramid"}):
        train(replace(quick, output=other, **changes), overwrite=True)
        assert read_info(other).training["init"] == "scratch"


def test_a_file_that_is_no_log_of_ours_is_not_emptied(config):
    log = TrainFiles(config.output).log
    log.write_text('{"name": "mine"}\n')
    with pytest.raises(StyleCliError, match="is no log of a training"):
        train(config)
    with pytest.raises(StyleCliError, match="is no log of a training"):
        train(config, overwrite=True)  # of a model, that is
    assert log.read_text() == '{"name": "mine"}\n'


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Waves & Lines.png", "waves-lines"),
        ("Café_terrace.jpg", "cafe-terrace"),
        ("神奈川.png", "神奈川"),
        ("Звёздная ночь.jpg", "звездная-ночь"),
        ("__.png", "style"),
    ],
)
def test_a_style_is_called_by_its_file_in_any_script(file, name):
    assert style_name(Path(file)) == name


def test_a_large_scan_is_a_painting_too(config, tmp_path):
    scan = tmp_path / "scan.png"
    Image.new("1", (15_000, 13_000)).save(scan)
    train(replace(config, styles=(scan,), steps=1))
    assert config.output.is_file()


@pytest.mark.parametrize("change", [{"brush": "wide"}, {"loss_padding": None}])
def test_a_checkpoint_of_another_version_says_so(config, change):
    train(config, should_stop=stop_after(2))
    files = TrainFiles(config.output)
    metadata = model_files.read_metadata(files.checkpoint)
    metadata["config"] = {k: v for k, v in metadata["config"].items() if k not in change}
    metadata["config"] |= {k: v for k, v in change.items() if v}
    model_files.save_tensors(files.checkpoint, model_files.load_tensors(files.checkpoint), metadata)
    with pytest.raises(StyleCliError, match="another version of stylecli"):
        saved_config(files, {})


def test_two_paintings_of_one_name_are_refused(trio, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "ONE.png"
    twin.write_bytes(trio.styles[0].read_bytes())
    with pytest.raises(StyleCliError, match="two styles are named one"):
        train(replace(trio, styles=(*trio.styles, twin)))


def test_a_new_painting_starts_from_the_style_that_suits_it_best(trio, tmp_path):
    train(replace(trio, steps=150, lr=0.01))
    events = []
    output = tmp_path / "again.safetensors"
    again = replace(trio, styles=trio.styles[1:2], init=str(trio.output), output=output, steps=2)
    train(replace(again, lr=1e-12), events.append)
    assert "from trio" in events[0].text
    rows, one = load_file(trio.output), load_file(output)
    torch.testing.assert_close(one["body.0.1.weight"], rows["body.0.1.weight"][1])
    with pytest.raises(StyleCliError, match=r"has arch residual, norm in, .* width 4"):
        train(replace(again, width=5, output=tmp_path / "no.safetensors"))
    as_it_is = replace(again, width=None, lr=1e-12, output=tmp_path / "w.safetensors")
    train(as_it_is)
    assert read_info(as_it_is.output).width == 4


@pytest.mark.parametrize("style", ["udnie", "cezanne"])  # the painting is nearest to one at most
def test_a_training_starts_from_the_style_that_was_named(config, style):
    named = replace(config, width=None, init=style, steps=1, lr=1e-12, **gallery_kind())
    train(named)
    gallery = model_files.bundled_models() / "gallery.safetensors"
    row = read_info(gallery).styles.index(style)
    rows, one = load_file(gallery), load_file(named.output)
    torch.testing.assert_close(one["body.0.1.weight"], rows["body.0.1.weight"][row])


def test_the_style_loss_falls_and_the_log_and_model_say_so(config):
    events = []
    result = train(replace(config, steps=60), events.append)
    steps = [event for event in events if isinstance(event, Step)]
    assert [event.step for event in steps] == list(range(1, 61))
    last = sum(event.losses["style"] for event in steps[-10:]) / 10
    assert last < 0.6 * steps[0].losses["style"]
    logged = [json.loads(line) for line in TrainFiles(config.output).log.read_text().splitlines()]
    assert [line["step"] for line in logged] == [10, 20, 30, 40, 50, 60]
    assert logged[-1]["style"] == steps[-1].losses["style"]
    info = read_info(config.output)
    assert info.losses == result.losses
    assert (info.arch, info.norm, info.width) == ("residual", "in", 4)
    assert info.training["steps_done"] == 60
    assert [point["step"] for point in info.training["curve"]] == [10, 20, 30, 40, 50, 60]
    assert info.training["curve"][-1]["style"] == pytest.approx(logged[-1]["style"], abs=0.1)
    assert TrainFiles(config.output).preview.is_file()


def test_a_killed_training_leaves_a_log_that_a_resume_continues_without_repeats(config):
    train(config, should_stop=stop_after(10))
    files = TrainFiles(config.output)
    with files.log.open("a") as log:  # what was logged after the last checkpoint
        log.write(json.dumps({"step": 15}) + "\n")
    train(config, resume=True)
    assert [json.loads(x)["step"] for x in files.log.read_text().splitlines()] == [10, 20]
    assert not files.checkpoint.exists()


def test_a_model_or_an_unfinished_training_is_never_overwritten_unasked(config):
    train(replace(config, steps=1))
    before = config.output.read_bytes()
    with pytest.raises(StyleCliError, match="exists"):
        train(config)
    assert config.output.read_bytes() == before
    train(replace(config, steps=2), overwrite=True)
    assert config.output.read_bytes() != before
    config.output.unlink()
    train(config, should_stop=stop_after(3))
    with pytest.raises(StyleCliError, match="interrupted training") as caught:
        train(config)
    assert "--resume" in caught.value.hint


def test_a_resume_refuses_other_settings_and_another_painting(config, tmp_path):
    with pytest.raises(StyleCliError, match="nothing to resume"):
        train(config, resume=True)
    train(config, should_stop=stop_after(2))
    with pytest.raises(StyleCliError, match=r"began with batch_size 2, lr 0\.002"):
        train(replace(config, batch_size=3, lr=1.0), resume=True)
    with pytest.raises(StyleCliError, match="began with style_size 64"):
        train(replace(config, style_size=80), resume=True)
    with pytest.raises(StyleCliError, match="is not the painting"):
        train(replace(config, styles=(training.bundled_photos()[0],)), resume=True)
    longer = saved_config(TrainFiles(config.output), {"steps": 4})
    assert longer == replace(config, steps=4)
    with pytest.raises(StyleCliError, match="less than the 2 steps that are done"):
        train(replace(config, steps=1), resume=True)
    assert train(longer, resume=True).steps == 4


def test_a_time_budget_is_kept(config):
    result = train(replace(config, steps=None, minutes=0.05))
    assert 3 <= result.seconds < 6
    assert result.steps > 1


def break_losses(monkeypatch, when, factor=torch.nan):
    """Make the loss not a number, or much too large, at some steps."""
    sound = training._Training._losses

    def losses(self, photos):
        terms = sound(self, photos)
        # nothing is recent while the training sets itself up
        broken = self.guard.recent and when(self.step)
        return {**terms, "total": terms["total"] * factor} if broken else terms

    monkeypatch.setattr(training._Training, "_losses", losses)


@pytest.mark.parametrize(
    ("factor", "steps"),
    [(torch.nan, (5, 12)), (torch.inf, (5, 12)), (100.0, (11, 12, 13, 15, 16, 17))],
)
def test_a_loss_that_explodes_rolls_back_to_the_last_good_weights(
    config, monkeypatch, factor, steps
):
    def weights_in(self):
        return torch.cat([p.detach().flatten() for p in self.generator.parameters()])

    before_and_after = []
    roll_back = Guard.roll_back

    def spy(self):
        good = torch.cat([v.flatten() for k, v in self.snapshot[0].items() if "running" not in k])
        was = weights_in(self)
        said = roll_back(self)
        before_and_after.append((torch.equal(was, good), torch.equal(weights_in(self), good)))
        return said

    monkeypatch.setattr(Guard, "roll_back", spy)
    break_losses(monkeypatch, lambda step: step in steps, factor)
    events = []
    train(config, events.append)
    assert before_and_after == [(False, True), (False, True)]
    notices = [event.text for event in events if isinstance(event, Notice)]
    rolled = [text for text in notices if "loss exploded" in text]
    assert len(rolled) == 2
    assert "learning rate halved" in rolled[0]
    assert all(tensor.isfinite().all() for tensor in load_file(config.output).values())


def test_one_odd_batch_is_left_out_said_so_and_costs_nothing_more(config, monkeypatch):
    break_losses(monkeypatch, lambda step: step in (11, 12, 15), factor=100.0)
    events = []
    result = train(config, events.append)
    assert result.steps == 20
    assert len([event for event in events if isinstance(event, Step)]) == 17
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert sum("are left out" in text for text in notices) == 3
    assert not any("exploded" in text for text in notices)
    assert read_info(config.output).training["photos_seen"] == 17 * 2


def test_the_first_losses_may_leap(config, monkeypatch):
    break_losses(monkeypatch, lambda step: step in (2, 4), factor=9.0)
    events = []
    train(replace(config, steps=6), events.append)
    assert [e.step for e in events if isinstance(e, Step)] == [1, 2, 3, 4, 5, 6]


def test_a_batch_that_is_left_out_does_not_enter_running_statistics(config, monkeypatch):
    only_white = training.ContentPhotos.batch

    def batch(self, number, batch_size, size):
        photos = only_white(self, number, batch_size, size)
        return np.full_like(photos, 255) if number == 11 else photos

    monkeypatch.setattr(training.ContentPhotos, "batch", batch)
    break_losses(monkeypatch, lambda step: step == 11, factor=100.0)
    seen = []  # of each buffer, whether it is as before the photos, and whether as with them
    refuse = Guard.refuse

    def spy(self, total):
        with_them = {name: buffer.clone() for name, buffer in self.generator.named_buffers()}
        said = refuse(self, total)
        for name, buffer in self.generator.named_buffers():
            if name.endswith("seed"):  # of noise, which no photo changes
                continue
            seen.append((torch.equal(buffer, before[name]), torch.equal(buffer, with_them[name])))
        return said

    learn = training._Training._learn
    before = {}

    def note(self):
        learn(self)
        before.update({name: b.clone() for name, b in self.generator.named_buffers()})

    monkeypatch.setattr(Guard, "refuse", spy)
    monkeypatch.setattr(training._Training, "_learn", note)
    train(replace(config, norm="bn", steps=13))
    assert seen
    assert set(seen) == {(True, False)}


def test_losses_that_are_off_at_the_very_end_do_not_reach_the_model(config, monkeypatch):
    sound = training._Training._losses

    def explode(self, photos):
        if self.step == 18:
            with torch.no_grad():
                for parameter in self.generator.parameters():
                    parameter.mul_(1e3)
        return sound(self, photos)

    monkeypatch.setattr(training._Training, "_losses", explode)
    events = []
    train(config, events.append)
    assert any("the last losses were off" in e.text for e in events if isinstance(e, Notice))
    assert max(float(tensor.abs().max()) for tensor in load_file(config.output).values()) < 10


def test_what_overwrite_drops_is_said(config):
    events = []
    train(config, should_stop=stop_after(3))
    train(replace(config, steps=1), events.append, overwrite=True)
    train(replace(config, steps=1), events.append, overwrite=True)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert [text for text in notices if "dropped" in text] == [notices[1]]
    assert "3 steps" in notices[1]


def test_a_model_that_appears_meanwhile_is_kept_and_the_training_too(config):
    train(config, should_stop=stop_after(5))
    config.output.write_bytes(b"another's")
    with pytest.raises(StyleCliError, match="exists"):
        train(config, resume=True)
    assert config.output.read_bytes() == b"another's"
    assert train(config, resume=True, overwrite=True).finished
    late = replace(config, seed=1)
    train(late, should_stop=stop_after(5), overwrite=True)
    assert train(late, resume=True).finished  # to overwrite was the wish at the start


def test_a_model_that_appears_at_the_last_moment_is_kept_and_the_training_too(config):
    def appear(event):
        config.output.write_bytes(b"another's")

    with pytest.raises(StyleCliError, match="exists") as caught:
        train(config, appear)
    assert "--resume --overwrite" in caught.value.hint  # --overwrite alone would begin again
    assert config.output.read_bytes() == b"another's"
    assert train(config, resume=True, overwrite=True).steps == 20


def test_a_roll_back_after_a_resume_is_the_same_as_without(config, tmp_path, monkeypatch):
    break_losses(monkeypatch, lambda step: step in (3, 14))
    train(config)
    halves = replace(config, output=tmp_path / "halves.safetensors")
    train(halves, should_stop=stop_after(10))
    train(halves, resume=True)
    weights, again = load_file(config.output), load_file(halves.output)
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_a_training_that_keeps_diverging_ends_in_an_error_and_writes_no_model(config, monkeypatch):
    break_losses(monkeypatch, lambda step: step >= 3)
    with pytest.raises(StyleCliError, match="diverged") as caught:
        train(config)
    assert caught.value.exit_code == 1
    assert not config.output.exists()


def test_init_starts_from_the_trained_weights_and_refuses_another_kind(config, tmp_path):
    train(replace(config, steps=5))
    warm = replace(
        config, steps=1, lr=1e-9, init=str(config.output), output=tmp_path / "w.safetensors"
    )
    train(warm)
    first, second = load_file(config.output), load_file(warm.output)
    assert all(torch.allclose(first[key], second[key], atol=1e-6) for key in first)
    with pytest.raises(StyleCliError, match=r"has arch residual, norm in, .* width 4"):
        train(replace(warm, norm="bn"), overwrite=True)


def test_a_warm_start_resumes_even_if_the_model_it_began_with_is_gone(config, tmp_path):
    train(replace(config, steps=2))
    warm = replace(config, init=str(config.output), output=tmp_path / "w.safetensors")
    train(warm, should_stop=stop_after(2))
    config.output.unlink()
    assert train(replace(warm, width=4), resume=True).finished


def test_what_is_only_for_looking_at_never_ends_a_training(config):
    files = TrainFiles(config.output)
    files.preview.mkdir()
    files.log.mkdir()
    events = []
    train(config, events.append, stop_after(10))
    assert train(config, events.append, resume=True).finished
    assert config.output.is_file()
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert any("preview.png" in text for text in notices)
    assert any(".jsonl" in text for text in notices)


def test_an_interrupted_training_survives_a_failed_attempt_to_replace_it(config, tmp_path):
    train(config, should_stop=stop_after(3))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "text.jpg").write_text("no image")
    with pytest.raises(StyleCliError, match="none of the 1 content photos"):
        train(replace(config, content=bad), overwrite=True)
    assert train(config, resume=True).finished


def test_half_a_line_in_the_log_does_not_stop_a_resume(config):
    train(config, should_stop=stop_after(10))
    files = TrainFiles(config.output)
    with files.log.open("a") as log:
        log.write('{"step": 1')
    files.log.write_bytes(files.log.read_bytes() + b"\xff")
    train(config, resume=True)
    assert [json.loads(x)["step"] for x in files.log.read_text().splitlines()] == [10, 20]


def test_a_time_budget_is_that_of_the_device_it_began_on(config, monkeypatch):
    untimed = replace(config, steps=None)
    train(untimed, should_stop=stop_after(2))
    monkeypatch.setitem(schedule.DEFAULT_MINUTES, "cpu", 0.001)  # as if another were faster
    saved = saved_config(TrainFiles(config.output), {})
    assert saved == replace(untimed, minutes=10.0)


def test_a_damaged_checkpoint_can_be_overwritten(config):
    TrainFiles(config.output).checkpoint.write_bytes(b"half")
    with pytest.raises(StyleCliError, match="interrupted training"):
        train(config)
    with pytest.raises(StyleCliError, match="cannot be read"):
        train(config, resume=True)
    assert train(replace(config, steps=1), overwrite=True).finished


def test_what_may_surprise_is_said(config):
    events = []
    train(replace(config, norm="bn", batch_size=1, style_size=500, steps=1), events.append)
    texts = " ".join(event.text for event in events if isinstance(event, Notice))
    assert "enlarged to 500" in texts
    assert "batch norm is instance norm" in texts


def test_a_gradient_that_is_not_finite_rolls_back_too(config, monkeypatch):
    sound = training._Training._losses

    def losses(self, photos):
        terms = sound(self, photos)
        if self.guard.recent and self.step == 5:
            terms["total"].register_hook(lambda gradient: gradient * torch.nan)
        return terms

    monkeypatch.setattr(training._Training, "_losses", losses)
    events = []
    train(config, events.append)
    assert sum("loss exploded" in e.text for e in events if isinstance(e, Notice)) == 1
    assert all(tensor.isfinite().all() for tensor in load_file(config.output).values())


def test_a_folder_with_product_shots_on_white_trains_like_any_other(config, photos):
    for i in range(6):
        shot = Image.new("RGB", (300, 200), "white")
        shot.paste((20 * i, 30, 30), (5, 5, 15, 25))
        shot.save(photos / f"shot-{i}.png")
    events = []
    # Without noise, a plane of one color stays one through all of the network.
    train(replace(config, content=photos, noise="none"), events.append)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert not any("exploded" in text for text in notices)
    assert any("6 of 9 content photos are mostly of one plain color" in text for text in notices)


def test_a_disk_that_is_full_for_a_while_costs_nothing(config, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0.0)
    files, steps = TrainFiles(config.output), []
    sound = Path.write_bytes

    def write(self, data):
        if self.name.startswith(".") and 3 <= len(steps) < 6:
            sound(self, data[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")
        return sound(self, data)

    def watch(event):
        events.append(event)
        if isinstance(event, Step):
            steps.append(model_files.read_metadata(files.checkpoint)["step"])

    events = []
    monkeypatch.setattr(Path, "write_bytes", write)
    assert train(replace(config, steps=9), watch).finished
    assert steps == [0, 1, 2, 2, 2, 2, 6, 7, 8]
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert sum("No space left" in text and "goes on" in text for text in notices) == 1
    assert not list(config.output.parent.glob(".stylecli-*"))


def test_a_model_that_cannot_be_written_leaves_the_whole_training_to_be_resumed(
    config, monkeypatch
):
    def full(*_):
        raise StyleCliError("cannot write: No space left on device")

    monkeypatch.setattr(training, "save_model", full)
    with pytest.raises(StyleCliError, match="No space left"):
        train(config)
    assert model_files.read_metadata(TrainFiles(config.output).checkpoint)["step"] == 20
    monkeypatch.undo()
    assert train(config, resume=True).steps == 20


def test_a_resume_takes_the_settings_that_it_is_not_given_from_the_checkpoint(config, photos):
    config = replace(config, content=photos, license="mine", style_weight=2.0)
    train(config, should_stop=stop_after(3))
    assert train(TrainConfig(output=config.output), resume=True).steps == 20
    info = read_info(config.output)
    assert (info.license, info.training["content"]) == ("mine", "photos")
    assert info.training["style_weight"] == 2.0
    train(config, should_stop=stop_after(3), overwrite=True)
    result = train(TrainConfig(output=config.output, steps=5, license="ours"), resume=True)
    assert (result.steps, read_info(config.output).license) == (5, "ours")


@pytest.mark.parametrize("wish", [{}, {"resume": True}, {"overwrite": True}])
def test_a_training_that_runs_is_not_begun_a_second_time(config, wish):
    said = []

    def meanwhile(event):
        if isinstance(event, Step) and event.step == 2:
            with pytest.raises(StyleCliError, match="is being trained") as caught:
                train(replace(config, steps=1), **wish)
            said.append(caught.value.hint)

    assert train(replace(config, steps=3), meanwhile).steps == 3
    assert "another --output" in said[0]
    assert not [path for path in config.output.parent.iterdir() if path.name.startswith(".")]


def test_a_training_that_was_killed_does_not_stand_in_the_way_of_its_resume(config):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from stylecli.training.files import TrainFiles\n"
        "with TrainFiles(Path(sys.argv[1])).lock():\n"
        "    os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(config.output)]
    assert subprocess.run(command, timeout=60).returncode == -9
    assert train(replace(config, steps=1)).finished


def test_where_there_are_no_locks_a_training_goes_on_without(config, monkeypatch):
    def unsupported(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", unsupported)
    assert train(replace(config, steps=1)).finished


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, None) for key in ("step", "seconds", "recent", "lr_factor", "scales")),
        *((key, None) for key in ("style_sha", "photos_sha", "spec", "style_names", "first_row")),
        ("step", "3"),
        ("step", True),
        ("recent", [3]),
        ("spec", {"width": True}),
        ("spec", {"brush": 1}),
        ("style_names", [1]),
        ("scales", {"style": 1.0}),
        ("config", {}),
        ("config", 5),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_line(stopped, key, value):
    files = TrainFiles(stopped.output)
    metadata = {k: v for k, v in model_files.read_metadata(files.checkpoint).items() if k != key}
    metadata |= {key: value} if value is not None else {}
    model_files.save_tensors(files.checkpoint, model_files.load_tensors(files.checkpoint), metadata)
    with pytest.raises(StyleCliError, match=r"m\.checkpoint\.safetensors") as caught:
        train(stopped, resume=True)
    assert "\n" not in caught.value.message
    assert "--overwrite" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {k: v for k, v in tensors.items() if not k.startswith("now.weights")},
        lambda tensors: {k: v for k, v in tensors.items() if not k.startswith("snapshot")},
        lambda tensors: {k: v for k, v in tensors.items() if "momentum_buffer" not in k},
        lambda tensors: {**tensors, "now.moments.what": torch.zeros(1)},
        lambda tensors: {k: v[:1] if v.ndim else v for k, v in tensors.items()},
    ],
)
def test_a_checkpoint_without_some_tensors_is_one_clear_line(stopped, change):
    files = TrainFiles(stopped.output)
    metadata, tensors = (f(files.checkpoint) for f in (model_files.read_metadata, load_file))
    model_files.save_tensors(files.checkpoint, change(tensors), metadata)
    with pytest.raises(StyleCliError, match=r"m\.checkpoint\.safetensors is damaged") as caught:
        train(stopped, resume=True)
    assert "\n" not in caught.value.message


@pytest.fixture
def stopped(config) -> TrainConfig:
    """A training that was stopped after two steps."""
    train(config, should_stop=stop_after(2))
    return config


def test_too_little_time_still_trains_one_step(config):
    assert train(replace(config, steps=None, minutes=1e-6)).steps == 1


def test_out_of_memory_is_a_clear_error(config, monkeypatch):
    def out_of_memory(self, photos):
        raise RuntimeError("not enough memory: you tried to allocate 99 GB\nmore")

    monkeypatch.setattr(training._Training, "_losses", out_of_memory)
    with pytest.raises(StyleCliError, match=r"allocate 99 GB$") as caught:
        train(config)
    assert "--resume" not in caught.value.hint  # nothing was saved yet
    monkeypatch.undo()
    sound = training._Training._losses

    def later(self, photos):
        return out_of_memory(self, photos) if self.step == 3 else sound(self, photos)

    monkeypatch.setattr(training._Training, "_losses", later)
    with pytest.raises(StyleCliError, match=r"allocate 99 GB$") as caught:
        train(config)
    assert "--resume goes on from" in caught.value.hint


def test_one_step_and_two_steps():
    assert str(schedule.Schedule(TrainConfig(steps=1), "cpu")) == "1 step"
    assert str(schedule.Schedule(TrainConfig(steps=2), "cpu")) == "2 steps"
    assert choose_from("x", ["a"]) == "there is: a"
    assert choose_from("x", ["b", "a"]) == "there are: a, b"


def test_the_name_comes_from_the_painting(painting):
    files = TrainFiles.of(TrainConfig(styles=(painting,)))
    assert files.model.as_posix() == "models/waves-lines.safetensors"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 5, "minutes": 1.0}, "both --steps and --minutes"),
        ({"steps": None, "minutes": float("inf")}, "--minutes inf is out of range"),
        ({"steps": None, "minutes": 0.0}, "--minutes 0.0 is out of range"),
        ({"steps": 0}, "--steps 0 is out of range"),
        ({"small_crops": 67.0}, "--small-crops 67.0 is out of range"),
        ({"batch_size": 0}, "--batch-size 0 is out of range"),
        ({"size": 10}, "--size 10 is out of range"),
        ({"style_weight": float("nan")}, "--style-weight nan"),
        ({"seed": -1}, "--seed -1"),
        ({"seed": 10**20}, "--seed 1000"),
        ({"lr": -1.0}, "--lr -1.0"),
        ({"norm": "batch"}, "unknown --norm"),
        ({"content_layer": "relu9_9"}, "no layer 'relu9_9'"),
        ({"device": "gpu"}, "unknown device"),
        ({"precision": "half"}, "unknown --precision"),
        ({"init": "no-such-model"}, "no model named"),
        ({"loss_net": "resnet"}, "unknown loss network"),
    ],
)
def test_a_bad_setting_is_an_error_before_anything_is_written_or_computed(
    config, tmp_path, monkeypatch, changes, says
):
    monkeypatch.setattr(training, "balance", None)  # it takes seconds
    new = tmp_path / "new" / "m.safetensors"
    with pytest.raises(StyleCliError, match=says):
        train(replace(config, output=new, **changes))
    assert not new.parent.exists()


def test_a_log_of_other_lines_does_not_cost_the_model(config):
    files = TrainFiles(config.output)
    files.log.write_text('{"step": 10, "a": 1}\n{"step": 20, "total": 3}\n')
    assert files.curve() == []


@pytest.mark.parametrize(
    "changes", [{"size": 384.5}, {"seed": 0.5}, {"optimizer": []}, {"style_layers": "relu1_2"}]
)
def test_a_setting_of_another_type_is_one_clear_line(config, changes):
    (name,) = changes
    with pytest.raises(StyleCliError, match=f"--{name.replace('_', '-')} "):
        train(replace(config, **changes))


def test_the_edges_of_a_loss_lie_elsewhere_in_every_step(config):
    config = replace(config, loss_margin=0.16)
    parts = [training.inner_part(config, step, (100, 200)) for step in range(300)]
    assert parts[7] == training.inner_part(config, 7, (100, 200))
    assert {(down.stop - down.start, across.stop - across.start) for down, across in parts} == {
        (84, 168)
    }
    assert {down.start for down, _ in parts} == set(range(17))
    assert {across.start for _, across in parts} == set(range(33))
    whole = training.inner_part(replace(config, loss_margin=0.0), 7, (100, 200))
    assert whole == (slice(0, 100), slice(0, 200))
