"""Where to compute: the backend, the device, the precision, the place among several processes.

Importing this module imports neither torch, which takes seconds, nor OpenVINO.
"""

import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from stylecli.errors import StyleCliError, choose_from

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stylecli.core.backend import Batch

# The variables for a process's number, the count of processes, and its number on its machine.
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")


def resolve_device(name: str) -> "torch.device":
    """The device of a name; ``auto`` is the best there is: CUDA, then MPS, then the CPU.

    Raises:
        StyleCliError: a device was named, and it is not there.
    """
    import torch

    there = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        return torch.device(next(kind for kind, count in there.items() if count))
    try:
        device = torch.device(name)
    except RuntimeError:
        known = ["auto", "cpu", "cuda", "cuda:0", "mps"]
        raise StyleCliError(f"unknown device {name!r}", hint=choose_from(name, known)) from None
    if (device.index or 0) >= there.get(device.type, 0):
        raise StyleCliError(
            f"device {name} was asked for, but torch {torch.__version__} sees none here",
            hint="use --device cpu or --device auto; for CUDA, check the driver and torch's build",
        )
    return device


def all_devices(name: str) -> "list[torch.device]":
    """All devices of a name; ``cuda`` is every GPU, and so is ``auto`` where there is CUDA.

    Raises:
        StyleCliError: as for :func:`resolve_device`.
    """
    import torch

    device = resolve_device(name)
    if device.type == "cuda" and ":" not in name:
        return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    return [device]


def resolve_precision(name: str, device: "torch.device") -> "torch.dtype":
    """The number format of convolutions; ``auto`` is bfloat16 where there is hardware for it."""
    import torch

    if name == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    return getattr(torch, name)  # type: ignore[no-any-return]


def _has_bfloat16(device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # old versions lack it
        known = torch.cpu.get_capabilities()  # of the processor, also where torch is held to less
        held = torch.backends.cpu.get_cpu_capability() == "AVX2"  # ATEN_CPU_CAPABILITY=avx2
        flags = ("avx512_bf16", "amx_bf16", "bf16")
        return not held and any(known.get(flag) for flag in flags)
    return False


def choose_backend(backend: str = "auto", device: str = "auto") -> tuple[str, str]:
    """The backend that is meant, ``openvino`` or ``torch``, and why, for a person.

    Args:
        backend: ``auto``, ``openvino`` or ``torch``.
        device: see :func:`resolve_device`.

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
    return resolve_device(device).type == "cpu"


def _may_have_gpu() -> bool:
    """Whether something hints at a GPU that torch can use: Apple's own chips, or NVIDIA's driver.

    It is no more than a hint: torch may be a build without CUDA.
    """
    on_apple_silicon = sys.platform == "darwin" and platform.machine() == "arm64"
    return on_apple_silicon or shutil.which("nvidia-smi") is not None


@dataclass(frozen=True)
class Rank:
    """The place of a process among those that work together.

    Attributes:
        number: from 0; the first process alone writes and prints.
        count: of all processes, on all machines.
        local: its number on its machine, from 0.
    """

    number: int = 0
    count: int = 1
    local: int = 0

    @classmethod
    def of_training(cls, environment: Mapping[str, str]) -> "Rank":
        """Its place among those that torchrun started to train together; or a process of its own.

        Raises:
            StyleCliError: the variables of torchrun make no sense.
        """
        return cls._of_variables(environment, _TORCHRUN) if "MASTER_ADDR" in environment else cls()

    @classmethod
    def of_launcher(cls, environment: Mapping[str, str]) -> "Rank":
        """Its place among those that torchrun or SLURM's srun started; or a process of its own.

        The script of a batch job of SLURM is one process. It has SLURM_PROCID and SLURM_NTASKS as
        well, but only srun sets SLURM_STEP_NUM_TASKS, the number of tasks that do run.

        Raises:
            StyleCliError: the variables make no sense.
        """
        for names in (_TORCHRUN, _SRUN):
            if names[0] in environment and names[1] in environment:
                return cls._of_variables(environment, names)
        return cls()

    @classmethod
    def _of_variables(cls, environment: Mapping[str, str], names: tuple[str, str, str]) -> "Rank":
        texts = [environment.get(*one) for one in zip(names, ("0", "1", "0"), strict=True)]
        number, count, local = (int(text) if text.isdecimal() else -1 for text in texts)
        if not 0 <= number < count or local < 0:
            values = ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
            hint = "torchrun or srun sets them; unset them for one process"
            raise StyleCliError(f"variables that make no sense: {values}", hint=hint)
        return cls(number, count, local)


def count_tasks(environment: Mapping[str, str]) -> int:
    """How many processes of one job there may be, by its launcher's variables; at least 1."""
    texts = [environment.get(name, "") for name in (_TORCHRUN[1], _SRUN[1], "SLURM_NTASKS")]
    return max([1, *(int(text) for text in texts if text.isdecimal())])


def to_tensor(photos: "Batch", device: "torch.device") -> "Tensor":
    """(N, H, W, 3) in 0..255 to (N, 3, H, W) RGB in [0, 1], float32."""
    import numpy as np
    import torch

    tensor = torch.from_numpy(np.array(photos))  # copied, as torch needs memory it may write to
    if device.type == "cuda":  # a copy from pinned memory to the GPU does not block
        tensor = tensor.pin_memory()
    tensor = tensor.to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).float().div(255).contiguous()


def to_uint8(images: "Tensor") -> "Batch":
    """(N, 3, H, W) RGB around [0, 1] to (N, H, W, 3) in 0..255, rounded and clipped."""
    import torch

    rounded = images.permute(0, 2, 3, 1).mul(255).round().clamp(0, 255).to(torch.uint8)
    array: Batch = rounded.cpu().numpy()
    return array
