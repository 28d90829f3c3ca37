"""The command line. No command imports torch before it computes: ``--help`` answers at once."""

import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from stylecli import __version__
from stylecli.commands.compare import compare
from stylecli.commands.exchange import export, import_
from stylecli.commands.gatys import gatys
from stylecli.commands.models import models
from stylecli.commands.sheet import sheet
from stylecli.commands.stylize import stylize
from stylecli.commands.train import train
from stylecli.console import show_error
from stylecli.errors import StyleCliError

app = typer.Typer(
    name="stylecli",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (stylize, train, compare, sheet, gatys, models, export):
    app.command()(command)
app.command("import")(import_)


def main() -> NoReturn:
    """The ``stylecli`` command."""
    try:
        code = app(standalone_mode=False)  # and errors are for us to show
    except SystemExit as ended:
        code = ended.code
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's, of what stands on the command line
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context else app.info.name
        show_error(StyleCliError(error.format_message(), hint=f"{path} --help"))
        code = 2
    with suppress(OSError):  # a reader that has seen enough
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))  # no tearing down: 0.1 s


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stylecli {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Paint photos in the style of a painting, in one pass of a network trained for it."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
