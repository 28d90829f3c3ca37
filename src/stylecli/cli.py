"""The command line. Commands import torch only to compute, so that ``--help`` answers at once."""

import os
import sys
import warnings
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer import _completion_shared
from typer.core import TyperGroup
from typer.main import get_command

from stylecli import __version__
from stylecli.commands.shared import HELP_NAMES, describe_command
from stylecli.console import open_standard_streams, report_output_failure, show_error, write_out
from stylecli.errors import StyleCliError

# NumPy's own threads are of no use here, and wait busily for work while the engine starts.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Name to module and function, in the order in which the help lists them.
_COMMANDS = {
    "stylize": ("stylize", "stylize"),
    "train": ("train", "train"),
    "compare": ("compare", "compare"),
    "sheet": ("sheet", "sheet"),
    "gatys": ("gatys", "gatys"),
    "models": ("models", "models"),
    "export": ("exchange", "export"),
    "import": ("exchange", "import_"),
    "serve": ("serve", "serve"),
    "doctor": ("doctor", "doctor"),
}


class _Commands(TyperGroup):
    """The commands. The module of a command is imported when it is called, completed or listed."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: dict[str, Any] = dict.fromkeys(_COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name; None if there is none."""
        if cmd_name in _COMMANDS and not self.commands[cmd_name]:
            module, function = _COMMANDS[cmd_name]
            found = getattr(import_module(f"stylecli.commands.{module}"), function)
            app = found
            if not isinstance(found, typer.Typer):  # it has no commands of its own
                app = typer.Typer(add_completion=False, context_settings=HELP_NAMES)
                app.command(cmd_name, **describe_command(found))(found)
            self.commands[cmd_name] = get_command(app)
        return self.commands.get(cmd_name)


app = typer.Typer(
    name="stylecli",
    cls=_Commands,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings=HELP_NAMES,
)

# Zsh runs the script that typer installs in place of the function that it defines, when that is
# first needed; without this line, the first TAB of each session would do nothing.
_completion_shared._completion_scripts["zsh"] += (
    '[[ $funcstack[1] == _%(prog_name)s ]] && %(complete_func)s "$@"\n'
)


def main() -> NoReturn:
    """The ``stylecli`` command."""
    # Torch built for CUDA imports it, and that starts ldconfig; nothing here needs it.
    sys.modules["cuda.bindings"] = None  # type: ignore[assignment]  # Python's way to say: not there
    open_standard_streams()
    # Odd files are read all the same. In another program, Pillow's warnings are for its author.
    warnings.filterwarnings("ignore", module=r"PIL\b")
    code = _run()
    try:
        sys.stdout.flush()
    except OSError as error:
        code = report_output_failure(error)
    os._exit(code)  # to tear the interpreter down would take 0.1 s


def _run() -> int:
    """Run the command that stands on the command line, and return its exit code."""
    try:
        code = app(standalone_mode=False)  # errors are shown below
    except SystemExit as ended:
        broken = isinstance(ended.__context__, BrokenPipeError)  # by rich, which shows the help
        code = report_output_failure(BrokenPipeError()) if broken else ended.code
    except OSError as error:  # in showing the help; commands handle their own
        code = report_output_failure(error)
    except Exception as error:
        if not hasattr(error, "format_message"):  # those of typer about the command line have it
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context else app.info.name
        message = " ".join(error.format_message().split())  # a list of choices has several lines
        show_error(StyleCliError(message, hint=f"{path} --help"))
        code = 2
    return code if isinstance(code, int) else int(code is not None)


def _show_version(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:  # it is so while a shell asks for completions
        write_out(f"stylecli {__version__}\n")
        raise typer.Exit


def _top(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Paint photos and films in the style of a painting, with a network that is trained for it.

    stylecli COMMAND --help shows what a command can do.

    Examples:
        stylecli stylize photo.jpg painted.jpg
        stylecli train painting.jpg
    """
    if context.invoked_subcommand is None:
        write_out(context.get_help() + "\n")
        raise typer.Exit(2)


app.callback(**describe_command(_top))(_top)
