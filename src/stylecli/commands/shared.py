"""What all commands share: options, and how errors become exit codes."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import typer

from stylecli.console import output_failed, show_error
from stylecli.errors import StyleCliError

P = ParamSpec("P")
QUIET = typer.Option("--quiet", "-q", help="Say nothing but errors.")
JSON = typer.Option("--json", help="Events to stdout, a JSON object a line.")


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn what a user can cause into a line on stderr and an exit code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except typer.Exit:  # a RuntimeError too
            raise
        except StyleCliError as error:
            show_error(error)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError as error:  # of `stylecli stylize photo.jpg - | …`
            raise typer.Exit(output_failed(error)) from None
        except OSError as error:  # what nobody foresaw: a disk that is full, a name too long
            show_error(StyleCliError(str(error)))
            raise typer.Exit(2) from error
        except (RuntimeError, MemoryError) as error:  # of torch: out of memory, above all
            reason = str(error).partition("\n")[0]
            hint = "if memory ran out, try smaller images, or another --device"
            show_error(StyleCliError(reason or "out of memory", hint=hint))
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            show_error(StyleCliError("interrupted"))
            raise typer.Exit(130) from None

    return run


def named_path(text: str) -> Path:
    """A path as it is given, but not an empty one, which would mean the current folder.

    Raises:
        typer.BadParameter: it is empty, as a shell's variable is that was not set.
    """
    if not text:
        raise typer.BadParameter("an empty name is no file and no folder; for this folder, give .")
    return Path(text)


def refuse_input(target: Path, *inputs: Path) -> None:
    """Raise StyleCliError if an output would replace one of its own inputs, or is a folder."""
    if target.is_dir():
        raise StyleCliError(f"{target} is a folder", hint="give the output another name")
    for path in inputs:
        if target.resolve() == path.resolve():
            raise StyleCliError(f"{path} would be overwritten", hint="give the output another name")
