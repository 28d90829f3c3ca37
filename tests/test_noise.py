"""Noise: the same numbers wherever they are computed, and as good as random."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecli.core.architectures import ARCHITECTURES
from stylecli.core.architectures.layers import noise_plane
from stylecli.core.devices import to_tensor
from stylecli.core.generators import Generator
from stylecli.core.spec import GeneratorSpec
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb


def plane(height, width, layer=0, seed=0, top=0):
    return noise_plane(np.arange(top, top + height)[:, None], np.arange(width), layer, seed)


@settings(max_examples=20, deadline=None)
@given(
    top=st.integers(0, 60_000),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    layer=st.integers(0, 20),
    seed=st.integers(0, 2**31 - 1),
)
def test_torch_computes_what_numpy_does_and_a_part_is_a_part_of_the_whole(
    top, height, width, layer, seed
):
    rows, columns = torch.arange(top, top + height)[:, None], torch.arange(width)
    ours = noise_plane(rows, columns, layer, seed)
    np.testing.assert_allclose(ours.numpy(), plane(height, width, layer, seed, top), atol=1e-6)
    larger = plane(height + 5, width + 3, layer, seed, top)
    np.testing.assert_array_equal(larger[:height, :width], plane(height, width, layer, seed, top))


def test_numbers_are_nearly_normal_and_do_not_repeat():
    numbers = plane(1024, 1024)
    assert abs(numbers.mean()) < 0.005
    assert abs(numbers.std() - 1) < 0.005
    assert abs((np.abs(numbers) < 1).mean() - 0.683) < 0.02
    power = np.abs(np.fft.fft2(numbers)) ** 2 / numbers.size
    assert power.max() < 20  # of white noise: ln(2^19) = 13, give or take a few; a pattern: 2^20
    for other in (plane(1024, 1024, layer=1), plane(1024, 1024, seed=1), numbers.T):
        assert abs((numbers * other).mean()) < 0.005


@pytest.fixture(scope="module", params=ARCHITECTURES)
def noisy(request):
    torch.manual_seed(2)
    spec = GeneratorSpec(request.param, "in", 4, noise="gaussian", upsampling="bilinear")
    return Generator(spec).eval()


@torch.no_grad()
def test_a_photo_comes_out_the_same_in_a_batch_again_and_alone(noisy):
    photos = torch.rand(3, 3, 64, 96)
    together = noisy(photos)
    torch.testing.assert_close(noisy(photos[1:2]), together[1:2], atol=1e-5, rtol=1e-5)
    assert torch.equal(noisy(photos), together)


@torch.no_grad()
def test_contrast_is_still_divided_out(noisy):
    """The paper's second claim: noise is added after the norms."""
    photo = to_tensor(read_rgb(bundled_photos()[14], 192)[None], torch.device("cpu"))
    half = 0.5 + 0.5 * (photo - 0.5)
    assert (noisy(half) - noisy(photo)).abs().mean() < 1e-3


@torch.no_grad()
def test_another_seed_is_another_picture_and_a_flat_photo_is_no_pattern(noisy):
    flat = torch.full((1, 3, 64, 64), 0.25)
    first = noisy(flat)
    assert first[..., 16:48, 16:48].std() > 0.001
    other = noisy(flat, seeds=torch.tensor([1]))
    assert (other - first).abs().mean() > 0.001
    both = noisy(flat.expand(2, -1, -1, -1), seeds=torch.tensor([0, 1]))
    torch.testing.assert_close(both, torch.cat([first, other]), atol=1e-5, rtol=1e-5)
    assert torch.equal(noisy.use_seed(1)(flat), other)
    noisy.use_seed(0)


@torch.no_grad()
def test_styles_have_strengths_of_their_own(noisy):
    both = noisy.of_style(torch.ones(1)).remix(torch.ones(2, 1))
    for name, table in both.tables():
        if name.endswith("strength"):
            table[1] = 0
    flat = torch.full((2, 3, 64, 64), 0.25)
    painted = both(flat, torch.tensor([0, 1]))
    loud, quiet = painted[:, :, 16:48, 16:48].std((2, 3)).mean(1)
    assert loud > 10 * quiet
    alone = both.of_style(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(alone(flat[:1]), painted[1:], atol=1e-5, rtol=1e-5)
