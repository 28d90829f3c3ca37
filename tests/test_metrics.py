"""The metrics of a comparison against values worked out in another way."""

import numpy as np
import pytest
import torch
from PIL import Image

from stylecli.comparison.metrics import (
    batch_dependence,
    contrast_sensitivity,
    feature_distance,
    grams_at_scales,
    pixel_distance,
    steps_to_reach,
    style_at_scales,
    time_networks,
    with_contrast,
)
from stylecli.config import ObjectiveConfig
from stylecli.core.generators import Generator
from stylecli.core.objective import Scales, build_objective
from stylecli.core.spec import GeneratorSpec
from stylecli.core.torch_layers import use_batch_statistics
from stylecli.core.vgg import load_loss_network
from stylecli.files.content import bundled_photos


@pytest.fixture(scope="module")
def photo():
    rgb = np.asarray(Image.open(bundled_photos()[3]).resize((64, 48)))
    return torch.tensor(rgb).permute(2, 0, 1)[None] / 255


@pytest.fixture(scope="module")
def objective():
    torch.manual_seed(0)
    images = [torch.rand(1, 3, 48, 48)]
    return build_objective(ObjectiveConfig(), load_loss_network(), images, Scales((1.0,), 1.0))


def test_contrast_is_scaled_around_the_mean_of_each_color(photo):
    rgb = photo[0].numpy().astype(np.float64)
    by_hand = np.stack([plane.mean() + 0.25 * (plane - plane.mean()) for plane in rgb])
    np.testing.assert_allclose(with_contrast(photo, 0.25)[0], by_hand, atol=1e-6)
    assert torch.equal(with_contrast(photo, 1).round(decimals=5), photo.round(decimals=5))


def test_distances_are_what_numpy_says(photo, objective):
    other = (photo * 0.5 + 0.1).clamp(0, 1)
    expected = np.abs(photo.numpy() * 255 - other.numpy() * 255).mean()
    assert pixel_distance(photo, other) == pytest.approx(expected, rel=1e-5)
    a, b = (objective.network(x, ("relu3_3",))["relu3_3"].double().numpy() for x in (photo, other))
    expected = ((a - b) ** 2).sum() / (a**2).sum()
    features = map(objective.content_target, (photo, other))
    assert feature_distance(*features) == pytest.approx(expected, rel=1e-5)


def test_a_painter_that_only_copies_moves_by_the_contrast_that_was_taken(photo, objective):
    moved = contrast_sensitivity(lambda x: x, photo, objective)
    spread = np.abs(photo.numpy() - photo.numpy().mean((2, 3), keepdims=True)).mean() * 255
    assert moved["0.5"]["pixels"] == pytest.approx(0.5 * spread, rel=1e-4)
    assert moved["0.25"]["pixels"] == pytest.approx(0.75 * spread, rel=1e-4)
    assert 0 < moved["0.5"]["features"] < moved["0.25"]["features"]


def test_batch_dependence_is_nothing_for_instance_norm_and_running_statistics(photo):
    torch.manual_seed(0)
    batches = [torch.rand(2, *photo.shape[1:]), torch.zeros(2, *photo.shape[1:])]
    depends = {}
    for norm in ("in", "bn", "bn-batch"):
        generator = Generator(GeneratorSpec("residual", norm.partition("-")[0], 4)).eval()
        if norm == "bn-batch":
            use_batch_statistics(generator)
        with torch.no_grad():
            depends[norm] = batch_dependence(generator, photo, batches)
    assert depends["in"] < 1e-3
    assert depends["bn"] < 1e-3
    assert depends["bn-batch"] > 0.1


def test_batch_statistics_make_batch_norm_of_one_photo_instance_norm(photo):
    torch.manual_seed(0)
    bn = Generator(GeneratorSpec("residual", "bn", 4)).eval()
    instance = Generator(GeneratorSpec("residual", "in", 4)).eval()
    shared = {k: v for k, v in bn.state_dict().items() if k in instance.state_dict()}
    instance.load_state_dict(shared)
    with torch.no_grad():
        by_batch = use_batch_statistics(bn)(photo)
        torch.testing.assert_close(by_batch, instance(photo), atol=1e-4, rtol=0)


def test_steps_to_reach_counts_from_the_untouched_photo():
    assert steps_to_reach([9.0, 7.0, 3.0, 1.0], 3.0) == 2
    assert steps_to_reach([9.0, 7.0], 10.0) == 0
    assert steps_to_reach([9.0, 7.0], 1.0) is None


def averaged(image, by):
    """An image (1, 3, H, W), each pixel of which is the mean of by x by."""
    height, width = (side // by for side in image.shape[2:])
    parts = image.numpy().astype(np.float64)[:, :, : height * by, : width * by]
    return parts.reshape(1, 3, height, by, width, by).mean((3, 5))


def test_style_at_scales_is_what_numpy_says(photo):
    network = load_loss_network()
    torch.manual_seed(0)
    picture, painting = (photo + 0.2 * torch.rand_like(photo)).clamp(0, 1), torch.rand(1, 3, 64, 48)

    def distance(image, by):
        total = 0.0
        for layer in ("relu1_2", "relu2_2", "relu3_3", "relu4_3"):
            ours, theirs = (
                network(torch.tensor(averaged(x, by)).float(), (layer,))[layer][0].double().numpy()
                for x in (image, painting)
            )
            grams = [np.einsum("ihw,jhw->ij", f, f) / f.size for f in (ours, theirs)]
            total += ((grams[0] - grams[1]) ** 2).mean() / (grams[1] ** 2).mean()
        return total

    y, s, x = (grams_at_scales(image, network) for image in (picture, painting, photo))
    expected = [distance(picture, by) / distance(photo, by) for by in (1, 2, 4)]
    assert style_at_scales(y, s, x) == pytest.approx(expected, rel=1e-3)
    assert style_at_scales(x, s, x) == (1, 1, 1)
    assert style_at_scales(s, s, x) == (0, 0, 0)


def test_a_picture_with_small_strokes_alone_is_far_from_the_painting_at_smaller_scales(photo):
    """What scale 1 cannot tell: a fine grain over a photo, against one texture at every scale."""
    network = load_loss_network()
    torch.manual_seed(0)
    large = torch.rand(1, 3, 12, 16).repeat_interleave(8, 2).repeat_interleave(8, 3)
    painting = 0.3 * large + 0.7 * torch.rand(1, 3, 96, 128)
    grain = 0.3 * 0.5 + 0.7 * torch.rand_like(painting)
    plain = torch.full_like(painting, 0.5)
    y, s, x = (grams_at_scales(image, network) for image in (grain, painting, plain))
    fine, _, coarse = style_at_scales(y, s, x)
    assert fine < 0.7 * coarse


def test_networks_are_timed_in_turns_and_the_least_time_counts(photo, monkeypatch):
    """Or a busy minute makes one of two equal networks look slower."""
    clock, calls = [0.0], []
    monkeypatch.setattr("stylecli.comparison.metrics.time.perf_counter", lambda: clock[0])

    def network(name):
        def paint(image):
            calls.append(name)
            busy = len(calls) < 12  # at first, something else runs too
            clock[0] += 5.0 if busy else 0.25
            return image

        return paint

    assert time_networks([network("a"), network("b")], photo) == [250, 250]
    assert calls == ["a", "b"] * (len(calls) // 2)
