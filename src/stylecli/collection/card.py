"""A model's card: a page in Markdown, with a head as the Hugging Face Hub reads it."""

import re
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from stylecli.collection.facts import generator_of, license_of, shown_size, training_of
from stylecli.collection.own import sum_of
from stylecli.core.model_files import ModelInfo, read_info
from stylecli.core.model_names import style_name
from stylecli.core.schema import is_control
from stylecli.events import counted


def render_card(path: Path) -> str:
    """The card of a model file, of nothing but what stands in it.

    Raises:
        StyleCliError: the file is damaged or is not a model.
    """
    return "\n".join(_lines(path, read_info(path))) + "\n"


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
