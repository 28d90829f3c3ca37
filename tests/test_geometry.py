"""To what photos are padded, and how much memory a pass takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylecli.core.architectures import ARCHITECTURES, inner_size, pads_by_reflection, plain_bytes

SIDES = st.integers(1, 2000)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@given(height=SIDES, width=SIDES)
def test_a_photo_is_padded_as_little_as_its_architecture_allows(arch, height, width):
    multiple, least = ARCHITECTURES[arch].multiple, ARCHITECTURES[arch].least
    for side, inner in zip((height, width), inner_size(arch, height, width), strict=True):
        assert inner >= side
        assert inner >= least
        assert inner % multiple == 0
        assert inner == least or inner - side < multiple


def test_only_what_is_larger_than_its_padding_is_mirrored():
    assert pads_by_reflection("residual", 5, 9)  # by 3 px
    assert not pads_by_reflection("residual", 4, 9)  # by 4 px, and the edge is not repeated
    assert not pads_by_reflection("pyramid", 65, 20)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_memory_grows_with_pixels_width_and_the_size_of_a_number(arch):
    once = plain_bytes(arch, 8, 10_000, 2)
    assert once > 10_000 * 3 * 2
    assert plain_bytes(arch, 16, 10_000, 2) == 2 * once
    assert plain_bytes(arch, 8, 20_000, 2) == 2 * once
    assert plain_bytes(arch, 8, 10_000, 4) == 2 * once
