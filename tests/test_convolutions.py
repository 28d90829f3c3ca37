"""Padding and upsampling against torch."""

import pytest
import torch
import torch.nn.functional as F

from stylecli.core.convolutions import padded, upsample


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
@pytest.mark.parametrize("margin", [1, 4])
def test_padding_and_its_gradient_are_those_of_torch(mode, margin):
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64, requires_grad=True)
    expected = F.pad(x, (margin,) * 4, mode=mode)
    ours = padded(x, margin, mode)
    assert torch.equal(ours, expected)
    weights = torch.randn_like(ours)
    (gradient,) = torch.autograd.grad((ours * weights).sum(), x)
    torch.testing.assert_close(gradient, *torch.autograd.grad((expected * weights).sum(), x))


def test_under_autocast_padding_and_upsampling_keep_their_number_format():
    x = torch.randn(1, 4, 8, 8).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert padded(x, 1, "reflect").dtype == torch.bfloat16
        for mode in ("nearest", "bilinear"):
            doubled = upsample(x, mode)
            assert doubled.dtype == torch.bfloat16
            expected = F.interpolate(x.detach().float(), scale_factor=2, mode=mode)
            torch.testing.assert_close(doubled.float(), expected, atol=0.03, rtol=0.01)
