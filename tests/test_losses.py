"""The terms of the objective against numpy."""

import numpy as np
import pytest
import torch

from stylecli.core.objective import content_loss, gram_matrix, style_losses, total_variation


def test_gram_matrix_is_the_sum_over_pixels_divided_by_all_elements():
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected = np.einsum("nihw,njhw->nij", features, features) / (3 * 4 * 5)
    np.testing.assert_allclose(gram_matrix(torch.from_numpy(features)), expected, rtol=1e-5)


def test_gradient_of_the_gram_matrix_is_that_of_its_formula():
    torch.manual_seed(0)
    features = torch.rand(2, 3, 4, 5, requires_grad=True)
    weights = torch.rand(2, 3, 3)
    formula = torch.einsum("nihw,njhw->nij", features, features) / (3 * 4 * 5)
    (expected,) = torch.autograd.grad((formula * weights).sum(), features)
    (ours,) = torch.autograd.grad((gram_matrix(features) * weights).sum(), features)
    torch.testing.assert_close(ours, expected)


def test_gram_matrix_stays_in_float32_where_half_precision_would_overflow():
    features = torch.full((1, 2, 64, 64), 300.0, dtype=torch.float16)  # 300² is beyond float16
    gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, torch.full((1, 2, 2), 300.0**2 / 2))


def test_total_variation_of_a_known_image():
    image = torch.zeros(1, 3, 2, 2)
    image[..., 0, 1] = 1 / 255  # two neighbors differ by 1, in each of 3 channels of 4 pixels
    assert float(total_variation(image)) == pytest.approx(2 * 3 / 12)


def test_style_losses_compare_each_image_with_its_own_style_summed_over_layers():
    random = np.random.default_rng(0)
    features = {k: random.normal(size=(3, c, 4, 5)) for k, c in (("one", 2), ("two", 6))}
    targets = {k: random.normal(size=(2, f.shape[1], f.shape[1])) for k, f in features.items()}
    styles = [1, 0, 1]
    expected = np.zeros(3)
    for name, f in features.items():
        grams = np.einsum("nihw,njhw->nij", f, f) / f[0].size
        expected += ((grams - targets[name][styles]) ** 2).mean((1, 2))
    ours = style_losses(*map(as_tensors, (features, targets)), torch.tensor(styles))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    for_all = style_losses(*map(as_tensors, (features, targets)), torch.tensor([1]))
    assert torch.equal(for_all[[0, 2]], ours[[0, 2]])


def as_tensors(arrays):
    return {name: torch.from_numpy(array).float() for name, array in arrays.items()}


def test_content_loss_is_the_mean_squared_difference_in_float32():
    one, other = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    expected = ((one.double() - other.double()) ** 2).mean()
    assert float(content_loss(one, other)) == pytest.approx(float(expected))
    assert content_loss(one.bfloat16(), other.bfloat16()).dtype == torch.float32
