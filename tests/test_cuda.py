"""What only a CUDA device can show."""

import numpy as np
import pytest
import torch

from stylecli.config import DEFAULT_MODEL
from stylecli.engine import Stylizer
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_rgb

pytestmark = pytest.mark.requires_cuda


@pytest.fixture
def photo():
    return read_rgb(bundled_photos()[7], 256)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_paints_what_the_cpu_paints(photo, precision):
    cpu = Stylizer(DEFAULT_MODEL, device="cpu", precision="float32", backend="torch")(photo)
    cuda = Stylizer(DEFAULT_MODEL, device="cuda", precision=precision)(photo)
    assert np.abs(cpu.astype(int) - cuda).mean() < 2


def test_strips_are_exact_there_too(photo):
    whole = Stylizer(DEFAULT_MODEL, device="cuda", precision="float32")(photo)
    strips = Stylizer(DEFAULT_MODEL, device="cuda", precision="float32", max_memory=2**20)(photo)
    assert np.abs(whole.astype(int) - strips).max() <= 1


def test_out_of_memory_loses_no_image(photo):
    stylizer = Stylizer(DEFAULT_MODEL, device="cuda", max_memory=2**50)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 200e6 / total))
    try:
        assert stylizer(photo.repeat(4, 0).repeat(4, 1)).std() > 20
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
