"""The terms of a training step, each against a formula of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from budget import BUDGET
from stylecli.config import TrainConfig
from stylecli.core.devices import to_tensor
from stylecli.files.images import read_rgb
from stylecli.training.files import TrainFiles
from stylecli.training.losses import (
    compute_losses,
    draw_own_input,
    hatch_loss,
    inner_part,
    paint_over,
)
from stylecli.training.parallel import Ranks
from stylecli.training.setup import set_up

SIDE, LAYERS = 96, ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


def begin(config):
    """A training before its first step, and a batch of photos for it."""
    layers = {"style_layers": LAYERS, "content_layer": "relu3_3"}
    config = replace(config, size=SIDE, precision="float32", **layers)
    training = set_up(
        config, TrainFiles.of(config), lambda event: None, None, Ranks(), overwrite=False
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


def halved(images):
    return (images[..., ::2, ::2] + images[..., 1::2, ::2]
            + images[..., ::2, 1::2] + images[..., 1::2, 1::2]) / 4  # fmt: skip


def test_a_step_paints_over_its_own_painting_as_the_seed_and_its_number_say():
    drawn = [draw_own_input(TrainConfig(), step) for step in range(2000)]
    own = [one for one in drawn if one]
    assert len(own) / len(drawn) == pytest.approx(0.55, abs=0.04)
    factors, shares = zip(*own, strict=True)
    assert {round(factors.count(factor) / len(own), 1) for factor in (2, 2.5, 3)} == {0.3}
    assert (min(shares), max(shares)) == pytest.approx((0.45, 0.85), abs=0.01)
    assert np.mean(shares) == pytest.approx(0.65, abs=0.02)
    assert drawn[7] == draw_own_input(TrainConfig(), 7)
    assert drawn != [draw_own_input(TrainConfig(seed=1), step) for step in range(2000)]
    assert not any(draw_own_input(TrainConfig(recipe="paper"), step) for step in range(100))


def test_that_input_is_a_share_of_the_painting_and_the_rest_the_photo(config):
    training, _ = begin(config)
    ramp = torch.linspace(0.1, 0.9, SIDE).expand(1, 3, SIDE, SIDE).clone().requires_grad_()
    seen = []

    def paint(photos):
        seen.append((photos.shape[2:], training.generator.training))
        return 1 - photos  # a negative

    mixed = paint_over(training.generator, paint, ramp, 3.0, 0.75)
    assert seen == [((32, 32), False)]
    assert training.generator.training
    assert not mixed.requires_grad
    inside = slice(8, -8)  # at the edges, what lies beyond them counts too
    expected = 0.75 * (1 - ramp) + 0.25 * ramp
    torch.testing.assert_close(
        mixed[..., inside, inside], expected.detach()[..., inside, inside], rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("step", [0, 1, 2, 3])  # two of them paint over their own painting
def test_content_and_style_count_at_two_scales_and_the_rest_at_full_size(config, step):
    training, photos = begin(config)
    training.step = step
    network, (full, half) = training.inputs.network, training.objectives
    terms = compute_losses(training, photos)
    generator, seeds = training.generator, torch.tensor([2 * step, 2 * step + 1])
    with torch.no_grad():
        drawn = draw_own_input(training.config, step)
        seen = photos
        if drawn:
            factor, share = drawn
            side = round(SIDE / factor)
            small = functional.interpolate(photos, (side, side), mode="bilinear", antialias=True)
            painted = generator(small, seeds=seeds).clamp(0, 1)
            enlarged = functional.interpolate(painted, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
            seen = share * enlarged + (1 - share) * photos
        stylized = generator(seen, seeds=seeds)
        down, across = inner_part(0, step, (SIDE, SIDE), 0.16)
        assert down.stop - down.start == SIDE - 16
        theirs, ours = (images[:, :, down, across] for images in (photos, stylized))
        paintings = [
            to_tensor(read_rgb(config.styles[0], side)[None], torch.device("cpu"))
            for side in (64, 32)
        ]
        content = content_loss(network, ours, theirs)
        content += content_loss(network, halved(ours), halved(theirs))
        style = full.scales.style[0] * style_loss(network, ours, paintings[0])
        style += half.scales.style[0] * style_loss(network, halved(ours), paintings[1])
        steep = sum(((255 * ours).diff(dim=axis) ** 2).sum() for axis in (2, 3)) / ours.numel()
        hatch = 0.4 * 1e5 * full.scales.tv * hatch_loss(stylized, photos)
    expected = {
        "content": 1.5 * content,
        "style": 0.5 * style,
        "tv": 0.2 * full.scales.tv * steep,
        "hatch": hatch,
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(float(value), rel=1e-3), name
    assert terms["total"].item() == pytest.approx(float(sum(expected.values())), rel=1e-3)
    assert {bool(draw_own_input(training.config, n)) for n in range(4)} == {True, False}


def test_each_scale_is_balanced_against_the_painting_of_its_own_size(config):
    training, _ = begin(config)
    network = training.inputs.network
    count = BUDGET["training.setup.BALANCE_PHOTOS"]
    photos = to_tensor(training.inputs.photos.batch(0, count, SIDE), torch.device("cpu"))
    energy = network(photos, ("relu3_3",))["relu3_3"].double().square().mean()
    for objective, side in zip(training.objectives, (64, 32), strict=True):
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
    training.step = next(n for n in range(9) if draw_own_input(training.config, n))
    painted = []
    forward = training.generator.forward

    def spy(*args, **kwargs):
        painted.append((forward(*args, **kwargs), torch.is_grad_enabled()))
        return painted[-1][0]

    training.generator.forward = spy
    photos.requires_grad_()
    compute_losses(training, photos)["total"].backward()
    assert [with_gradient for _, with_gradient in painted] == [False, True]
    assert not painted[0][0].requires_grad
    for name, parameter in training.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert not any(buffer.requires_grad for buffer in training.inputs.network.buffers())
