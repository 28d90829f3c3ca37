"""Shapes of weights, without torch."""

import pytest
import torch

from stylecli.core.architectures import ARCHITECTURES, weight_shapes
from stylecli.core.generators import Generator
from stylecli.core.spec import GeneratorSpec
from stylecli.errors import StyleCliError


def test_only_instance_norm_holds_several_styles():
    spec = GeneratorSpec(norm="none", width=4, noise="gaussian")
    with pytest.raises(StyleCliError, match="norm none holds one style"):
        weight_shapes(spec, 2)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("norm", ["in", "bn", "none"])
@pytest.mark.parametrize("noise", ["none", "gaussian"])
def test_shapes_without_torch_are_those_that_torch_makes(arch, norm, noise):
    styles = 3 if norm == "in" else 1
    generator = Generator(GeneratorSpec(arch, norm, 5, noise=noise))
    generator.remix(torch.ones(styles, 1))
    made = {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}
    assert weight_shapes(generator.spec, styles) == made
