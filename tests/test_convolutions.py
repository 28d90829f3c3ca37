"""Padding and upsampling against torch."""

import pytest
import torch
import torch.nn.functional as F

from stylecli.core.torch_layers import pad, upsample, upsample_conv


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("margin", [1, 4])
def test_padding_and_its_gradient_are_those_of_torch(mode, margin):
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64, requires_grad=True)
    expected = F.pad(x, (margin,) * 4, mode=mode)
    ours = pad(x, margin, mode)
    assert torch.equal(ours, expected)
    weights = torch.randn_like(ours)
    (gradient,) = torch.autograd.grad((ours * weights).sum(), x)
    torch.testing.assert_close(gradient, *torch.autograd.grad((expected * weights).sum(), x))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (7, 4)])
def test_an_upsampling_and_its_convolution_in_one_are_both_one_after_the_other(mode, height, width):
    weight, bias = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 3, 3, 3), 4)
    )
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    doubled = F.interpolate(x, scale_factor=2, mode=mode)
    expected = F.conv2d(F.pad(doubled, (1,) * 4, mode="replicate"), weight, bias)
    ours = upsample_conv(pad(x, 1, "replicate"), weight, bias, mode)
    torch.testing.assert_close(ours, expected)
    weights = torch.randn_like(ours)
    inputs = (x, weight, bias)
    gradients = torch.autograd.grad((ours * weights).sum(), inputs)
    torch.testing.assert_close(gradients, torch.autograd.grad((expected * weights).sum(), inputs))


def test_under_autocast_padding_and_upsampling_keep_their_number_format():
    x = torch.randn(1, 4, 8, 8).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert pad(x, 1, "reflect").dtype == torch.bfloat16
        assert torch.equal(upsample(x), F.interpolate(x, scale_factor=2))
        for mode in ("nearest", "bilinear"):
            weight = torch.randn(6, 4, 3, 3, requires_grad=True)
            doubled = upsample_conv(pad(x, 1, "replicate"), weight, None, mode)
            assert doubled.dtype == torch.bfloat16
            (gradient,) = torch.autograd.grad(doubled.sum(), weight)
            assert gradient.dtype == torch.float32
