"""``stylecli models``."""

from pathlib import Path
from typing import Annotated

import typer

from stylecli.commands.shared import command
from stylecli.console import print_table
from stylecli.core.checkpoints import ModelInfo, find_model, list_models, read_info


@command
def models(
    name: Annotated[str | None, typer.Argument(help="A model's name or file, to see more.")] = None,
) -> None:
    """List the models that are bundled or found, or show what is in one file."""
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
    shown = {"file": path, "generator": info.arch, "norm": info.norm, "width": info.width}
    shown |= {
        "styles": ", ".join(info.styles),
        "output": info.output,
        "license": info.license or "not stated",
    }
    shown |= {f"loss: {name}": value for name, value in info.losses.items()}
    long = ("curve", "paintings_sha")
    told = {key: value for key, value in info.training.items() if value not in (None, "")}
    shown |= {key: value for key, value in told.items() if key not in long}
    print_table((key, _as_text(value)) for key, value in shown.items())


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_as_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
