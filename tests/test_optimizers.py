"""Muon and Adam side by side: which parameter gets which step."""

import pytest
import torch

from stylecli.core.generators import Generator
from stylecli.core.spec import GeneratorSpec
from stylecli.training.optimizers import GeneratorOptimizer


def stepped(arch: str, name: str) -> dict[str, torch.Tensor]:
    """How far each parameter moves in one step of learning rate 1e-3."""
    torch.manual_seed(0)
    generator = Generator(GeneratorSpec(arch))
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    optimizer = GeneratorOptimizer(list(generator.parameters()), name, 1e-3)
    generator(torch.rand(2, 3, 64, 64)).square().sum().backward()
    optimizer.step(1.0)
    return {key: value - before[key] for key, value in generator.state_dict().items()}


@pytest.mark.parametrize("arch", ["residual", "pyramid"])
def test_convolutions_between_feature_maps_move_by_a_matrix_of_even_singular_values(arch):
    moved = stepped(arch, "muon")
    hidden = {k: v for k, v in moved.items() if v.ndim == 4 and 3 not in v.shape[:2]}
    assert len(hidden) == {"residual": 14, "pyramid": 27}[arch]
    for step in hidden.values():
        rows, columns = step.flatten(1).shape
        values = torch.linalg.svdvals(step.flatten(1)) / (1e-2 * max(1, rows / columns) ** 0.5)
        assert 0.6 < values.quantile(0.5) < 1.2  # five rounds of an iteration: about one
        assert values.max() < 1.3


@pytest.mark.parametrize("name", ["muon", "adam"])
def test_the_rest_moves_as_adam_moves_it(name):
    """Adam's first step is the learning rate, against the sign of each gradient."""
    for key, step in stepped("residual", name).items():
        if name == "adam" or step.ndim == 1 or 3 in step.shape[:2]:
            assert step.abs().max() < 1.001e-3, key
            assert step.abs().median() > 0.7e-3, key
