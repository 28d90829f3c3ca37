"""One page in HTML that shows every model, and a photo in each of its styles."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stylecli import __version__
from stylecli.collection.facts import NORMS, format_size
from stylecli.core.model_files import ModelInfo, is_bundled, list_models, user_models
from stylecli.engine import Stylizer
from stylecli.errors import StyleCliError
from stylecli.events import Progress
from stylecli.files.colors import Rgb
from stylecli.files.content import bundled_photos
from stylecli.files.images import read_picture
from stylecli.files.pages import render_html
from stylecli.files.pictures import Picture, data_uri, read_thumbnail, shrink

_PHOTO = 22  # of the bundled ones: two parrots
_SHOWN = 480  # px, of the long side: twice what the page shows, for screens of fine pixels


Values = dict[str, Any]  # of a template, by name


def render_page(report: Callable[[Progress], None] = lambda event: None) -> str:
    """The page, with all pictures inside; a style that cannot be painted says why."""
    found = list(list_models())
    total = sum(len(info.styles) for _, info in found)
    photo = read_picture(bundled_photos()[_PHOTO]).rgb
    models: list[Values] = []
    done = 0
    for path, info in found:
        styles = []
        for name in info.styles:
            report(Progress(done / total, f"{done + 1}/{total}  {info.name}, {name}"))
            styles.append(_paint_style(path, info, name, photo))
            done += 1
        models.append(_describe_model(path, info, styles))
    return render_html(
        "models", models=models, photo=_embed(photo), total=total, version=__version__
    )


def _describe_model(path: Path, info: ModelInfo, styles: list[Values]) -> Values:
    """What the page shows of a model; ``paintings`` is the address of a picture, or empty."""
    words = ["stylecli", "stylize", "photo.jpg", "painted.jpg", "--model", info.name]
    words += ["--style", info.styles[0]] if len(info.styles) > 1 else []
    norm = NORMS[info.spec.norm]
    remark = (
        f"With {norm}, a picture depends on the contrast of its photo. Such models are for "
        "comparison; instance norm paints better."
    )
    facts = {
        "network": f"{info.spec.arch}, {norm}",
        "file": f"{format_size(path)}, {_describe_place(path)}",
        "license": info.license or "not stated",
    }
    squares = read_thumbnail(info.thumbnail)
    paintings = data_uri(np.concatenate(squares, axis=1), quality=82) if squares else ""
    return {
        "name": info.name,
        "facts": facts,
        "command": shlex.join(words),
        "remark": remark if info.spec.norm != "in" else "",
        "paintings": paintings,
        "styles": styles,
    }


def _paint_style(path: Path, info: ModelInfo, name: str, photo: Rgb) -> Values:
    """A style of a model, with the photo in it, or the reason if there is none."""
    try:
        stylizer = Stylizer(path, name if len(info.styles) > 1 else None)
        return {"name": name, "picture": _embed(stylizer(photo))}
    except StyleCliError as error:
        return {"name": name, "fault": error.message.replace(str(path), path.name)}


def _embed(rgb: Rgb) -> str:
    return data_uri(shrink(Picture(rgb), _SHOWN).rgb, quality=82)


def _describe_place(path: Path) -> str:
    """Where a model lies. Its folder is not named, because the page may be sent to others."""
    if is_bundled(path):
        return "comes with stylecli"
    own = path.parent.resolve() == user_models().resolve()
    return "added by you" if own else "in models/ of the folder in which this page was made"
