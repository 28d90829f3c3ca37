"""Model files: safetensors with JSON metadata, found by name or path. Nothing is unpickled."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from safetensors import SafetensorError, safe_open

from stylecli.core import schema
from stylecli.core.architectures.shapes import weight_shapes
from stylecli.core.spec import GeneratorSpec
from stylecli.errors import StyleCliError, choose_from
from stylecli.files.atomic import atomic_path
from stylecli.files.door import require_regular

if TYPE_CHECKING:  # torch takes seconds to import, and listing models needs none of it
    from numpy.typing import NDArray
    from torch import Tensor

    from stylecli.core.generators import Generator

FORMAT_VERSION = 2  # 1 had neither noise nor upsampling nor activation
_KEY = "stylecli"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    Attributes:
        name: what the user calls it: its file's, without the suffix.
        arch: the generator's architecture, see :class:`stylecli.core.generators.GeneratorSpec`.
        norm: its norm.
        width: its width.
        output: its output convention.
        noise: its noise.
        upsampling: how it doubles sides.
        activation: its activation.
        training: the training config and what came of it: steps, seconds, photos.
        losses: name to mean over the last steps of training.
        styles: the names of the styles it holds, in the order of their rows.
        thumbnail: the paintings of its last training as a small JPEG, base64.
        license: who may do what with it.
        format_version: of the file; a newer one than this program knows is refused.
    """

    name: str
    arch: str
    norm: str
    width: int
    output: str
    noise: str = "none"
    upsampling: str = "nearest"
    activation: str = "relu"
    training: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    styles: list[str] = field(default_factory=list)
    thumbnail: str = ""
    license: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def spec(self) -> GeneratorSpec:
        """What its generator is."""
        names = [one.name for one in fields(GeneratorSpec)]
        return GeneratorSpec(**{name: getattr(self, name) for name in names})


def bundled_models() -> Path:
    """The folder of models that ship with the program: in the package, or in a checkout of it."""
    packaged = Path(__file__).parents[1] / "models"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "models"


def model_folders() -> list[Path]:
    """Where a name is looked for, first to last: here, the user's own, the bundled."""
    return [Path("models"), platformdirs.user_data_path("stylecli") / "models", bundled_models()]


def list_models() -> Iterator[tuple[Path, ModelInfo]]:
    """Every model, the user's own before the bundled; files that are no model are passed over."""
    *own, bundled = model_folders()
    for folder in [*(one for one in own if one.resolve() != bundled.resolve()), bundled]:
        for path in sorted(folder.glob(f"[!.]*{SUFFIX}")):
            with suppress(StyleCliError):
                yield path, read_info(path)


def find_model(name: str) -> Path:
    """The file of a model, given its name or path, or the name of one of several styles in it.

    Raises:
        StyleCliError: there is none; the hint suggests the nearest name.
    """
    if name.endswith(SUFFIX) or "/" in name or "\\" in name:
        if Path(name).is_file():
            return Path(name)
        raise StyleCliError(f"no model file {name}", hint="`stylecli models` lists what there is")
    for folder in model_folders():
        if (folder / f"{name}{SUFFIX}").is_file():
            return folder / f"{name}{SUFFIX}"
    models = list(list_models())
    for path, info in models:
        if name in info.styles:
            return path
    names = {path.stem for path, _ in models}.union(*(info.styles for _, info in models))
    raise StyleCliError(f"no model named {name!r}", hint=choose_from(name, names))


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON that this program wrote into a safetensors file.

    Raises:
        StyleCliError: the file cannot be read, is damaged, or was not written by this program.
    """
    with _opened(path) as file:
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
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, of which only the header is read.

    The library checks that the tensors it lists are exactly as long as the rest of the file.
    """
    try:
        with safe_open(require_regular(path), framework="numpy") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def read_info(path: Path) -> ModelInfo:
    """What a model file says of itself, without loading its weights.

    Raises:
        StyleCliError: the file is damaged or is no model.
    """
    metadata = read_metadata(path)
    hint = "`stylecli models` lists what there is"
    try:
        info = ModelInfo(**metadata)
    except TypeError as error:
        raise StyleCliError(
            f"{path} was written by stylecli, but is no model", hint=hint
        ) from error
    if bad := schema.bad_fields(vars(info), schema.MODEL):
        raise StyleCliError(f"{path} has a damaged description: its {bad[0]}", hint=hint)
    if info.format_version < 2 and info.arch == "pyramid" and info.norm != "in":
        info = replace(info, activation="leaky_relu")  # it went without saying
    return replace(info, name=path.stem, styles=info.styles or [path.stem])


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
            # Not save_file, which makes files that only their owner can read.
            temporary.write_bytes(save(plain, metadata={_KEY: json.dumps(metadata)}))
    except (OSError, SafetensorError) as error:
        raise StyleCliError(
            f"cannot write {path}: {error}", hint="check the folder's permissions and free space"
        ) from error


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors file, on the CPU.

    Raises:
        StyleCliError: the file is missing or damaged.
    """
    from safetensors.torch import load

    try:
        # Not load_file, which maps the file: Windows then refuses to replace it.
        return load(require_regular(path).read_bytes())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def load_arrays(path: Path) -> "dict[str, NDArray[Any]]":
    """The weights in a model file as NumPy's arrays, without torch.

    Names, types and shapes are compared with what the file says it is, from its header alone:
    nothing is allocated for weights that are only claimed.

    Raises:
        StyleCliError: the file is damaged or foreign, or its weights are not all finite.
    """
    import numpy as np

    info = read_info(path)
    expected = weight_shapes(info.spec, len(info.styles))
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        listed = {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
        if listed != {name: (_type_of(name), shape) for name, shape in expected.items()}:
            raise StyleCliError(
                f"the weights in {path} do not fit what it says it is: {info.arch}, {info.norm}",
                hint="train it again, or get the file again",
            )
        arrays = {name: file.get_tensor(name) for name in expected}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise StyleCliError(
            f"the weights in {path} are not all finite numbers: it would paint black",
            hint="train it again, or get the file again",
        )
    return arrays


def _type_of(name: str) -> str:
    """What safetensors calls the type of a weight."""
    return "I64" if name.endswith("num_batches_tracked") else "F32"


def save_model(path: Path, generator: "Generator", info: ModelInfo) -> None:
    """Write a model file.

    Raises:
        StyleCliError: the folder cannot be written.
    """
    save_tensors(path, generator.state_dict(), asdict(info))


def load_model(name: str, style: str | None = None) -> "tuple[Generator, ModelInfo]":
    """A generator that paints one style, in eval mode on the CPU.

    Args:
        name: a model's name or path, or the name of one of several styles in a model.
        style: which of its styles: ``a``, or a blend ``a:0.7,b:0.3``.

    Raises:
        StyleCliError: there is no such model or style, or the file is damaged or foreign.
    """
    import torch

    path, info, mix = find_style(name, style)
    generator = load_generator(path)
    return (generator.remix(torch.tensor([mix])) if len(mix) > 1 else generator), info


def find_style(name: str, style: str | None = None) -> tuple[Path, ModelInfo, list[float]]:
    """What :func:`load_model` would load: the file, what it says, the shares of its styles.

    Raises:
        StyleCliError: there is no such model or style, or the file is damaged or foreign.
    """
    path = find_model(name)
    info = read_info(path)
    if name in info.styles and style is None:
        style = name
    elif name in info.styles and name not in (path.stem, style):
        raise StyleCliError(
            f"{name} is one style of the model {info.name}, and --style {style} is another",
            hint=f"pass --model {info.name} --style {style}",
        )
    return path, info, parse_mix(style, info.styles)


def parse_mix(text: str | None, styles: list[str]) -> list[float]:
    """Shares of styles, adding up to 1, from ``a`` or ``a:0.7,b:0.3``; None is the only one.

    Raises:
        StyleCliError: a style that is not there, a share that is no number, or none above 0.
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
        if name not in shares:
            raise StyleCliError(f"no style {name!r} in the model", hint=choose_from(name, styles))
        shares[name] += _share(share or "1", part)
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
        raise StyleCliError(f"{part!r} is no share of a style", hint="such as: a:0.7,b:0.3")
    return share


def load_generator(path: Path) -> "Generator":
    """The generator in a model file with all its styles, in eval mode on the CPU.

    Raises:
        StyleCliError: the file is damaged or foreign, or its weights are not all finite.
    """
    import torch

    from stylecli.core.generators import build_generator

    info, arrays = read_info(path), load_arrays(path)
    generator = build_generator(info.spec).remix(torch.ones(len(info.styles), 1))
    generator.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return generator.eval()


def _damaged(path: Path, error: Exception) -> StyleCliError:
    return StyleCliError(
        f"{path} cannot be read as a model: {error}",
        hint="it is damaged, cut short, or no model; `stylecli models` lists what there is",
    )
