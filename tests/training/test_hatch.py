"""The term against texture that repeats."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb
from stylecli.training.losses import hatch_loss


@pytest.fixture(scope="module")
def photo():
    """(1, 3, 128, 128) in [0, 1]: a part of a real photo, a sky with a roof."""
    pixels = read_rgb(bundled_photos()[20], 256)[:128, :128]
    return torch.tensor(pixels / 255, dtype=torch.float32).permute(2, 0, 1)[None]


def hatch(photo, strength=0.1):
    """A ruled pattern of one line in four pixels."""
    lines = torch.arange(photo.shape[3]) + torch.arange(photo.shape[2])[:, None]
    return photo + strength * torch.cos(lines * torch.pi / 2)


def test_it_is_the_mean_of_the_strongest_peaks_that_the_photo_has_not(photo):
    def prominence(image):
        gray = 255 * np.tensordot([0.299, 0.587, 0.114], image[0].double().numpy(), 1)
        hann = np.hanning(129)[:128]
        power = np.abs(np.fft.fft2((gray - gray.mean()) * np.outer(hann, hann))) ** 2
        means = {side: uniform_filter(power, side, mode="wrap") for side in (3, 5, 15)}
        cycles = np.fft.fftfreq(128, 1 / 128)
        radius = np.hypot(cycles[:, None], cycles)
        found = means[3] / ((225 * means[15] - 25 * means[5]) / 200)
        return np.log10(found[(radius >= 5) & (radius <= 56)])

    stylized = hatch(photo)
    excess = prominence(stylized) - np.maximum(prominence(photo), 0)
    expected = np.sort(excess)[-32:].mean()
    assert hatch_loss(stylized, photo).item() == pytest.approx(expected, abs=2e-3)


def test_a_hatch_counts_and_strokes_of_many_lengths_do_not(photo):
    ruled = hatch_loss(hatch(photo), photo)
    noise = 0.1 * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    assert ruled > hatch_loss(photo + noise, photo) + 0.3
    assert hatch_loss(hatch(photo), hatch(photo)) < 0.05  # it is in the photo


@pytest.mark.parametrize("size", [(64, 64), (65, 200), (128, 130)])
def test_a_step_along_its_gradient_lowers_it(photo, size):
    photo = torch.nn.functional.interpolate(photo, size, mode="bilinear")
    stylized = hatch(photo).requires_grad_()
    before = hatch_loss(stylized, photo)
    (gradient,) = torch.autograd.grad(before, stylized)
    assert gradient.isfinite().all()
    step = stylized - 0.02 * gradient / gradient.abs().max()
    assert hatch_loss(step, photo) < before


def test_plain_and_small_images_are_no_error():
    plain = torch.full((2, 3, 96, 96), 0.5, requires_grad=True)
    loss = hatch_loss(plain, plain.detach())
    (gradient,) = torch.autograd.grad(loss, plain)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert hatch_loss(torch.rand(1, 3, 63, 200), torch.rand(1, 3, 63, 200)) == 0
