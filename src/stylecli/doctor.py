"""The facts of an installation for a report of a bug: versions, devices, choices, folders."""

import getpass
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs
import psutil

from stylecli import __version__
from stylecli.config import DEFAULT_MODEL
from stylecli.core.backend import free_cpu_memory
from stylecli.core.devices import choose_backend
from stylecli.core.model_files import load_arrays, model_folders
from stylecli.core.tensor_files import SUFFIX
from stylecli.errors import StyleCliError

Facts = dict[str, Any]

_OWN_VERSIONS = {"stylecli": __version__, "python": platform.python_version()}
# What can be set outside the program and changes what it does, how fast, or where it writes.
_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
    *("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"),
    *("TMPDIR", "TORCH_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"),
)
# Files in a folder of models that are not models: unfinished trainings, and the loss network.
_OTHERS = (f".checkpoint{SUFFIX}", f"_features{SUFFIX}")


def examine() -> Facts:
    """Look at the installation; what is missing or fails is named, and never raises an error.

    Nothing is painted, written or downloaded, and only the headers of models are read. ``~`` stands
    for the home folder, and ``USER`` for the user's name.

    Returns:
        Facts by section; all of it can be written as JSON. ``problems`` is empty if all is well.
    """
    facts = {
        "versions": {**_OWN_VERSIONS, **_try(_list_versions), "ffmpeg": _try(_find_ffmpeg)},
        "machine": _try(_describe_machine),
        "stylize": _try(_try_stylizing),
        "train": _try(_examine_training),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "folders": {
            "temporary": _try(lambda: _describe_folder(Path(tempfile.gettempdir()))),
            "cache": _try(lambda: _describe_folder(platformdirs.user_cache_path("stylecli"))),
        },
        "models": [_try(partial(_examine_models, folder)) for folder in model_folders()],
    }
    public: Facts = _hide_names(facts)
    return {**public, "problems": list(_list_problems(public))}


def _try(look: Callable[[], Any]) -> Any:
    """What a function returns; or, of a library that is missing or broken, the error."""
    try:
        return look()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        return {"failed": f"{type(error).__name__}: {reason}"}


def _list_versions() -> Facts:
    """The version of each library that the program may use; None if it is not installed."""
    found: Facts = {}
    for line in metadata.requires("stylecli") or []:
        if name := re.match(r"(?!stylecli\b)[\w.-]+(?!.*extra == .(dev|docs))", line):
            found[name[0]] = None
            with suppress(metadata.PackageNotFoundError):
                found[name[0]] = metadata.version(name[0])
    return found


def _find_ffmpeg() -> str:
    import av

    return str(av.ffmpeg_version_info)


def _describe_machine() -> Facts:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "memory_gib": _to_gib(psutil.virtual_memory().total),
        "free_memory_gib": _to_gib(free_cpu_memory()),
        "nvidia_driver": shutil.which("nvidia-smi") is not None,
    }


def _to_gib(size: int) -> float:
    return round(size / 2**30, 1)


def _try_stylizing() -> Facts:
    """What ``stylize`` chooses, by opening the default model as it does."""
    from stylecli.engine import Stylizer

    _, why = choose_backend()
    return {"auto": Stylizer(DEFAULT_MODEL).description, "why": why}


def _examine_training() -> Facts:
    """What torch sees, and what ``train`` chooses of it."""
    import torch

    from stylecli.core.devices import all_devices, resolve_device, resolve_precision

    device = resolve_device("auto")
    precision = str(resolve_precision("auto", device)).removeprefix("torch.")
    return {
        "auto": f"{device}, torch, {precision}",
        "gpus": {str(one): _describe_gpu(one) for one in all_devices("auto") if one.type == "cuda"},
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch_cuda": torch.version.cuda,
    }


def _describe_gpu(device: Any) -> str:
    import torch

    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {_to_gib(found.total_memory)} GiB"


def _describe_folder(path: Path) -> Facts:
    """Where a folder is or would be, whether it can be written, and what room there is."""
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    return {
        "folder": str(path),
        "writable": there.is_dir() and os.access(there, os.W_OK | os.X_OK),
        "free_gib": _to_gib(shutil.disk_usage(there).free),
    }


def _examine_models(folder: Path) -> Facts:
    """How many models a folder holds, and which files are broken, and why."""
    paths = [one for one in folder.glob(f"[!.]*{SUFFIX}") if not one.name.endswith(_OTHERS)]
    broken = {path.name: fault for path in sorted(paths) if (fault := _find_fault(path))}
    return {"folder": str(folder), "models": len(paths) - len(broken), "broken": broken}


def _find_fault(path: Path) -> str:
    """Why a file is not a model; empty if it is one."""
    try:
        load_arrays(path)
    except StyleCliError as error:
        return error.message
    return ""


def _list_problems(facts: Facts) -> Iterator[str]:
    """One line for each part that failed."""
    for section, values in facts.items():
        for place in values if isinstance(values, list) else [values, *values.values()]:
            if isinstance(place, dict):
                yield from [f"{section}: {place['failed']}"] if "failed" in place else []
                yield from place.get("broken", {}).values()


def _hide_names(value: Any) -> Any:
    """A copy in which the home folder is ``~``, and a folder of the user's name ``USER``."""
    if isinstance(value, dict):
        return {key: _hide_names(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_hide_names(one) for one in value]
    return _hide_user(value) if isinstance(value, str) else value


def _hide_user(text: str) -> str:
    users = []
    with suppress(RuntimeError):  # a user without a home
        home = Path.home()
        users.append(home.name)
        for one in (home, home.resolve()):
            text = re.sub(re.escape(str(one)) + r"(?![\w.-])", "~", text)
    with suppress(OSError, KeyError, ImportError):  # a user without a name
        users.append(getpass.getuser())
    for user in filter(None, users):
        text = re.sub(rf"(?<=[/\\]){re.escape(user)}(?![\w.-])", "USER", text)
    return text
