"""Odd batches and explosions: what is left out, what is undone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stylecli.core.model_files import read_info
from stylecli.errors import StyleCliError
from stylecli.events import Notice, Step
from stylecli.files.content import ContentPhotos
from stylecli.training import loop
from stylecli.training.loop import train
from stylecli.training.optimizers import Guard
from trainings import break_losses


@pytest.mark.parametrize(
    ("factor", "steps"),
    [(torch.nan, (5, 12)), (100.0, (11, 12, 13, 15, 16, 17))],
)
def test_a_loss_that_explodes_rolls_back_to_the_last_good_weights(
    config, monkeypatch, factor, steps
):
    def is_good(guard):
        now = guard.state()
        return all(torch.equal(now[name], tensor) for name, tensor in guard.snapshot.items())

    before_and_after = []
    roll_back = Guard.roll_back

    def spy(self):
        was = is_good(self)
        said = roll_back(self)
        before_and_after.append((was, is_good(self)))
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
    only_white = ContentPhotos.batch

    def batch(self, number, batch_size, size):
        photos = only_white(self, number, batch_size, size)
        return np.full_like(photos, 255) if number == 11 else photos

    monkeypatch.setattr(ContentPhotos, "batch", batch)
    break_losses(monkeypatch, lambda step: step == 11, factor=100.0)
    seen = []  # of each buffer, whether it is the one of the snapshot, or the one with the photos
    refuse = Guard.refuse

    def spy(self, total):
        with_them = {name: buffer.clone() for name, buffer in self.generator.named_buffers()}
        said = refuse(self, total)
        for name, buffer in self.generator.named_buffers():
            if name != "seed":  # no photo changes it
                good = self.snapshot[f"weights.{name}"]
                seen.append((torch.equal(buffer, good), torch.equal(buffer, with_them[name])))
        return said

    monkeypatch.setattr(Guard, "refuse", spy)
    train(replace(config, norm="bn", steps=13))
    assert seen
    assert set(seen) == {(True, False)}


def test_losses_that_are_off_at_the_very_end_do_not_reach_the_model(config, monkeypatch):
    sound = loop.compute_losses

    def explode(training, photos):
        if training.step == 18:
            with torch.no_grad():
                for parameter in training.generator.parameters():
                    parameter.mul_(1e3)
        return sound(training, photos)

    monkeypatch.setattr(loop, "compute_losses", explode)
    events = []
    train(config, events.append)
    assert any("the last losses were off" in e.text for e in events if isinstance(e, Notice))
    assert max(float(tensor.abs().max()) for tensor in load_file(config.output).values()) < 10


def test_a_training_that_keeps_diverging_ends_in_an_error_and_writes_no_model(config, monkeypatch):
    break_losses(monkeypatch, lambda step: step >= 3)
    with pytest.raises(StyleCliError, match="diverged") as caught:
        train(config)
    assert caught.value.exit_code == 1
    assert not config.output.exists()


def test_a_gradient_that_is_not_finite_rolls_back_too(config, monkeypatch):
    sound = loop.compute_losses

    def losses(training, photos):
        terms = sound(training, photos)
        if training.guard.recent and training.step == 5:
            terms["total"].register_hook(lambda gradient: gradient * torch.nan)
        return terms

    monkeypatch.setattr(loop, "compute_losses", losses)
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
    train(replace(config, content=photos, recipe="paper"), events.append)
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert not any("exploded" in text for text in notices)
