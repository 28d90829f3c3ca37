"""``stylecli models``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from stylecli.commands import completion
from stylecli.commands.shared import command
from stylecli.console import print_table
from stylecli.core.model_files import ModelInfo, find_model, list_models, read_info
from stylecli.core.schema import is_number
from stylecli.events import counted

_NAME = "Name, file or URL of a model, or the name of a style in it."


@command
def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help=_NAME, autocompletion=completion.models)
    ] = None,
) -> None:
    """List the models that there are, or show what is in one of them.

    They lie in the folder models/ of the folder you are in, in your data folder, and in the
    program.

    Examples:
        stylecli models
        stylecli models gallery
    """
    if name is not None:
        path = find_model(name)
        _print_model(path, read_info(path))
        return
    rows = [
        (path.stem, style, f"{info.arch}, {info.norm}, {info.width}", _size(path), str(path))
        for path, info in list_models()
        for style in info.styles
    ]
    print_table(rows, ("model", "style", "generator", "size", "file"))


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _print_model(path: Path, info: ModelInfo) -> None:
    shown = {
        "file": f"{path}, {path.stat().st_size / 1e6:.1f} MB",
        "styles": ", ".join(info.styles),
        "license": info.license or "not stated",
        "generator": _generator(info),
        **_how_it_was_made(info.training),
    }
    if info.losses:
        shown["losses at the end"] = ", ".join(f"{k} {v:,.0f}" for k, v in info.losses.items())
    print_table(shown.items())


def _generator(info: ModelInfo) -> str:
    norm = {"in": "instance norm", "bn": "batch norm", "none": "no norm"}.get(info.norm, info.norm)
    noise = "no noise" if info.noise == "none" else f"{info.noise} noise"
    return f"{info.arch}, {norm}, {info.width} channels in the first layer, {noise}"


def _how_it_was_made(training: dict[str, Any]) -> dict[str, str]:
    """The description of a training in plain words; each entry may be missing."""

    def number(key: str) -> float:
        value = training.get(key)
        return float(value) if is_number(value) else 0.0  # type: ignore[arg-type]

    lines = {
        "imported_from": ("imported from", str(training.get("imported_from"))),
        "paintings": ("paintings", ", ".join(training.get("paintings", []))),
        "style_size": ("painting size", f"short side of {number('style_size'):.0f} px"),
        "steps_done": (
            "trained for",
            f"{counted(int(number('steps_done')), 'step')} in {number('seconds') / 60:.1f} minutes"
            f" on {training.get('device')}",
        ),
        "content_photos": (
            "trained on",
            f"{number('content_photos'):,.0f} photos, {number('batch_size'):.0f} at a time, "
            f"in crops of {number('size'):.0f} px",
        ),
        "init": ("started from", str(training.get("init"))),
        "stylecli": ("made with", f"stylecli {training.get('stylecli')}"),
    }
    return dict(line for key, line in lines.items() if key in training)
