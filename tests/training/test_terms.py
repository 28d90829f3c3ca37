"""The terms of a training step, each against a formula of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from budget import BUDGET
from stylecli.config import TrainConfig
from stylecli.core.devices import Rank, to_tensor
from stylecli.core.torch_backend import finish_images
from stylecli.files.images import read_rgb
from stylecli.training.losses import (
    compute_losses,
    draw_share,
    draw_strength,
    hatch_loss,
    inner_part,
    lay_over,
    still_loss,
)
from stylecli.training.outputs import TrainFiles
from stylecli.training.parallel import Ranks
from stylecli.training.setup import set_up

SIDE, LAYERS = 96, ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


def begin(config):
    """A training before its first step, and a batch of photos for it."""
    layers = {"style_layers": LAYERS, "content_layer": "relu3_3"}
    config = replace(config, size=SIDE, precision="float32", **layers)
    training = set_up(
        config, TrainFiles.of(config), lambda event: None, None, Ranks(Rank()), overwrite=False
    )
    photos = training.inputs.photos.batch(0, config.batch_size, SIDE)
    return training, to_tensor(photos, torch.device("cpu"))


def gram(features):
    count, channels, height, width = features.shape
    flat = features.double().reshape(count, channels, -1)
    return torch.einsum("ncx,nkx->nck", flat, flat) / (channels * height * width)


def style_loss(network, pictures, painting):
    ours, theirs = (network(images, LAYERS) for images in (pictures, painting))
    return sum((gram(ours[k]) - gram(theirs[k])).square().mean() for k in LAYERS)


def content_loss(network, pictures, photos):
    ours, theirs = (network(images, ("relu3_3",))["relu3_3"] for images in (pictures, photos))
    return (ours.double() - theirs.double()).square().mean()


def averaged_down(images, scale):
    parts = [images[..., i::scale, j::scale] for i in range(scale) for j in range(scale)]
    return torch.stack(parts).mean(0)


def test_a_step_paints_over_its_own_painting_as_the_seed_and_its_number_say():
    drawn = [draw_share(TrainConfig(), step) for step in range(2000)]
    own = [one for one in drawn if one]
    assert len(own) / len(drawn) == pytest.approx(0.55, abs=0.04)
    assert (min(own), max(own)) == pytest.approx((0.45, 0.85), abs=0.01)
    assert np.mean(own) == pytest.approx(0.65, abs=0.02)
    assert drawn[7] == draw_share(TrainConfig(), 7)
    assert drawn != [draw_share(TrainConfig(seed=1), step) for step in range(2000)]
    assert not any(draw_share(TrainConfig(recipe="paper"), step) for step in range(100))


def test_each_step_draws_how_strongly_its_pictures_are_finished():
    drawn = [draw_strength(TrainConfig(), step) for step in range(500)]
    assert (min(drawn), max(drawn)) == pytest.approx((0, 0.95), abs=0.01)
    assert drawn[7] == draw_strength(TrainConfig(), 7)
    assert not any(draw_strength(TrainConfig(recipe="paper"), step) for step in range(100))


def test_that_input_is_a_share_of_the_painting_and_the_rest_the_photo():
    ramp = torch.linspace(0.1, 0.9, SIDE).expand(1, 3, SIDE, SIDE).clone()
    painting = (1 - averaged_down(ramp, 2)).requires_grad_()  # a negative
    mixed = lay_over(ramp, painting, 0.75)
    inside = slice(8, -8)  # at the edges, what lies beyond them counts too
    expected = 0.75 * (1 - ramp) + 0.25 * ramp
    torch.testing.assert_close(
        mixed[..., inside, inside], expected[..., inside, inside], rtol=0, atol=1e-3
    )
    assert mixed.requires_grad


@pytest.mark.parametrize(("steadiness", "least", "most"), [("photo", 0, 0.02), ("screen", 0.1, 1)])
def test_a_picture_is_still_if_its_strokes_move_with_the_photo(steadiness, least, most):
    """Strokes that stay where they are on the screen are not still."""
    photos = torch.rand(2, 3, 64, 64, generator=torch.manual_seed(0))
    strokes = torch.rand(1, 3, 64, 64)

    def paint(images):
        return images * (strokes if steadiness == "screen" else 0.5)

    losses = [still_loss(paint, photos, paint(photos), 0, step).item() for step in range(4)]
    assert least <= min(losses)
    assert max(losses) <= most
    assert losses[2] == still_loss(paint, photos, paint(photos), 0, 2).item()
    noisy = still_loss(lambda images: images, photos, photos, 0, 1).item()
    assert noisy == pytest.approx(3 / 255 * (2 / np.pi) ** 0.5, rel=0.05)  # the noise alone


@pytest.mark.parametrize("step", [0, 1, 2, 3])  # two of them paint over their own painting
def test_content_and_style_count_at_three_scales_and_the_rest_at_full_size(config, step):
    training, photos = begin(config)
    training.step = step
    network, objectives = training.inputs.network, training.objectives
    terms = compute_losses(training, photos)
    generator, seeds = training.generator, torch.tensor([2 * step, 2 * step + 1])
    with torch.no_grad():
        half = (SIDE // 2, SIDE // 2)
        small = functional.interpolate(photos, half, mode="bilinear", antialias=True)
        painted = generator(small, seeds=seeds)
        still = still_loss(lambda x: generator(x, seeds=seeds), small, painted, 0, step)
        enlarged = functional.interpolate(painted.clamp(0, 1), (SIDE, SIDE), mode="bicubic")
        share = draw_share(training.config, step)
        seen = share * enlarged.clamp(0, 1) + (1 - share) * photos
        stylized = generator(seen, seeds=seeds)
        shown = finish_images(stylized, photos, draw_strength(training.config, step))
        down, across = inner_part(0, step, (SIDE, SIDE), 0.16)
        assert down.stop - down.start == SIDE - 16
        theirs, ours = (images[:, :, down, across] for images in (photos, shown))
        content = style = 0.0
        for scale, objective in zip((1, 2, 4), objectives, strict=True):
            painting = to_tensor(read_rgb(config.styles[0], 64 // scale)[None], torch.device("cpu"))
            pictures, of_photos = (averaged_down(images, scale) for images in (ours, theirs))
            content += content_loss(network, pictures, of_photos)
            style += objective.scales.style[0] * style_loss(network, pictures, painting)
        steep = sum(((255 * ours).diff(dim=axis) ** 2).sum() for axis in (2, 3)) / ours.numel()
        factor = objectives[0].scales.tv
    expected = {
        "content": 1.5 * content,
        "style": 0.5 * style,
        "tv": 0.2 * factor * steep,
        "hatch": 0.4 * 1e5 * factor * hatch_loss(stylized, photos),
        "still": 2.8e6 * factor * still,
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(float(value), rel=1e-3), name
    assert terms["total"].item() == pytest.approx(float(sum(expected.values())), rel=1e-3)
    assert {bool(draw_share(training.config, n)) for n in range(4)} == {True, False}


def test_each_scale_is_balanced_against_the_painting_of_its_own_size(config):
    training, _ = begin(config)
    network = training.inputs.network
    count = BUDGET["training.setup.BALANCE_PHOTOS"]
    photos = to_tensor(training.inputs.photos.batch(0, count, SIDE), torch.device("cpu"))
    energy = network(photos, ("relu3_3",))["relu3_3"].double().square().mean()
    for objective, side in zip(training.objectives, (64, 32, 16), strict=True):
        painting = to_tensor(read_rgb(config.styles[0], side)[None], torch.device("cpu"))
        losses = [style_loss(network, photo[None], painting) for photo in photos]
        expected = 40 * energy / torch.stack(losses).mean()
        assert objective.scales.style[0] == pytest.approx(float(expected), rel=1e-3)
        assert objective.scales.tv == pytest.approx(float(energy) / 2e5, rel=1e-3)


def test_the_paper_knows_one_pass_one_scale_and_three_terms(config):
    training, photos = begin(replace(config, recipe="paper"))
    assert len(training.objectives) == 1
    terms = compute_losses(training, photos)
    (objective,) = training.objectives
    wanted = objective(training.generator(photos), objective.content_target(photos))
    assert terms.keys() == wanted.keys() == {"content", "style", "tv", "total"}
    for name, value in wanted.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5)


def test_a_gradient_reaches_every_weight_of_the_generator_and_nothing_else(config):
    training, photos = begin(config)
    training.step = next(n for n in range(9) if draw_share(training.config, n))
    passes = []
    forward = training.generator.forward

    def spy(*args, **kwargs):
        passes.append((torch.is_grad_enabled(), training.generator.training))
        return forward(*args, **kwargs)

    training.generator.forward = spy
    photos.requires_grad_()
    compute_losses(training, photos)["total"].backward()
    # The photos small, the same moved, and the large picture; batch norm learns from that alone.
    assert passes == [(True, False), (True, False), (True, True)]
    for name, parameter in training.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert not any(buffer.requires_grad for buffer in training.inputs.network.buffers())
