"""Sphinx: how the pages of this folder become a site; ``make docs``."""

from typing import Any

import stylecli
from stylecli.options import options_of

project = "stylecli"
release = stylecli.__version__
html_title = f"stylecli {release}"
html_theme = "furo"
html_show_sourcelink = False
html_show_copyright = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"


def _signature(app: Any, what: str, name: str, *_: object) -> tuple[str, str] | None:
    """None: as it is; a config class has a list of its options in place of a long signature."""
    return ("(**options)", "") if what == "class" and name.endswith("Config") else None


def _list_options(app: Any, what: str, name: str, obj: Any, _: object, lines: list[str]) -> None:
    """Add to the docstring of a config class what the command line's help says of its fields."""
    if what != "class" or not name.endswith("Config"):
        return
    lines += ["", "Options, and their defaults:", ""]
    for one in options_of(obj):
        lines.append(f"- ``{one.name}`` (``{one.default!r}``): {one.help}")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _list_options)
