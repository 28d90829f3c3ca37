"""Which backend runs a model: OpenVINO on CPUs where it is there, or torch.

Importing this module imports neither: OpenVINO needs torch only for an image in strips.
"""

import platform
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from stylecli.core.backend import Backend
from stylecli.errors import StyleCliError


def open_backends(
    path: Path, mix: list[float], *, backend: str, device: str, precision: str, seed: int = 0
) -> list[Backend]:
    """The best backend that fits what was asked for; one for each GPU, if none is chosen.

    Args:
        path: a model file.
        mix: shares of its styles.
        backend: ``auto``, ``openvino`` or ``torch``.
        device: see :func:`stylecli.core.devices.resolve_device`.
        precision: see :func:`stylecli.core.devices.resolve_precision`.
        seed: of the noise inside the network, 0 to 2^31 - 1.

    Raises:
        StyleCliError: it is not there, or cannot do that.
    """
    if choose_backend(backend, device)[0] == "openvino":
        from stylecli.core.openvino_backend import OpenVinoBackend

        return [OpenVinoBackend(path, mix, precision, seed)]
    from stylecli.core.devices import all_devices
    from stylecli.core.torch_backend import load_torch_backend

    return [load_torch_backend(path, mix, one, precision, seed) for one in all_devices(device)]


def choose_backend(backend: str = "auto", device: str = "auto") -> tuple[str, str]:
    """The backend that is meant, ``openvino`` or ``torch``, and why, for a person.

    Args:
        backend: ``auto``, ``openvino`` or ``torch``.
        device: see :func:`stylecli.core.devices.resolve_device`.

    Raises:
        StyleCliError: it is not there, or cannot do that.
    """
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
    if backend != "auto":
        return backend, "it was asked for"
    if not has_openvino:
        return "torch", "OpenVINO is not installed"
    if not _means_cpu(device):
        return "torch", "the device is a GPU"
    return "openvino", "OpenVINO is installed, and the device is a CPU"


def _means_cpu(device: str) -> bool:
    """Whether a device, or the best there is, is the CPU; torch is only asked where it may not."""
    if device != "auto":
        return device == "cpu"
    if not _may_have_gpu():
        return True
    from stylecli.core.devices import resolve_device  # imports torch: seconds

    return resolve_device(device).type == "cpu"


def _may_have_gpu() -> bool:
    """Whether something hints at a GPU that torch can use: Apple's own chips, or NVIDIA's driver.

    It is no more than a hint: torch may be a build without CUDA.
    """
    on_apple_silicon = sys.platform == "darwin" and platform.machine() == "arm64"
    return on_apple_silicon or shutil.which("nvidia-smi") is not None
