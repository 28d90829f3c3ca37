"""Generators without torch: to what photos are padded, memory of a pass, shapes of weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stylecli.core.architectures import (
    ARCHITECTURES,
    plain_bytes,
    plan_padding,
    weight_shapes,
)
from stylecli.core.generators import Generator
from stylecli.core.spec import GeneratorSpec

SIDES = st.integers(1, 2000)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@given(height=SIDES, width=SIDES)
def test_a_photo_is_padded_as_little_as_its_architecture_allows(arch, height, width):
    multiple, least = ARCHITECTURES[arch].multiple, ARCHITECTURES[arch].least
    for side, inner in zip((height, width), plan_padding(arch, height, width)[:2], strict=True):
        assert inner >= side
        assert inner >= least
        assert inner % multiple == 0
        assert inner == least or inner - side < multiple


def test_only_what_is_larger_than_its_padding_is_mirrored():
    assert plan_padding("residual", 5, 9)[2]  # by 3 px
    assert not plan_padding("residual", 4, 9)[2]  # by 4 px, and the edge is not repeated
    assert not plan_padding("pyramid", 65, 20)[2]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_memory_grows_with_pixels_width_and_the_size_of_a_number(arch):
    once = plain_bytes(arch, 8, 10_000, 2)
    assert once > 10_000 * 3 * 2
    assert plain_bytes(arch, 16, 10_000, 2) == 2 * once
    assert plain_bytes(arch, 8, 20_000, 2) == 2 * once
    assert plain_bytes(arch, 8, 10_000, 4) == 2 * once


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("norm", ["in", "bn", "none"])
@pytest.mark.parametrize("noise", ["none", "gaussian"])
def test_shapes_without_torch_are_those_that_torch_makes(arch, norm, noise):
    styles = 3 if norm == "in" else 1
    generator = Generator(GeneratorSpec(arch, norm, 5, noise=noise))
    generator.remix(torch.ones(styles, 1))
    made = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    assert weight_shapes(generator.spec, styles) == made
