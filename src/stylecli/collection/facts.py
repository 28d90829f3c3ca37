"""The description in a model file, in plain words."""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Any

from stylecli.core.model_files import (
    ModelInfo,
    bundled_models,
    is_bundled,
    read_info,
    style_name,
)
from stylecli.core.tensor_files import is_control, is_number
from stylecli.events import pluralize

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
    return "\n".join(_lines(path, read_info(path))) + "\n"


def _lines(path: Path, info: ModelInfo) -> Iterator[str]:
    """The lines of a card."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    name, several = _shown(info.name), len(info.styles) > 1
    choice = f" --style {quote(info.styles[0])}" if several else ""
    yield from ("---", f"license: {license_of(info.license)}", "library_name: stylecli")
    yield from ("pipeline_tag: image-to-image", "tags:", "- style-transfer", "---", "")
    yield from (f"# {_plain(name)}", "")
    yield "A network for `stylecli` that paints any photo in the style of a painting."
    yield f"It holds {pluralize(len(info.styles), 'style')}."
    yield from ("", f"- **Generator**: {_plain(describe_generator(info))}")
    yield f"- **File**: {_plain(name + path.suffix)}, safetensors, {format_size(path)}"
    yield from ("", "## Styles", "", *(f"- {_plain(style)}" for style in info.styles))
    yield from ("", "## How it was made", "")
    made = describe_training(info)
    yield from (f"- **{what.capitalize()}**: {_plain(text)}" for what, text in made.items())
    yield from [] if made else ["The file does not say."]
    yield from ("", "## How to use it", "", "```sh")
    yield f"stylecli models add {quote(name + path.suffix)} --sha256 {sha256}"
    yield f"stylecli stylize photo.jpg painted.jpg --model {quote(style_name(path))}{choice}"
    yield from ("```", "", "## License", "")
    yield _plain(info.license) or "The file states no license."


def _shown(text: str) -> str:
    """A text on one line, without control characters."""
    return "".join(char for char in " ".join(text.split()) if not is_control(char))


def _plain(text: str) -> str:
    """A text on one line, escaped so that Markdown and HTML show it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&$])", r"\\\1", _shown(text))
