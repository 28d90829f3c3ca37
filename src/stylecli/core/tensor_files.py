"""Safetensors files with JSON metadata: model files, and checkpoints of trainings."""

import json
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from stylecli.core import schema
from stylecli.errors import StyleCliError
from stylecli.files.atomic import atomic_path, require_regular

if TYPE_CHECKING:  # importing torch takes seconds, and reading metadata needs none of it
    from torch import Tensor

SUFFIX = ".safetensors"
FORMAT_VERSION = 2  # models of version 1 have no noise, upsampling or activation
_KEY = "stylecli"
# Bytes. That of the bundled gallery has 60 kB; a thousand styles of the longest names have 5 MB.
_MOST_IN_HEADER = 8 * 2**20
_MOST_UNPACKED = 2 * 2**30  # bytes: the largest generator has 1.5 GB, VGG-19 with all layers 0.6


class DamagedFileError(StyleCliError):
    """A file is not readable, is cut short, or is of another kind; the cause says which."""


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON metadata that this program wrote into a safetensors file.

    Raises:
        StyleCliError: the file cannot be read, is damaged, or was not written by this program.
    """
    with open_tensors(path) as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        raise StyleCliError(
            f"{path} is a safetensors file, but not one that stylecli wrote",
            hint="a model comes from `stylecli train`; `stylecli models` lists what there is",
        )
    try:
        metadata = schema.parse(text)
    except ValueError as error:
        raise _damaged(path, error) from error
    version: Any = metadata.get("format_version")
    if schema.is_count(version) and version > FORMAT_VERSION:
        raise StyleCliError(
            f"{path} has format {version}, and this stylecli reads up to {FORMAT_VERSION}",
            hint="update stylecli",
        )
    return metadata


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """A safetensors file of which only the header is read so far.

    The library checks that the tensors in the header are exactly as long as the rest of the file.

    Raises:
        StyleCliError: the file is missing or damaged, or has a header that is too long.
    """
    try:
        _check_length(require_regular(path))
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def save_tensors(path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, Any]) -> None:
    """Write tensors and JSON metadata to one file, whole or not at all.

    Raises:
        StyleCliError: the folder cannot be written.
    """
    from safetensors.torch import save

    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            # The library's save_file would make a file that only its owner can read.
            temporary.write_bytes(save(plain, metadata={_KEY: json.dumps(metadata)}))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error  # without the temporary file's name
        raise StyleCliError(
            f"cannot write {path}: {reason}", hint="check the folder's permissions and free space"
        ) from error


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors file, on the CPU.

    Raises:
        StyleCliError: the file is missing or damaged.
    """
    from safetensors.torch import load

    try:
        # The library's load_file would map the file, which Windows then refuses to replace.
        _check_length(require_regular(path))
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def load_pickled(path: Path) -> Any:
    """What torch's loader for weights reads in a ``.pth`` file; nothing in it is run.

    Raises:
        StyleCliError: the file is missing, damaged, of another kind, or too large.
    """
    import torch

    require_regular(path)
    try:
        _check_unpacked(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except StyleCliError:
        raise
    except Exception as error:  # torch raises many kinds of error on damaged files
        raise StyleCliError(
            f"{path} cannot be read as weights: it is damaged, of another kind, or a whole module",
            hint="expected: a state dict, as torch.save writes it",
        ) from error


def _check_unpacked(path: Path) -> None:
    """Raise StyleCliError if a file is too large, or claims to hold more than it does.

    ``torch.save`` writes a ZIP archive in which nothing is compressed. In one that is compressed,
    or whose parts lie over each other, some megabytes can stand for any number of gigabytes.

    Raises:
        BadZipFile: the archive is damaged.
    """
    size = path.stat().st_size
    claimed = 0
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            claimed = sum(part.file_size for part in archive.infolist())
    if size > _MOST_UNPACKED or claimed > size:
        raise StyleCliError(
            f"{path} has {size:,} bytes, and would take {max(size, claimed):,} to read",
            hint=f"expected: a file of {_MOST_UNPACKED / 2**30:.0f} GiB at most, not compressed",
        )


def _check_length(path: Path) -> None:
    """Raise StyleCliError if a header is so long that reading it alone would take gigabytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MOST_IN_HEADER:
        raise _damaged(path, ValueError(f"its header would have {length:,} bytes"))


def _damaged(path: Path, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        f"{path} cannot be read as a model: {error}",
        hint="it is damaged, cut short, or not a model; `stylecli models` lists what there is",
    )
