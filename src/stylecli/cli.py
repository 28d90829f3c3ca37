"""The command line. A command imports torch when it computes, so ``--help`` answers at once."""

import os
import sys
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
from stylecli.console import open_standard_streams, output_failed, show_error, write_out
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
    open_standard_streams()
    code = _run()
    try:
        sys.stdout.flush()
    except OSError as error:
        code = output_failed(error)
    os._exit(code)  # to tear the interpreter down would take 0.1 s


def _run() -> int:
    """Run the command that stands on the command line, and return its exit code."""
    try:
        code = app(standalone_mode=False)  # errors are shown below
    except SystemExit as ended:
        broken = isinstance(ended.__context__, BrokenPipeError)  # by rich, which shows the help
        code = output_failed(BrokenPipeError()) if broken else ended.code
    except OSError as error:  # in showing the help; commands handle their own
        code = output_failed(error)
    except Exception as error:
        if not hasattr(error, "format_message"):  # those of typer about the command line have it
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context else app.info.name
        message = " ".join(error.format_message().split())  # a list of choices has several lines
        show_error(StyleCliError(message, hint=f"{path} --help"))
        code = 2
    return code if isinstance(code, int) else int(code is not None)


def _show_version(wanted: bool) -> None:
    if wanted:
        write_out(f"stylecli {__version__}\n")
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
        write_out(context.get_help() + "\n")
        raise typer.Exit(2)
