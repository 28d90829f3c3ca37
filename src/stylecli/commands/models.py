"""``stylecli models``: what there is, and commands that add, remove and describe models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stylecli.commands import completion
from stylecli.commands.shared import HELP_NAMES, QUIET, check_output, command, described
from stylecli.console import Reporter, print_table, write_out
from stylecli.core.model_files import find_model, list_models, read_info
from stylecli.errors import StyleCliError
from stylecli.events import counted

_OVERWRITE = typer.Option("--overwrite", help="Replace a file that is there.")


class _Models(TyperGroup):
    """The commands; any other word is the name of a model, which ``show`` shows."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is meant, and its arguments."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all; where a shell completes a word, those of the models too."""
        return [
            *super().list_commands(ctx),
            *(completion.models() if ctx.resilient_parsing else []),
        ]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name; the help that a shell shows of a model is that of ``show``."""
        return super().get_command(ctx, cmd_name) or self.commands["show"]


def _own_names() -> list[str]:
    from stylecli.collection.own import own_names

    return completion.plain(own_names())


models = typer.Typer(
    name="models",
    cls=_Models,
    invoke_without_command=True,
    add_completion=False,
    context_settings=HELP_NAMES,
    subcommand_metavar="[NAME | COMMAND ...]",
)
_Name = Annotated[
    str, typer.Argument(help="Name, file or URL of a model.", autocompletion=completion.models)
]
_OwnName = Annotated[str, typer.Argument(help="A model's name.", autocompletion=_own_names)]


def _below(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command below ``models``, of the same name."""
    return models.command(**described(function))(function)


@command
def list_(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with a photo in each style.")
    ] = None,
    overwrite: Annotated[bool, _OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """List the models that are bundled or found, show, add or remove one.

    NAME alone shows what is in that model.

    Examples:
        stylecli models gallery
        stylecli models --html models.html
    """
    if context.invoked_subcommand is not None:
        if as_json or html:
            raise StyleCliError(
                "--json and --html are of all models", hint="give no name and no other command"
            )
    elif html:
        _write_page(html, overwrite, quiet)
    elif as_json:
        write_out("".join(f"{json.dumps(entry)}\n" for entry in _entries()))
    else:
        _list()


models.callback(**described(list_))(list_)


def _list() -> None:
    from stylecli.collection.facts import shown_size

    rows = [
        (path.stem, style, f"{info.arch}, {info.norm}, {info.width}", shown_size(path), str(path))
        for path, info in list_models()
        for style in info.styles
    ]
    print_table(rows, ("model", "style", "generator", "size", "file"))


def _entries() -> list[dict[str, Any]]:
    """What ``--json`` says of each model."""
    names = ("name", "arch", "norm", "width", "styles", "license")
    return [
        {"file": str(path), "bytes": path.stat().st_size, **{k: vars(info)[k] for k in names}}
        for path, info in list_models()
    ]


def _write_page(path: Path, overwrite: bool, quiet: bool) -> None:
    check_output(path, overwrite=overwrite)
    from stylecli.collection.page import render_page

    with Reporter(quiet=quiet) as reporter:

        def report(done: int, total: int) -> None:
            reporter.advance("painting", done / total, f"{done}/{total}")

        _write(path, render_page(report))
    reporter.say(f"{path}: every model there is")


@_below
@command
def show(name: _Name) -> None:
    """Show what is in a model: its styles, its license, how it was made.

    Examples:
        stylecli models show gallery
        stylecli models show sky.safetensors
    """
    from stylecli.collection.facts import facts_of

    path = find_model(name)
    print_table(facts_of(path, read_info(path)).items())


@_below
@command
def add(
    given: Annotated[str, typer.Argument(metavar="FILE|URL", help="A model of stylecli.")],
    sha256: Annotated[str | None, typer.Option(help="The sum that the file must have.")] = None,
    name: Annotated[str | None, typer.Option(help=r"\[default: the file's name]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model.")] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Check a model, and copy it to where it is found from every folder.

    URL is https://…, or that of a store, such as hf://owner/repo/udnie.safetensors.

    Examples:
        stylecli models add sky.safetensors
        stylecli models add sky.safetensors --name starry-sky
    """
    from stylecli.collection.facts import shown_size
    from stylecli.collection.own import add_model

    with Reporter(quiet=quiet) as reporter:

        def report(done: int, total: int) -> None:
            whole = f" of {total / 1e6:.1f}" if total else ""
            reporter.advance(
                "fetching", done / total if total else 0.0, f"{done / 1e6:.1f}{whole} MB"
            )

        added = add_model(given, name, sha256, overwrite=overwrite, report=report)
    styles = counted(len(added.info.styles), "style")
    reporter.say(f"added {added.info.name}: {styles}, {shown_size(added.path)}, {added.path}")
    if sha256 is None:
        reporter.say(f"not compared with any sum; next time, give --sha256 {added.sha256}")
    found = find_model(added.path.stem)
    if found != added.path:
        reporter.say(f"in this folder, {added.info.name} is still {found}")
    choice = f" --style {added.info.styles[0]}" if len(added.info.styles) > 1 else ""
    reporter.say(f"stylecli stylize PHOTOS OUT --model {added.info.name}{choice}")


@_below
@command
def remove(name: _OwnName, quiet: Annotated[bool, QUIET] = False) -> None:
    """Remove a model that was added.

    Examples:
        stylecli models remove sky
        stylecli models remove starry-sky --quiet
    """
    from stylecli.collection.own import remove_model

    path = remove_model(name)
    with Reporter(quiet=quiet) as reporter:
        reporter.say(f"removed {path}")


@_below
@command
def export_card(
    name: _Name,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write.")] = None,
    overwrite: Annotated[bool, _OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Write a model's card for those to whom it is given: Markdown, as the Hugging Face Hub has it.

    It goes to standard output, unless a file is given.

    Examples:
        stylecli models export-card gallery
        stylecli models export-card sky.safetensors --output README.md
    """
    from stylecli.collection.card import render_card

    card = render_card(find_model(name))
    if output is None:
        write_out(card)
        return
    check_output(output, overwrite=overwrite)
    _write(output, card)
    with Reporter(quiet=quiet) as reporter:
        reporter.say(f"{output}: the card of {name}")


def _write(path: Path, text: str) -> None:
    from stylecli.files.atomic import atomic_path, require_writable

    require_writable(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # names that are no UTF-8
