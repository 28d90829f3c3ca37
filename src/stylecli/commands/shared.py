"""Used by all commands: common options, and how errors become exit codes."""

import functools
import gc
import inspect
import os
import shlex
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from stylecli.console import Reporter, report_output_failure, show_error
from stylecli.errors import StyleCliError
from stylecli.files.atomic import refuse_to_replace, require_writable
from stylecli.files.stores import Place, place

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
DEBUG = "STYLECLI_DEBUG"  # a variable of the environment: show the traceback of a bug
QUIET = typer.Option("--quiet", "-q", help="Show nothing but errors.")
OUTPUT = typer.Option("--output", "-o", metavar="OUT", help="The output, in place of OUT.")
OVERWRITE = typer.Option("--overwrite", help="Replace a file that is there.")
JSON = typer.Option("--json", help="Write what happens to stdout, one JSON object a line.")


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A decorator that turns an error which a user can cause into a line and an exit code."""

    @functools.wraps(function)
    def run(**given: Any) -> None:
        gc.freeze()  # what is imported stays: no need to look for garbage in it again and again
        gc.enable()
        try:
            function(**given)
        except typer.Exit:  # it is a RuntimeError, so it comes before those
            raise
        except StyleCliError as error:
            show_error(error)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError as error:  # as in `stylecli stylize photo.jpg - | head`
            raise typer.Exit(report_output_failure(error)) from None
        except OSError as error:  # unforeseen, such as a full disk or a name that is too long
            show_error(StyleCliError(str(error)))
            raise typer.Exit(2) from error
        except KeyboardInterrupt:
            show_error(StyleCliError("interrupted"))
            raise typer.Exit(130) from None
        except Exception as error:
            if hasattr(error, "format_message"):  # of typer, about the command line
                raise
            _show_failure(error)
            raise typer.Exit(1) from error

    return run


def _show_failure(error: Exception) -> None:
    """Show an error that no input causes: memory ran out, or the program has a bug."""
    from stylecli.core.backend import lacks_memory  # imports NumPy

    reason = str(error).partition("\n")[0]
    if lacks_memory(error):
        hint = "try smaller images, or another --device"
        show_error(StyleCliError(reason or "out of memory", hint=hint))
        return
    if os.environ.get(DEBUG):
        for line in "".join(traceback.format_exception(error)).splitlines():
            Reporter().say(line)
    what = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    hint = f"please report it, with what `stylecli doctor` prints; {DEBUG}=1 shows where it is"
    show_error(StyleCliError(f"a bug of stylecli: {what}", hint=hint))


def path_or_url(text: str) -> Place:
    """The path or the URL that a text names.

    Raises:
        typer.BadParameter: the text is empty, as from a variable of the shell that is not set; it
            would mean the current folder.
    """
    if not text:
        raise typer.BadParameter(
            "an empty name is neither a file nor a folder; for this folder, give ."
        )
    return place(text)


def choose_output(last: Path | None, named: Path | None, default: Path | None = None) -> Path:
    """The output of a command, which is its last argument or the value of --output.

    Raises:
        StyleCliError: both were given; or neither, and there is no default.
    """
    if last is not None and named is not None:
        raise StyleCliError(
            f"two outputs were given: {last} and --output {named}", hint="leave one of them out"
        )
    if (out := last or named or default) is None:
        raise StyleCliError("no output was given", hint="name it last, or with --output")
    return out


def prepare_output(target: Path, *inputs: Path, overwrite: bool) -> None:
    """Make the folder of an output.

    Raises:
        StyleCliError: the output is a folder, an input, or there and not to be replaced; or its
            folder cannot be written to.
    """
    if target.is_dir():
        raise StyleCliError(f"{target} is a folder", hint="give the output another name")
    for path in inputs:
        if target.resolve() == path.resolve():
            raise StyleCliError(f"{path} would be overwritten", hint="give the output another name")
    if not overwrite:
        refuse_to_replace(target)
    require_writable(target.parent)


def use_of(path: Path) -> str:
    """The command that paints with a model; it may be pasted, whatever its styles are called."""
    from stylecli.core.model_files import name_for, read_info  # not for --help

    styles = read_info(path).styles
    words = ["stylecli", "stylize", "PHOTOS", "OUT", "--model", name_for(path)]
    return shlex.join(words + (["--style", styles[-1]] if len(styles) > 1 else []))


def describe_command(command: Callable[..., None]) -> dict[str, Any]:
    """The help of a command and what stands at its end, the examples; both from its docstring.

    A paragraph becomes one line, which is folded to the width of the terminal. Blank lines part
    the examples: single line breaks are lost in some versions of typer.
    """
    text, _, examples = (inspect.getdoc(command) or "").partition("\n\nExamples:\n")
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    lines = ["Examples:", *(line.strip() for line in examples.splitlines())]
    return {"help": "\n\n".join(paragraphs), "epilog": "\n\n".join(lines)}
