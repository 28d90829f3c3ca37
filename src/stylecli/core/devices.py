"""The device to compute on, and the precision."""

from typing import get_args

import torch

from stylecli.core.spec import Precision
from stylecli.errors import StyleCliError, choose_from


def resolve_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is the best there is: CUDA, then MPS, then the CPU.

    Raises:
        StyleCliError: a device was named, and it is not there.
    """
    if name == "auto":
        return torch.device(_best())
    try:
        device = torch.device(name)
    except RuntimeError:
        known = ["auto", "cpu", "cuda", "cuda:0", "mps"]
        raise StyleCliError(f"unknown device {name!r}", hint=choose_from(name, known)) from None
    if not _is_there(device):
        raise StyleCliError(
            f"device {name} was asked for, but torch {torch.__version__} sees none here",
            hint="use --device cpu or --device auto; for CUDA, check the driver and torch's build",
        )
    return device


def all_devices(name: str) -> list[torch.device]:
    """All devices of a name; ``cuda`` is every GPU, and so is ``auto`` where there is CUDA.

    Raises:
        StyleCliError: as for :func:`resolve_device`.
    """
    device = resolve_device(name)
    if device.type == "cuda" and ":" not in name:
        return [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    return [device]


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _is_there(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return bool(torch.backends.mps.is_available())
    return device.type == "cpu"


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The number format of convolutions; ``auto`` is bfloat16 where there is hardware for it.

    Raises:
        StyleCliError: there is no precision of that name.
    """
    if name == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    known = get_args(Precision)
    if name not in known:
        raise StyleCliError(f"unknown precision {name!r}", hint=choose_from(name, known))
    return getattr(torch, name)  # type: ignore[no-any-return]


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        known = getattr(
            torch.cpu, "get_capabilities", dict[str, object]
        )()  # older versions of torch lack it
        return any(known.get(flag) for flag in ("avx512_bf16", "amx_bf16", "bf16"))
    return False
