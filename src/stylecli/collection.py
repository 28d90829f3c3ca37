"""How models are checked and added to the user's own, removed, and described to people."""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from stylecli.core.model_files import (
    ModelInfo,
    bundled_models,
    find_model,
    is_bundled,
    load_arrays,
    match_name,
    read_info,
    refuse_bundled_name,
    require_name,
    shorten_name,
    style_name,
    user_models,
)
from stylecli.core.tensor_files import SUFFIX, is_control, is_number
from stylecli.errors import StyleCliError, choose_from
from stylecli.events import pluralize
from stylecli.files.atomic import (
    atomic_path,
    refuse_to_replace,
    remove_leftovers,
    require_regular,
    writable_folder,
)
from stylecli.files.stores import Url, fetch, place, size_of

TITLES = ".title"  # the ending of the file beside a model with the name that the page shows
_MOST = 2 * 2**30  # bytes: the largest network that a file may describe has 1.5 GB

Source = Path | Url | str  # the last is an address of the web


class Added(NamedTuple):
    """A model that was added."""

    path: Path
    info: ModelInfo
    sha256: str  # of its bytes, 64 hexadecimal digits
    is_fetched: bool  # from another machine


def add_model(
    given: str,
    name: str | None = None,
    sha256: str | None = None,
    *,
    overwrite: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Added:
    """Copy a model into the user's folder, if it is one and has the SHA-256 that is given.

    Args:
        given: a file; an address of the web, or the URL of a store.
        name: the model's name from now on; None is the file's name, in lower case with hyphens.
        sha256: that its bytes must have.
        overwrite: replace a model of that name.
        report: is called with the bytes that are fetched and the bytes of the whole file, or 0 if
            its length is not known.

    Raises:
        StyleCliError: it cannot be read or written, is not a model, has another SHA-256, or is too
            large; or a model cannot have that name, or has it already.
    """
    source = _parse_source(given)
    wanted = None if sha256 is None else _parse_sha256(sha256)
    chosen = _derive_name(source) if name is None else require_name(name)
    refuse_bundled_name(chosen)
    target = user_models() / f"{chosen}{SUFFIX}"
    if not overwrite:
        refuse_to_replace(target)
    with writable_folder(target.parent):
        remove_leftovers(target.parent)
        with _replace_at_end(target) as temporary:
            _copy(source, temporary, report)
            found = _check(temporary, given, wanted)
            if not overwrite:
                _claim(target)
    return Added(target, read_info(target), found, not isinstance(source, Path))


def _parse_source(given: str) -> Source:
    if re.match("https?://", given, re.IGNORECASE):
        return given
    source = place(given)
    if isinstance(source, Path) and re.match(r"[A-Za-z][\w+.-]+://", given):
        raise StyleCliError(
            f"{given} is an address of a kind that is not known",
            hint="https://…, or that of a store: s3://, gs://, az://, hf://",
        )
    return require_regular(source) if isinstance(source, Path) else source


def _derive_name(source: Source) -> str:
    """The name of a model, from that of its file."""
    if isinstance(source, str):  # without what follows the name, such as ?download=true
        name = unquote(re.split("[?#]", source)[0]).rpartition("/")[2]
    else:
        name = source.name
    return shorten_name(style_name(Path(name))).strip("-")


def _parse_sha256(text: str) -> str:
    if not re.fullmatch("[0-9A-Fa-f]{64}", text):
        raise StyleCliError(
            f"--sha256 {text} is not a SHA-256",
            hint="64 hexadecimal digits, as sha256sum prints them",
        )
    return text.lower()


@contextmanager
def _explain_failure(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError in doing something to a file into a StyleCliError."""
    try:
        yield
    except OSError as error:
        raise StyleCliError(
            f"cannot {action} {path}: {error.strerror or error}",
            hint="check the permissions and the free space",
        ) from error


@contextmanager
def _replace_at_end(target: Path) -> Iterator[Path]:
    """A temporary path, whose file replaces the target at the end."""
    with _explain_failure("write", target):
        try:
            with atomic_path(target) as temporary:
                yield temporary
        except OSError:
            with suppress(OSError):
                if not target.stat().st_size:  # of _claim
                    target.unlink()
            raise


def _claim(target: Path) -> None:
    """Make an empty file, which is replaced at once: one of several processes can make it."""
    try:
        target.touch(exist_ok=False)
    except FileExistsError:
        refuse_to_replace(target)


def _copy(source: Source, path: Path, report: Callable[[int, int], None]) -> None:
    """Copy the bytes of a model into a file."""
    if isinstance(source, Url):
        _require_size(source, size_of(source))
        fetch(source, path)
    elif isinstance(source, Path):
        _require_size(source, source.stat().st_size)
        with _explain_failure("read", source):
            content = source.read_bytes()
        path.write_bytes(content)
    else:
        from stylecli.files.web import read_web  # not for a list of models: 0.02 s

        done = 0
        with path.open("wb") as file:
            for part, total in read_web(source):
                done += len(part)
                _require_size(source, max(done, total))
                file.write(part)
                report(done, total)


def _require_size(source: Source, size: int) -> None:
    if size > _MOST:
        raise StyleCliError(
            f"{source} is too large: no model has more than {_MOST / 2**30:.0f} GiB",
            hint="check that it is the model's own file",
        )


def _refuse_other_kinds(path: Path, given: str) -> None:
    """Raise StyleCliError if a file begins as HTML, a pointer of Git LFS or a PyTorch file."""
    with path.open("rb") as file:
        start = file.read(16)
    if re.match(rb"\s*<(!doctype|html|head)", start, re.IGNORECASE):
        raise StyleCliError(
            f"{given} is a page of HTML, not a model",
            hint="give the address of the file itself, not of a page about it",
        )
    if start.startswith(b"version https://"):
        raise StyleCliError(
            f"{given} is a pointer of Git LFS, not the file that it stands for",
            hint="git lfs pull; or the address that a button for downloads has",
        )
    # The first 8 bytes of a safetensors file are the length of its header, below 2^32.
    if re.match(rb"PK\x03\x04|\x80[\x02-\x05]", start) and any(start[4:8]):
        raise StyleCliError(
            f"{given} is a checkpoint as PyTorch writes it, not a model of stylecli",
            hint="`stylecli import FILE NAME` turns one of the fast_neural_style example into one",
        )


def _check(path: Path, given: str, wanted: str | None) -> str:
    """Check that a file is a model of a certain SHA-256, or any; return its SHA-256."""
    _refuse_other_kinds(path, given)
    found = sha256_of(path.read_bytes()).hexdigest()
    if wanted not in (None, found):
        raise StyleCliError(
            f"{given} has the SHA-256 {found}, and {wanted} was given",
            hint="it is another file, or was changed on its way: do not use it",
        )
    try:
        load_arrays(path)
    except StyleCliError as error:
        message = error.message.replace(str(path), given)
        raise StyleCliError(message, hint=error.hint) from error
    return found


def remove_model(name: str) -> Path:
    """Remove a model from the user's folder; returns the path that it had.

    Raises:
        StyleCliError: no model has that name, or it lies elsewhere.
    """
    path = user_models() / f"{match_name(name, list_own_names()) or name}{SUFFIX}"
    if Path(name).name != name or not os.path.lexists(path):
        raise _explain_not_own(name)
    with _explain_failure("remove", path):
        path.unlink()
        path.with_suffix(TITLES).unlink(missing_ok=True)
    return path


def rename_model(name: str, wanted: str) -> Path:
    """Give a model in the user's folder another name; returns the path that it has then.

    Raises:
        StyleCliError: no model has that name; the other is not one for a model, or is taken.
    """
    path = user_models() / f"{name}{SUFFIX}"
    if name not in list_own_names():
        raise _explain_not_own(name)
    refuse_bundled_name(require_name(wanted))
    target = path.with_name(f"{wanted}{SUFFIX}")
    with _explain_failure("rename", path):
        _claim(target)
        path.replace(target)
    return target


def list_own_names() -> list[str]:
    """The names of the models in the user's folder, broken ones too."""
    return sorted(path.stem for path in user_models().glob(f"[!.]*{SUFFIX}"))


def _explain_not_own(name: str) -> StyleCliError:
    """The error for a name that is not that of a model in the user's folder."""
    if Path(name).name != name:
        hint = "the name of a model that you have added; a file elsewhere is yours to remove"
        return StyleCliError(f"{name!r} is not the name of a model", hint=hint)
    names = list_own_names()
    hint = choose_from(name, names) if names else "you have added none"
    try:
        path = find_model(name)
    except StyleCliError:
        return StyleCliError(f"there is no model {name!r} among those you have added", hint=hint)
    if not match_name(name, [path.stem]):
        return StyleCliError(f"{name} is a style of {path}; only a model is removed", hint=hint)
    if is_bundled(path):
        return StyleCliError(f"{name} is bundled with the program, and stays", hint=hint)
    words = shlex.join(["rm", str(path)])
    return StyleCliError(f"{name} is in the folder that you are in: {path}", hint=words)


# The Hugging Face Hub's names of licenses that are found in a model's line.
_LICENSES = (
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "unlicense", "cc0-1.0"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-nd-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0"),
)

Facts = dict[str, str]

_NORMS = {"in": "instance norm", "bn": "batch norm", "none": "no norm"}


def format_size(path: Path) -> str:
    """The size of a file, such as ``1.8 MB``."""
    return f"{path.stat().st_size / 1e6:.1f} MB"


@lru_cache
def _bundled_paintings() -> dict[str, Facts]:
    """Title, painter and year of each bundled painting, by its style's name."""
    text = (bundled_models() / "paintings" / "paintings.json").read_text(encoding="utf-8")
    paintings: dict[str, Facts] = json.loads(text)
    return paintings


def painting_of(path: Path, style: str) -> Facts:
    """Title, painter and year of the painting of a bundled model's style; {} of any other model.

    In a file from elsewhere, the name of a style does not say which painting it comes from.
    """
    return _bundled_paintings().get(style, {}) if is_bundled(path) else {}


def describe_model(path: Path, info: ModelInfo, style: str | None = None) -> Facts:
    """Name to value of each fact in a model file, for people."""
    painting = ", ".join(filter(None, painting_of(path, style or "").values()))
    chosen = {"style": style, "painting": painting} if style else {}
    return {
        **{what: text for what, text in chosen.items() if text},
        "file": f"{path}, {format_size(path)}",
        "styles": ", ".join(info.styles),
        "license": info.license or "not stated",
        "generator": describe_generator(info),
        **describe_training(info),
    }


def describe_generator(info: ModelInfo) -> str:
    """The generator of a model, in one line."""
    spec = info.spec
    noise = "no noise" if spec.noise == "none" else f"{spec.noise} noise"
    return f"{spec.arch}, {_NORMS[spec.norm]}, {spec.width} channels in the first layer, {noise}"


def describe_training(info: ModelInfo) -> Facts:
    """How a model was made: name to value; a file may lack any of them."""
    training: dict[str, Any] = info.training

    def number(key: str) -> float:
        value = training.get(key)
        return float(value) if is_number(value) else 0.0  # type: ignore[arg-type]

    lines = {
        "imported_from": ("imported from", str(training.get("imported_from"))),
        "paintings": ("paintings", ", ".join(training.get("paintings", []))),
        "style_size": ("painting size", f"short side of {number('style_size'):.0f} px"),
        "steps_done": (
            "trained for",
            f"{pluralize(int(number('steps_done')), 'step')} in "
            f"{number('seconds') / 60:.1f} minutes on {training.get('device')}",
        ),
        "content_photos": (
            "trained on",
            f"{number('content_photos'):,.0f} photos, {number('batch_size'):.0f} at a time, "
            f"in crops of {number('size'):.0f} px",
        ),
        "init": ("started from", str(training.get("init"))),
        "stylecli": ("made with", f"stylecli {training.get('stylecli')}"),
    }
    made = dict(line for key, line in lines.items() if key in training)
    if info.losses:
        made["losses at the end"] = ", ".join(f"{k} {v:,.0f}" for k, v in info.losses.items())
    return made


def license_of(line: str) -> str:
    """The Hugging Face Hub's name of the license that a model's line begins with.

    It is found only in a line that begins with it and a full stop, such as ``Weights: MIT. …``;
    otherwise it is ``other``, and ``unknown`` for an empty line.
    """
    known = "|".join(map(re.escape, _LICENSES)).replace(r"\-", "[ -]")
    found = re.match(rf"(?:weights: *)?({known})(?: license)?(?=$|[.;](?: |$))", line.lower())
    if not line.strip():
        return "unknown"
    return found[1].replace(" ", "-") if found else "other"


def render_card(path: Path) -> str:
    """The card of a model file, in Markdown, made of its description alone.

    Raises:
        StyleCliError: the file is damaged or is not a model.
    """
    return "\n".join(_list_card_lines(path, read_info(path))) + "\n"


def _list_card_lines(path: Path, info: ModelInfo) -> Iterator[str]:
    """The lines of a card."""
    sha256 = sha256_of(path.read_bytes()).hexdigest()
    name, several = _clean_line(info.name), len(info.styles) > 1
    choice = f" --style {shlex.quote(info.styles[0])}" if several else ""
    yield from ("---", f"license: {license_of(info.license)}", "library_name: stylecli")
    yield from ("pipeline_tag: image-to-image", "tags:", "- style-transfer", "---", "")
    yield from (f"# {_escape_markdown(name)}", "")
    yield "A network for `stylecli` that paints any photo in the style of a painting."
    yield f"It holds {pluralize(len(info.styles), 'style')}."
    yield from ("", f"- **Generator**: {_escape_markdown(describe_generator(info))}")
    yield f"- **File**: {_escape_markdown(name + path.suffix)}, safetensors, {format_size(path)}"
    yield from ("", "## Styles", "", *(f"- {_escape_markdown(style)}" for style in info.styles))
    yield from ("", "## How it was made", "")
    made = describe_training(info)
    yield from (
        f"- **{what.capitalize()}**: {_escape_markdown(text)}" for what, text in made.items()
    )
    yield from [] if made else ["The file does not say."]
    yield from ("", "## How to use it", "", "```sh")
    yield f"stylecli models add {shlex.quote(name + path.suffix)} --sha256 {sha256}"
    yield f"stylecli stylize photo.jpg painted.jpg --model {shlex.quote(style_name(path))}{choice}"
    yield from ("```", "", "## License", "")
    yield _escape_markdown(info.license) or "The file states no license."


def _clean_line(text: str) -> str:
    """A text on one line, without control characters."""
    return "".join(char for char in " ".join(text.split()) if not is_control(char))


def _escape_markdown(text: str) -> str:
    """A text on one line, escaped so that Markdown and HTML show it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&$])", r"\\\1", _clean_line(text))
