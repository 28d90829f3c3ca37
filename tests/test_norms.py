"""Norms of a generator against the paper's formulas."""

import pytest
import torch

from stylecli.core.generators import Generator
from stylecli.core.spec import GeneratorSpec


def first_norm(kind):
    """The first norm of a generator, of 5 channels, with scales and shifts that matter."""
    torch.manual_seed(0)
    norm = Generator(GeneratorSpec("residual", kind, 5)).get_submodule("body.0.1")
    for parameter in norm.parameters():
        parameter.data = torch.randn(5)
    return norm


def normalized(x, mean, var, layer):
    scale, shift = (one.view(1, 5, 1, 1) for one in (layer.weight, layer.bias))
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


@pytest.mark.parametrize("training", [True, False])
def test_instance_norm_is_the_papers_formula_in_training_and_at_test_time(training):
    layer = first_norm("in").train(training)
    x = torch.randn(3, 5, 7, 9, dtype=torch.float64) * 4 + 2
    mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    expected = normalized(x, mean, var, layer).float()
    torch.testing.assert_close(layer(x.float()), expected, atol=1e-5, rtol=1e-5)


def test_batch_norm_uses_the_batch_in_training_and_running_statistics_at_test_time():
    layer = first_norm("bn").train()
    x = torch.randn(4, 5, 6, 6) * 3 + 1
    axes = (0, 2, 3)
    by_batch = normalized(x, x.mean(axes, True), x.var(axes, correction=0, keepdim=True), layer)
    torch.testing.assert_close(layer(x), by_batch, atol=1e-5, rtol=1e-5)
    means, variances = (one.view(1, 5, 1, 1) for one in (layer.running_mean, layer.running_var))
    running = normalized(x, means, variances, layer)
    torch.testing.assert_close(layer.eval()(x), running, atol=1e-5, rtol=1e-5)
