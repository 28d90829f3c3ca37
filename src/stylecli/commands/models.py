"""``stylecli models``."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stylecli.commands.shared import command
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
    table = Table(box=None)
    for title in ("model", "style", "generator", "size", "file"):
        table.add_column(title, overflow="fold")
    for path, info in list_models():
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        generator = f"{info.arch}, {info.norm}, {info.width}"
        for style in info.styles:
            table.add_row(*map(Text, (path.stem, style, generator, size, str(path))))
    _print_table(table)


def _print_table(table: Table) -> None:
    """To stdout: folded to a terminal's width, each row on one line in a pipe."""
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


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
    table = Table(box=None, show_header=False)
    for key, value in shown.items():
        table.add_row(Text(key), Text(_as_text(value)))
    _print_table(table)


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_as_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_as_text, value))
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
