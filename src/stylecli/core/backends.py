"""What runs a trained generator behind one call: OpenVINO on CPUs where it is there, or torch.

Importing this module imports neither: a second run with OpenVINO never needs torch at all.
"""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import psutil

from stylecli.errors import StyleCliError, choose_from
from stylecli.files.images import Rgb

Batch = npt.NDArray[np.uint8]  # (N, H, W, 3)

BACKENDS = ("auto", "openvino", "torch")


class OutOfMemoryError(MemoryError):
    """A pass needed more memory than the device has."""


class Backend(Protocol):
    """A generator of one style, ready to run.

    Attributes:
        description: where and how it computes, for a person.
        device_type: ``cpu``, ``cuda`` or ``mps``.
        itemsize: bytes of the numbers that it computes with.
    """

    description: str
    device_type: str
    itemsize: int

    def __call__(self, photos: Batch) -> Batch:
        """Stylize photos of one size: (N, H, W, 3) to (N, H, W, 3), 0..255.

        Raises:
            OutOfMemoryError: they do not fit.
        """

    def in_strips(self, rgb: Rgb) -> Rgb:
        """Stylize one image (H, W, 3) of any size, exactly, in little memory."""

    def free_memory(self) -> int:
        """Bytes that a pass may still take."""


def open_backends(
    path: Path, mix: list[float], *, backend: str, device: str, precision: str
) -> list[Backend]:
    """The best backend that fits what was asked for; one for each GPU, if none is chosen.

    Args:
        path: a model file.
        mix: shares of its styles.
        backend: ``auto``, ``openvino`` or ``torch``.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.

    Raises:
        StyleCliError: it is not there, or cannot do that.
    """
    if backend not in BACKENDS:
        raise StyleCliError(f"unknown backend {backend!r}", hint=choose_from(backend, BACKENDS))
    if backend == "openvino" and device not in ("auto", "cpu"):
        raise StyleCliError(
            f"--backend openvino runs on the CPU, and not on {device}", hint="leave --device out"
        )
    has_openvino = find_spec("openvino") is not None
    if backend == "openvino" and not has_openvino:
        raise StyleCliError(
            "--backend openvino was asked for, and OpenVINO is not installed",
            hint="pip install 'stylecli[cpu]', or leave --backend out",
        )
    on_cpu = device == "cpu" or (device == "auto" and not _may_have_gpu())
    if backend == "openvino" or (backend == "auto" and has_openvino and on_cpu):
        from stylecli.core.openvino_backend import OpenVinoBackend

        return [OpenVinoBackend(path, mix, precision)]
    from stylecli.core.devices import all_devices
    from stylecli.core.torch_backend import load_torch_backend

    return [load_torch_backend(path, mix, one, precision) for one in all_devices(device)]


def _may_have_gpu() -> bool:
    """Whether torch should be asked: it takes seconds to import."""
    return sys.platform == "darwin" or shutil.which("nvidia-smi") is not None


def free_cpu_memory() -> int:
    """Bytes that a program may still take."""
    return int(psutil.virtual_memory().available)
