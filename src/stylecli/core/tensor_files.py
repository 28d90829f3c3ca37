"""Safetensors files with JSON metadata, which is checked: models, and checkpoints of trainings."""

import json
import math
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from stylecli.core.spec import MAX_STYLES
from stylecli.errors import StyleCliError
from stylecli.files.atomic import atomic_path, require_regular

if TYPE_CHECKING:  # importing torch takes seconds, and reading metadata needs none of it
    from torch import Tensor

SUFFIX = ".safetensors"
FORMAT_VERSION = 2  # models of version 1 have no noise, upsampling or activation
_KEY = "stylecli"
_EXPECTED = "expected: a state dict, as torch.save writes it"
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
        metadata = parse(text)
    except ValueError as error:
        raise _describe_damage(path, error) from error
    version: Any = metadata.get("format_version")
    if is_count(version) and version > FORMAT_VERSION:
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
        _check_length(path)
        with safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise _describe_damage(path, error) from error


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
        _check_length(path)
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise _describe_damage(path, error) from error


def load_weights(path: Path) -> "dict[str, Tensor]":
    """The tensors in a foreign ``.safetensors`` or ``.pth`` file, by name; no code in it is run.

    They are the values of a dictionary, as it is or below ``state_dict`` or ``model_state_dict``;
    the names may begin with ``module.``, as DataParallel has them.

    Raises:
        StyleCliError: the file is missing, damaged, too large, or does not hold tensors by name.
    """
    from torch import Tensor

    state: Any = load_tensors(path) if path.suffix == SUFFIX else _load_pickled(path)
    for key in ("state_dict", "model_state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    pairs = state.items() if isinstance(state, dict) else ()
    named = {key: one for key, one in pairs if isinstance(key, str) and isinstance(one, Tensor)}
    if not named:
        raise StyleCliError(f"{path} does not hold tensors by name", hint=_EXPECTED)
    return {key.removeprefix("module."): tensor for key, tensor in named.items()}


def _load_pickled(path: Path) -> Any:
    """What torch's loader for weights reads in a ``.pth`` file."""
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
            hint=_EXPECTED,
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
    with require_regular(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _MOST_IN_HEADER:
        raise _describe_damage(path, ValueError(f"its header would have {length:,} bytes"))


def _describe_damage(path: Path, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        f"{path} cannot be read as a model: {error}",
        hint="it is damaged, cut short, or not a model; `stylecli models` lists what there is",
    )


_MAX_NAME = 255  # characters; the name of a file cannot be longer
_LARGEST = 1e300
_MAX_THUMBNAIL = 2**20  # characters
_LEAST_SIDE, _LARGEST_SIDE = 64, 2**14  # px, of a painting that is learned
# Unicode's categories of control characters; of halves of a surrogate pair, which stand for bytes
# of a file's name that are not text; and of separators of lines and of paragraphs.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Check = Callable[[Any], bool]


def parse(text: str) -> dict[str, Any]:
    """The JSON object in a text, all its numbers finite.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, holds a number that is not finite,
            or is not an object.
    """
    try:
        values = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("its description is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("its description is not a JSON object")
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is not finite")
    return number


def find_bad_fields(values: Mapping[str, Any], checks: Mapping[str, Check]) -> list[str]:
    """The names of the fields that are missing or are not as their check wants them."""
    return [name for name, check in checks.items() if name not in values or not check(values[name])]


def is_text(value: Any) -> bool:
    """Whether it is a string."""
    return isinstance(value, str)


def is_name(value: Any) -> bool:
    """Whether it is a string that can be shown: neither empty nor long, no control characters."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and not has_controls(value)


def is_control(char: str) -> bool:
    """Whether a character commands a terminal, or changes the order of the others, when printed."""
    return char in _REORDERING or unicodedata.category(char) in _CONTROLS


def has_controls(text: str) -> bool:
    """Whether a text holds a character that is not to be printed."""
    return any(map(is_control, text))


def is_count(value: Any) -> bool:
    """Whether it is a whole number from 0, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and not a bool."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -_LARGEST < value < _LARGEST  # a larger integer may not fit into a float


def is_list(value: Any, check: Check) -> bool:
    """Whether it is a list whose elements all pass a check."""
    return isinstance(value, list) and all(map(check, value))


def is_table(value: Any, check: Check) -> bool:
    """Whether it is a dictionary whose keys are names, and whose values all pass a check."""
    return isinstance(value, dict) and all(is_name(k) and check(v) for k, v in value.items())


def are_styles(value: Any) -> bool:
    """Whether it is a list of names, all different."""
    return is_list(value, is_name) and len(set(value)) == len(value) <= MAX_STYLES


def _is_training(value: Any) -> bool:
    """Whether it is a table whose entries that the program computes with have the right type.

    A training may store any other entries.
    """
    checks: dict[str, Check] = {
        "curve": lambda curve: is_list(curve, lambda p: are_losses(p) and "step" in p),
        "paintings": lambda names: is_list(names, is_text),  # files may have any name
        "scales": are_scales,
        "style_layers": lambda names: is_list(names, is_name),
        "style_size": lambda side: is_count(side) and _LEAST_SIDE <= side <= _LARGEST_SIDE,
        **dict.fromkeys(("content_layer", "loss_padding", "loss_net", "paintings_sha"), is_text),
        **dict.fromkeys(("content_weight", "style_weight", "tv_weight"), is_number),
    }
    return is_table(value, lambda _: True) and all(
        check(value[name]) for name, check in checks.items() if name in value
    )


def are_scales(value: Any) -> bool:
    """Whether it is what :meth:`stylecli.core.objective.Scales.as_json` gives."""
    numbers = is_table(value, lambda one: is_list(one, is_number))
    return numbers and value.keys() == {"style", "tv"} and len(value["tv"]) == 1


def are_losses(value: Any) -> bool:
    """Whether it is a dictionary of numbers, with a total among them."""
    return is_table(value, is_number) and "total" in value


# The checks of a model's description, after defaults have been filled in.
MODEL: dict[str, Check] = {
    "name": is_name,
    "training": _is_training,
    "losses": lambda value: is_table(value, is_number),
    "styles": are_styles,
    "thumbnail": lambda value: is_text(value) and len(value) <= _MAX_THUMBNAIL,
    "license": is_text,
    "format_version": is_count,
}
