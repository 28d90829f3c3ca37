"""Model files: found by name or path, read and written. Nothing is unpickled."""

import math
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from stylecli.core import tensor_files
from stylecli.core.architectures import weight_shapes
from stylecli.core.spec import GeneratorSpec
from stylecli.core.tensor_files import (
    FORMAT_VERSION,
    SUFFIX,
    open_tensors,
    read_metadata,
    save_tensors,
)
from stylecli.errors import StyleCliError, choose_from
from stylecli.files.stores import Url, fetch_cached, place

if TYPE_CHECKING:  # to import torch takes seconds, and a list of models does without it
    from numpy.typing import NDArray

    from stylecli.core.generators import Generator


def style_name(style_image: Path) -> str:
    """The name of a style: that of the image file, in lower case, with hyphens."""
    return _hyphenate(style_image.stem) or "style"


def _hyphenate(text: str) -> str:
    """A text in lower case, without accents; all but letters and digits become a hyphen."""
    # A bold A of mathematics has a small form only once it is a plain A.
    lower = unicodedata.normalize("NFKD", text).lower()
    plain = unicodedata.normalize("NFKD", lower)
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", letters)).strip("-")


def match_name(given: str, names: Iterable[str]) -> str | None:
    """The name that is meant, of some: ``Udnie`` means ``udnie``, ``The Scream`` ``the-scream``.

    It is the same name; or else the first that differs only in case, accents, spaces, hyphens or
    underscores; or else None.
    """
    known = list(names)
    if given in known:
        return given
    plain = _hyphenate(given)
    return next((name for name in known if plain and _hyphenate(name) == plain), None)


def shorten_name(name: str, most: int = 80) -> str:
    """A name of at most so many bytes, as file systems count them, cut between two characters."""
    return os.fsencode(name)[:most].decode(sys.getfilesystemencoding(), "ignore")


def require_name(name: str) -> str:
    """The name itself, if a model may be called so.

    Raises:
        StyleCliError: it is not in lower case with hyphens; the hint says how it would be.
    """
    if name != style_name(Path(f"{name}.pth")):
        hint = f"lower case, with hyphens: {style_name(Path(name))}"
        raise StyleCliError(f"{name!r} is not a name for a model", hint=hint)
    return name


def parse_mix(text: str | None, styles: list[str]) -> list[float]:
    """The share of each style in a blend; together they are 1.

    Args:
        text: a style, such as ``a``; a blend, such as ``a:0.7,b:0.3``; or None, if there is only
            one style.
        styles: the names of the styles in the model.

    Raises:
        StyleCliError: there is no such style, a share is not a number, or all are 0.
    """
    if text is None and len(styles) == 1:
        return [1.0]
    if text is None:
        raise StyleCliError(
            f"the model holds {len(styles)} styles, and none was chosen",
            hint=f"pass --style with one of: {', '.join(styles)}; or a blend: a:0.7,b:0.3",
        )
    shares = dict.fromkeys(styles, 0.0)
    for part in text.split(","):
        name, _, share = part.strip().partition(":")
        known = match_name(name, styles)
        if known is None:
            raise StyleCliError(f"the model has no style {name!r}", hint=choose_from(name, styles))
        shares[known] += _share(share or "1", part)
    total = sum(shares.values())
    if not total:
        raise StyleCliError(f"the shares of {text} add up to 0", hint="such as: a:0.7,b:0.3")
    return [share / total for share in shares.values()]


def _share(text: str, part: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < math.inf:
        raise StyleCliError(f"{part!r} is not a share of a style", hint="such as: a:0.7,b:0.3")
    return share


# What all generators have in common; files say so, as those of earlier versions could have others.
CONVENTIONS = {"output": "linear", "activation": "relu"}


@dataclass(frozen=True)
class ModelInfo:
    """The description in a model file.

    Attributes:
        name: the name of the file, without the suffix.
        spec: of its generator, with a width.
        training: the training config, and the steps, seconds and photos that it took.
        losses: the mean of each loss over the last steps of training, by name.
        styles: the names of the styles in the model, in the order of their rows.
        thumbnail: the first 20 paintings of its last training as a small JPEG, base64.
        license: a line on who may do what with the model.
        format_version: the version of the file's format.
    """

    name: str
    spec: GeneratorSpec
    training: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    styles: list[str] = field(default_factory=list)
    thumbnail: str = ""
    license: str = ""
    format_version: int = FORMAT_VERSION

    def as_metadata(self) -> dict[str, Any]:
        """The form in which a file holds it: the fields of the spec stand among the others."""
        described = asdict(self)
        spec = described.pop("spec")
        return {**described, **spec, **CONVENTIONS}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> "ModelInfo":
        """From the form of :meth:`as_metadata`; values are not checked.

        Fields of the spec that the file is too old to have get their defaults.

        Raises:
            TypeError: the name is missing, or there is an unknown field.
        """
        names = {one.name for one in fields(GeneratorSpec)} & metadata.keys()
        spec = GeneratorSpec(**{name: metadata[name] for name in names})
        own = {key: metadata[key] for key in metadata.keys() - names - CONVENTIONS.keys()}
        return cls(spec=spec, **own)


def bundled_models() -> Path:
    """The folder of the models that ship with the program, in the package or in a checkout."""
    packaged = Path(__file__).parents[1] / "models"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "models"


def is_bundled(path: Path) -> bool:
    """Whether a model file is one of those that ship with the program."""
    return path.parent.resolve() == bundled_models().resolve()


def bundled_painting(path: Path) -> Path:
    """The path of a file; or, if there is no such file, the bundled painting of that name.

    A folder of that name does not count: ``stylize photos/ udnie/ --model udnie`` makes some.

    Raises:
        StyleCliError: a word without a suffix is neither; the hint suggests the nearest name.
    """
    if os.path.exists(path) and not path.is_dir():  # noqa: PTH110 - false for a name too long
        return path
    bundled = {one.stem: one for one in (bundled_models() / "paintings").glob("*.jpg")}
    name = str(path)
    known = match_name(name, bundled)
    if known is None and path.name == name and not path.suffix:
        message = f"{name} is neither a file nor a bundled painting"
        raise StyleCliError(message, hint=choose_from(name, bundled))
    return path if known is None else bundled[known]


def user_models() -> Path:
    """The folder of the user's own models, which are found from every folder."""
    return platformdirs.user_data_path("stylecli") / "models"


def model_folders() -> list[Path]:
    """The folders in which a name is looked for, in order: the bundled one, the user's, here.

    So a name that is bundled always means the same, whatever was added, or lies in a folder that
    came from elsewhere.
    """
    folders: dict[Path, Path] = {}
    for folder in (bundled_models(), user_models(), Path("models")):
        folders.setdefault(folder.resolve(), folder)  # in a checkout, the first is the last
    return list(folders.values())


def list_models() -> Iterator[tuple[Path, ModelInfo]]:
    """Every model, in the order in which a name is looked for; other files are left out."""
    return chain.from_iterable(map(models_in, model_folders()))


def models_in(folder: Path) -> Iterator[tuple[Path, ModelInfo]]:
    """The models in a folder; other files are left out."""
    for path in sorted(folder.glob(f"[!.]*{SUFFIX}")):
        with suppress(StyleCliError):
            yield path, read_info(path)


def find_model(name: str) -> Path:
    """The file of a model, given its name or path, or the name of one of several styles in it.

    Of a URL, it is a copy in the user's cache: a model is used again and again.

    Raises:
        StyleCliError: there is none; the hint suggests the nearest name.
    """
    url = place(name)
    if isinstance(url, Url) and url.suffix == SUFFIX:
        return fetch_cached(url)
    if name.endswith(SUFFIX) or "/" in name or "\\" in name:
        if Path(name).is_file():
            return Path(name)
        add = shlex.join(["stylecli", "models", "add", name])
        hint = add if "://" in name else "`stylecli models` lists what there is"
        raise StyleCliError(f"there is no model file {name}", hint=hint)
    found: dict[str, Path] = {}
    for known, path in list_named_models(model_folders()):
        if known == name:  # later files are not opened
            return path
        found.setdefault(known, path)
    like = match_name(name, found)
    if like is None:
        raise _unknown_model(name)
    return found[like]


def list_named_models(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Each name by which a model in some folders is found, with its file; the first one counts.

    In each folder, names of files come before names of styles in them. A file is found by its name
    even if it is damaged.
    """
    for folder in folders:
        paths = [path for path in sorted(folder.glob(f"[!.]*{SUFFIX}")) if path.is_file()]
        yield from ((path.stem, path) for path in paths)
        yield from ((style, path) for path, info in models_in(folder) for style in info.styles)


def _unknown_model(name: str) -> StyleCliError:
    """The error for an unknown name; of a blend of styles, the hint says how to pass it."""
    parts = [part.strip().partition(":")[0] for part in name.split(",")]
    names = set()
    for path, info in list_models():
        if (":" in name or "," in name) and all(match_name(part, info.styles) for part in parts):
            blend = shlex.join(["--model", name_for(path), "--style", name])
            return StyleCliError(f"{name} is a blend of styles, not a model", hint=f"pass {blend}")
        names.update([path.stem, *info.styles])
    return StyleCliError(f"there is no model named {name!r}", hint=choose_from(name, names))


def name_for(path: Path) -> str:
    """The shortest text by which a model is found: its name; its path, if another has that name."""
    with suppress(StyleCliError):
        if find_model(path.stem).resolve() == path.resolve():
            return path.stem
    return str(path)


def refuse_bundled_name(name: str) -> None:
    """Raise StyleCliError if a bundled model or style has that name: no other would be found."""
    if match_name(name, [known for known, _ in list_named_models([bundled_models()])]):
        raise StyleCliError(
            f"{name} is the name of a bundled model or style, which comes first",
            hint="give it another name",
        )


def read_info(path: Path) -> ModelInfo:
    """The description in a model file; its weights are not loaded.

    It is read again when the file has changed. Until then all callers share one description, and
    do not change the lists in it.

    Raises:
        StyleCliError: the file is damaged or is not a model.
    """
    try:
        found = path.stat()
    except OSError:
        return _read_info(path, ())  # which says what is wrong
    state = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return _read_info(path, state)


@lru_cache(maxsize=100)
def _read_info(path: Path, state: tuple[int, ...]) -> ModelInfo:
    """The description in a file that is in a certain state."""
    metadata = read_metadata(path)
    hint = "`stylecli models` lists what there is"
    try:
        info = ModelInfo.from_metadata(metadata)
    except TypeError as error:
        raise StyleCliError(
            f"{path} was written by stylecli, but is not a model", hint=hint
        ) from error
    if bad := tensor_files.find_bad_fields(vars(info), tensor_files.MODEL):
        raise StyleCliError(f"{path} has a damaged description: its {bad[0]}", hint=hint)
    try:
        info.spec.check()
        if info.spec.width is None:
            raise StyleCliError("its width is missing", hint="get the file again")
        if info.format_version < 2 and info.spec.arch == "pyramid" and info.spec.norm != "in":
            metadata = {**metadata, "activation": "leaky_relu"}  # format 1 did not store it
        check_conventions(metadata)
    except StyleCliError as error:
        raise StyleCliError(f"{path} cannot be used: {error.message}", hint=error.hint) from error
    return replace(info, name=path.stem, styles=info.styles or [path.stem])


def check_conventions(metadata: Mapping[str, Any]) -> None:
    """Raise StyleCliError if metadata of a file name another kind of generator than there is."""
    for key, usual in CONVENTIONS.items():
        if (found := metadata.get(key, usual)) != usual:
            raise StyleCliError(
                f"its {key} is {found!r}, and only {usual} is supported",
                hint="train it again; an earlier version of stylecli still paints with it",
            )


def load_arrays(path: Path) -> "dict[str, NDArray[Any]]":
    """The weights in a model file as NumPy's arrays, without torch.

    First, the names, types and shapes in the file's header are compared with its description, so
    that nothing is allocated for weights that a damaged file only claims to have.

    Raises:
        StyleCliError: the file is damaged or foreign, or its weights are not all finite.
    """
    import numpy as np

    with open_tensors(path) as file:
        expected = _check_header(path, file)
        arrays = {name: file.get_tensor(name) for name in expected}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise StyleCliError(
            f"the weights in {path} are not all finite numbers: it would paint black",
            hint="train it again, or get the file again",
        )
    return arrays


def _check_header(path: Path, file: Any) -> list[str]:
    """The names of the weights in a file; StyleCliError if they do not fit its description."""
    info = read_info(path)
    expected = weight_shapes(info.spec, len(info.styles))
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    listed = {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    # The count of batches is the only whole number in a model.
    types = {name: "I64" if name.endswith("num_batches_tracked") else "F32" for name in expected}
    if listed != {name: (types[name], shape) for name, shape in expected.items()}:
        raise StyleCliError(
            f"the weights in {path} do not fit what it says it is: {info.spec.arch}, "
            f"{info.spec.norm}",
            hint="train it again, or get the file again",
        )
    return list(expected)


def save_model(path: Path, generator: "Generator", info: ModelInfo) -> None:
    """Write a model file.

    Raises:
        StyleCliError: the folder cannot be written.
    """
    save_tensors(path, generator.state_dict(), info.as_metadata())


def load_model(name: str, style: str | None = None) -> "tuple[Generator, ModelInfo]":
    """A generator that paints one style, in eval mode on the CPU.

    Args:
        name: a model's name or path, or the name of one of several styles in a model.
        style: one of its styles, such as ``a``; or a blend, such as ``a:0.7,b:0.3``.

    Raises:
        StyleCliError: there is no such model or style, or the file is damaged or foreign.
    """
    path, info, mix = find_style(name, style)
    return load_generator(path, mix), info


def find_style(name: str, style: str | None = None) -> tuple[Path, ModelInfo, list[float]]:
    """The file that :func:`load_model` would load, its description, and the shares of its styles.

    Raises:
        StyleCliError: there is no such model or style, or the file is damaged or foreign.
    """
    path = find_model(name)
    info = read_info(path)
    named = match_name(name, info.styles)
    if named and style and not match_name(name, [info.name]) and not match_name(style, [named]):
        words = shlex.join(["--model", name_for(path), "--style", style])
        raise StyleCliError(
            f"{named} is one style of the model {info.name}, and --style {style} is another",
            hint=f"pass {words}",
        )
    return path, info, parse_mix(named if style is None else style, info.styles)


def load_generator(path: Path, mix: Sequence[float] | None = None) -> "Generator":
    """The generator in a model file, in eval mode on the CPU.

    Args:
        path: the model file.
        mix: the shares of its styles in the one that it paints; None keeps them all.

    Raises:
        StyleCliError: the file is damaged or foreign, or its weights are not all finite.
    """
    import torch

    from stylecli.core.generators import Generator

    info, arrays = read_info(path), load_arrays(path)
    generator = Generator(info.spec).remix(torch.ones(len(info.styles), 1))
    generator.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return (generator if mix is None else generator.remix(torch.tensor([mix]))).eval()
