"""Norms against the paper's formulas."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stylecli.core.torch_layers import build_norm


@pytest.mark.parametrize("training", [True, False])
def test_instance_norm_is_the_papers_formula_in_training_and_at_test_time(training):
    torch.manual_seed(0)
    x = torch.randn(3, 5, 7, 9) * 4 + 2
    layer = build_norm("in", 5).train(training)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(5))
        layer.bias.copy_(torch.randn(5))
    expected = np.empty(x.shape, np.float64)
    for n in range(3):
        for c in range(5):
            plane = x[n, c].numpy().astype(np.float64)
            normalized = (plane - plane.mean()) / np.sqrt(
                ((plane - plane.mean()) ** 2).mean() + 1e-5
            )
            expected[n, c] = normalized * layer.weight[c].item() + layer.bias[c].item()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


def test_each_image_of_a_batch_is_scaled_and_shifted_in_its_own_style():
    torch.manual_seed(0)
    x = torch.randn(3, 5, 7, 9) * 4 + 2
    layer = build_norm("in", 5)
    layer.weight, layer.bias = (torch.nn.Parameter(torch.randn(2, 5)) for _ in range(2))
    styles = torch.tensor([1, 0, 1])
    expected = [
        F.instance_norm(image[None], weight=layer.weight[style], bias=layer.bias[style])
        for image, style in zip(x, styles, strict=True)
    ]
    torch.testing.assert_close(layer(x, styles), torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_batch_norm_uses_the_batch_in_training_and_running_statistics_at_test_time():
    x = torch.randn(4, 2, 6, 6) * 3 + 1
    layer = build_norm("bn", 2).train()
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    by_batch = (x - mean.view(1, 2, 1, 1)) / (var.view(1, 2, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), by_batch, atol=1e-5, rtol=1e-5)
    running = (x - layer.running_mean.view(1, 2, 1, 1)) / (
        layer.running_var.view(1, 2, 1, 1) + 1e-5
    ).sqrt()
    torch.testing.assert_close(layer.eval()(x), running, atol=1e-5, rtol=1e-5)
