"""The loop: what it tells and writes on the way, and what it never loses."""

import errno
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stylecli.core import tensor_files
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Step
from stylecli.files.content import ContentPhotos
from stylecli.training import loop, schedule
from stylecli.training.loop import train
from stylecli.training.optimizers import GeneratorOptimizer
from stylecli.training.outputs import TrainFiles
from stylecli.training.parallel import Ranks
from trainings import break_losses, stop_after


class Clock:
    """Tells the time that it is set to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_settings_reach_what_they_are_about(config, monkeypatch):
    seen = {"sizes": [], "factors": [], "previews": 0}
    batch, step = ContentPhotos.batch, GeneratorOptimizer.step
    preview, init = loop.write_preview, GeneratorOptimizer.__init__

    def spy_batch(self, number, batch_size, size):
        seen["sizes"].append((number, size))
        return batch(self, number, batch_size, size)

    def spy_step(self, factor):
        seen["factors"].append(factor)
        step(self, factor)

    def spy_init(self, parameters, name, lr):
        seen["optimizer"] = (name, lr)
        init(self, parameters, name, lr)

    def spy_preview(training):
        seen["previews"] += 1
        seen["settings"] = training.objectives[0].settings
        seen["padding"] = training.objectives[0].network.padding
        preview(training)

    monkeypatch.setattr(ContentPhotos, "batch", spy_batch)
    monkeypatch.setattr(GeneratorOptimizer, "step", spy_step)
    monkeypatch.setattr(GeneratorOptimizer, "__init__", spy_init)
    monkeypatch.setattr(loop, "write_preview", spy_preview)
    monkeypatch.setattr(loop, "FIRST_PREVIEW", 1e9)
    break_losses(monkeypatch, lambda step: step == 10)
    weights = {"content_weight": 2.0, "style_weight": 3.0, "tv_weight": 0.5}
    how = {"optimizer": "adam", "lr": 1e-3, "loss_padding": "zeros"}
    train(replace(config, **weights, **how, size=96))
    assert {size for number, size in seen["sizes"] if 0 < number < 14} == {72}
    assert {size for number, size in seen["sizes"] if 14 <= number < 20} == {96}
    assert seen["optimizer"] == ("adam", 1e-3)
    assert {name: getattr(seen["settings"], name) for name in weights} == weights
    assert seen["padding"] == "zeros"
    assert seen["previews"] == 1  # at the end
    usual = [schedule.learning_rate_factor(done / 20) for done in range(20)]
    assert seen["factors"] == usual[:10] + [factor / 2 for factor in usual[11:]]


def test_previews_take_a_bounded_share_of_the_time(config, monkeypatch):
    clock, written = Clock(), []
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(schedule.Schedule.__init__, "__defaults__", (clock,))
    monkeypatch.setattr(Ranks, "now", lambda self: clock.now)

    def preview(training):
        written.append(training.step)
        clock.now += 4  # seconds

    def losses(training, photos):
        clock.now += 2
        return sound(training, photos)

    sound = loop.compute_losses
    monkeypatch.setattr(loop, "compute_losses", losses)
    monkeypatch.setattr(loop, "write_preview", preview)
    train(replace(config, steps=60))
    # One after 20 s; the next 80 s after that, as it took 4 s; one at the end.
    assert written == [10, 10 + (80 - 4) // 2, 60]


def test_a_time_budget_is_kept(config, monkeypatch):
    clock, sound = Clock(), loop.compute_losses

    def losses(training, photos):
        clock.now += 2
        return sound(training, photos)

    monkeypatch.setattr(Ranks, "now", lambda self: clock.now)
    monkeypatch.setattr(loop, "compute_losses", losses)
    result = train(replace(config, steps=None, minutes=0.2))
    assert (result.steps, result.seconds) == (6, 12)


def test_too_little_time_still_trains_one_step(config):
    assert train(replace(config, steps=None, minutes=1e-6)).steps == 1


def test_out_of_memory_is_a_clear_error(config, monkeypatch):
    sound = loop.compute_losses

    def out_of_memory(training, photos):
        raise RuntimeError("not enough memory: you tried to allocate 99 GB\nmore")

    monkeypatch.setattr(loop, "compute_losses", out_of_memory)
    with pytest.raises(StyleCliError, match=r"allocate 99 GB$") as caught:
        train(config)
    assert "--resume" not in caught.value.hint  # nothing was saved yet

    def later(training, photos):
        return out_of_memory(training, photos) if training.step == 3 else sound(training, photos)

    monkeypatch.setattr(loop, "compute_losses", later)
    with pytest.raises(StyleCliError, match=r"allocate 99 GB$") as caught:
        train(config)
    assert "--resume goes on from" in caught.value.hint


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("styles", "x.jpg"),
        ("styles", ("x.jpg",)),
        ("styles", Path("x.jpg")),
        ("output", "x.safetensors"),
        ("content", "photos"),
        ("add_style", "x.jpg"),
        ("style_layers", "relu1_2"),
        ("size", "64"),
        ("size", 384.5),
        ("seed", 0.5),
        ("optimizer", []),
        ("minutes", "1"),
        ("license", None),
        ("init", None),
        ("seed", None),
    ],
)
def test_a_setting_of_another_type_is_one_error_from_python(config, field, value, resume):
    if field == "minutes":
        config = replace(config, steps=None)
    with pytest.raises(StyleCliError, match=f"--{field.replace('_', '-')} takes a"):
        train(replace(config, **{field: value}), resume=resume)


def test_a_bug_in_a_training_stays_what_it_is(config, monkeypatch):
    def broken(training, photos):
        raise NotImplementedError("no such kernel")

    monkeypatch.setattr(loop, "compute_losses", broken)
    with pytest.raises(NotImplementedError, match="no such kernel"):
        train(config)


def test_a_model_that_appears_meanwhile_is_kept_and_the_training_too(config):
    train(config, should_stop=stop_after(5))
    config.output.write_bytes(b"another's")
    with pytest.raises(StyleCliError, match="exists") as caught:
        train(config, resume=True)
    assert "move that model" in caught.value.hint  # another --output has nothing to resume
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


def test_a_model_that_cannot_be_written_leaves_the_whole_training_to_be_resumed(
    config, monkeypatch
):
    def full(*_):
        raise StyleCliError("cannot write: No space left on device")

    monkeypatch.setattr("stylecli.training.loop.save_model", full)
    with pytest.raises(StyleCliError, match="No space left"):
        train(config)
    assert tensor_files.read_metadata(TrainFiles(config.output).checkpoint)["step"] == 20
    monkeypatch.undo()
    assert train(config, resume=True).steps == 20


def test_a_disk_that_is_full_for_a_while_costs_nothing(config, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
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
            there = files.checkpoint.exists()  # the first is written after a step
            steps.append(tensor_files.read_metadata(files.checkpoint)["step"] if there else 0)

    events = []
    monkeypatch.setattr(Path, "write_bytes", write)
    assert train(replace(config, steps=9), watch).finished
    assert steps == [0, 1, 2, 2, 2, 2, 6, 7, 8]
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert sum("No space left" in text and "goes on" in text for text in notices) == 1
    assert not list(config.output.parent.glob(".stylecli-*"))


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
