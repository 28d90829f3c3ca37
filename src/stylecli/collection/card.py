"""A model's card: a page in Markdown, with a head as the Hugging Face Hub reads it."""

import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from stylecli.collection.facts import generator_of, shown_size, training_of
from stylecli.collection.own import sum_of
from stylecli.core.model_files import ModelInfo, read_info
from stylecli.core.model_names import style_name
from stylecli.core.schema import is_control
from stylecli.events import counted

# The Hub's names of licenses that a model may state in the first words of its line.
_LICENSES = (
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "unlicense", "cc0-1.0"),
    *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-nd-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0"),
)


def render_card(path: Path) -> str:
    """The card of a model file, of nothing but what stands in it.

    Raises:
        StyleCliError: the file is damaged or is not a model.
    """
    return "\n".join(_lines(path, read_info(path))) + "\n"


def license_of(line: str) -> str:
    """The Hub's name of the license that a model's line begins with; ``other`` if it has none.

    Only a line of which nothing can be misread has one, such as ``Weights: MIT. Painting: …``.
    """
    known = "|".join(map(re.escape, _LICENSES)).replace(r"\-", "[ -]")
    found = re.match(rf"(?:weights: *)?({known})(?: license)?(?=$|[.;](?: |$))", line.lower())
    if not line.strip():
        return "unknown"
    return found[1].replace(" ", "-") if found else "other"


def _lines(path: Path, info: ModelInfo) -> Iterator[str]:
    """The lines of a card."""
    name, several = _shown(info.name), len(info.styles) > 1
    choice = f" --style {quote(info.styles[0])}" if several else ""
    yield from ("---", f"license: {license_of(info.license)}", "library_name: stylecli")
    yield from ("pipeline_tag: image-to-image", "tags:", "- style-transfer", "---", "")
    yield from (f"# {_plain(name)}", "")
    yield "A network for `stylecli` that paints any photo in the style of a painting, in one pass."
    yield f"It holds {counted(len(info.styles), 'style')}."
    yield from ("", f"- **Generator**: {_plain(generator_of(info))}")
    yield f"- **File**: {_plain(name + path.suffix)}, safetensors, {shown_size(path)}"
    yield from ("", "## Styles", "", *(f"- {_plain(style)}" for style in info.styles))
    yield from ("", "## How it was made", "")
    made = training_of(info)
    yield from (f"- **{what.capitalize()}**: {_plain(text)}" for what, text in made.items())
    yield from [] if made else ["The file does not say."]
    yield from ("", "## How to use it", "", "```sh")
    yield f"stylecli models add {quote(name + path.suffix)} --sha256 {sum_of(path)}"
    yield f"stylecli stylize photo.jpg painted.jpg --model {quote(style_name(path))}{choice}"
    yield from ("```", "", "## License", "")
    yield _plain(info.license) or "The file states no license."


def _shown(text: str) -> str:
    """A text on one line, without what commands a terminal."""
    return "".join(char for char in " ".join(text.split()) if not is_control(char))


def _plain(text: str) -> str:
    """A text from a file that means nothing else in Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&$])", r"\\\1", _shown(text))
