"""Devices and precisions by name."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from stylecli.core.devices import (
    all_devices,
    resolve_device,
    resolve_precision,
    to_tensor,
    to_uint8,
)
from stylecli.errors import StyleCliError

CPU = torch.device("cpu")


def test_a_cpu_is_always_there_and_auto_is_something_that_is():
    assert resolve_device("cpu") == CPU
    torch.zeros(1, device=resolve_device("auto"))
    assert all_devices("cpu") == [CPU]


@pytest.mark.parametrize("name", ["gpu", "cpus", "cuda:x", ""])
def test_a_name_that_no_device_has_is_a_clear_error(name):
    with pytest.raises(StyleCliError, match=f"unknown device '{name}'") as caught:
        resolve_device(name)
    assert "cpu" in caught.value.hint


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "mps", "meta"])
def test_a_device_that_is_not_there_is_no_silent_cpu(name):
    if name == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is one")
    with pytest.raises(StyleCliError, match=f"device {name} was asked for"):
        resolve_device(name)


def test_precisions():
    assert resolve_precision("float32", CPU) == torch.float32
    assert resolve_precision("bfloat16", CPU) == torch.bfloat16
    assert resolve_precision("auto", CPU) in (torch.float32, torch.bfloat16)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AVX2 is of x86")
def test_where_torch_is_held_to_avx2_auto_is_what_it_is_on_an_older_processor():
    # There, bfloat16 is emulated: a step of a training takes ten times as long.
    code = (
        "import torch; from stylecli.core.devices import resolve_precision;"
        "print(resolve_precision('auto', torch.device('cpu')))"
    )
    held = {**os.environ, "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=held, capture_output=True, text=True)
    assert done.stdout == "torch.float32\n", done.stderr


def test_every_value_comes_back_as_it_was():
    photos = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    tensor = to_tensor(photos, torch.device("cpu"))
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max(), tensor.dtype) == (0, 1, torch.float32)
    np.testing.assert_array_equal(to_uint8(tensor), photos)
    tensor.zero_()  # it is a copy
    assert photos.max() == 255


def test_what_lies_outside_is_clipped_and_what_lies_between_is_rounded():
    values = torch.tensor([-0.3, 1.4, 100.4 / 255, 100.6 / 255])
    image = values.view(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert to_uint8(image)[0, 0, :, 0].tolist() == [0, 255, 100, 101]
