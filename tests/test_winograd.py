"""Winograd's convolution against torch's in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecli.core.vgg import load_loss_network
from stylecli.core.winograd import FrozenConv2d

FEW = st.integers(1, 3)


@settings(max_examples=60, deadline=None)
@given(
    count=FEW,
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(3, 70), st.integers(3, 70)),
    padding=st.sampled_from([0, 1]),
    seed=st.integers(0, 99),
)
def test_values_and_gradient_are_those_of_torch(count, channels, size, padding, seed):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, channels[0], *size, generator=random)
    weight = torch.randn(channels[1], channels[0], 3, 3, generator=random)
    bias = torch.randn(channels[1], generator=random)
    exact = x.double().requires_grad_()
    expected = F.conv2d(exact, weight.double(), bias.double(), padding=padding)
    upstream = torch.randn(expected.shape, generator=random)
    (expected_gradient,) = torch.autograd.grad(expected, exact, upstream.double())

    x.requires_grad_()
    ours = FrozenConv2d(weight, bias)(x, padding)
    (gradient,) = torch.autograd.grad(ours, x, upstream)

    for found, right in ((ours, expected), (gradient, expected_gradient)):
        scale = float(right.detach().abs().max())
        torch.testing.assert_close(found.double(), right, rtol=0, atol=2e-5 * scale + 1e-6)


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
def test_the_loss_network_and_its_gradient_are_as_in_float64(padding):
    cpu, layers = torch.device("cpu"), ("relu2_2", "relu4_3")
    found = []
    for dtype in (torch.float64, torch.float32):
        network = load_loss_network().prepare(cpu, dtype, padding)
        random = torch.Generator().manual_seed(0)
        image = torch.rand(1, 3, 50, 61, generator=random).requires_grad_()
        features = network(image, layers)
        sum(feature.square().mean() for feature in features.values()).backward()
        found.append([*features.values(), image.grad])
    for exact, ours in zip(*found, strict=True):
        assert float((exact - ours).norm() / exact.norm()) < 1e-4


def test_it_is_for_many_channels_in_float32():
    assert FrozenConv2d.pays(torch.zeros(128, 64, 3, 3))
    assert not FrozenConv2d.pays(torch.zeros(64, 64, 3, 3))
    assert not FrozenConv2d.pays(torch.zeros(128, 64, 3, 3, dtype=torch.bfloat16))
