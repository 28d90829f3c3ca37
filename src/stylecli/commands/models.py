"""``stylecli models``: lists models, and has commands that show, add, remove and describe them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stylecli.commands import completion
from stylecli.commands.shared import (
    HELP_NAMES,
    OVERWRITE,
    QUIET,
    command,
    describe_command,
    prepare_output,
    use_of,
)
from stylecli.console import Reporter, print_table, write_out
from stylecli.core.model_files import (
    ModelInfo,
    find_model,
    list_models,
    match_name,
    name_for,
    read_info,
)
from stylecli.errors import StyleCliError
from stylecli.events import pluralize
from stylecli.files.atomic import write_text


class _Models(TyperGroup):
    """The commands; any other word is the name of a model, which ``show`` shows."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands; where a shell completes a word, those of the models too."""
        return [
            *super().list_commands(ctx),
            *(completion.models() if ctx.resilient_parsing else []),
        ]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name; the help that a shell shows of a model is that of ``show``."""
        return super().get_command(ctx, cmd_name) or self.commands["show"]


def _own_names() -> list[str]:
    from stylecli.collection import list_own_names

    return completion.keep_plain(list_own_names())


models = typer.Typer(
    name="models",
    cls=_Models,
    invoke_without_command=True,
    add_completion=False,
    context_settings=HELP_NAMES,
    subcommand_metavar="[NAME | COMMAND ...]",
)
_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name, file or URL of a model.",
        autocompletion=completion.models,
    ),
]
_OwnName = Annotated[
    str, typer.Argument(metavar="NAME", help="A model's name.", autocompletion=_own_names)
]


def _add_command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command below ``models``, of the same name."""
    return models.command(**describe_command(function))(command(function))


@command
def list_(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="List them on stdout, one JSON object a line.")
    ] = False,
    paths: Annotated[
        bool, typer.Option("--paths", help="Show the files, their sizes and networks instead.")
    ] = False,
) -> None:
    """List the models that are bundled or found, show, add or remove one.

    NAME alone shows what is in that model, or what is known of that style.

    Examples:
        stylecli models gallery
        stylecli models --paths
    """
    if context.invoked_subcommand is not None:
        if as_json or paths:
            raise StyleCliError(
                "--json and --paths before a name or a command list all models",
                hint="leave the name out; for one model: stylecli models NAME --json",
            )
    elif as_json:
        write_out("".join(f"{json.dumps(_describe(*found))}\n" for found in list_models()))
    elif paths:
        _list_files()
    else:
        _list_styles()


models.callback(**describe_command(list_))(list_)


def _list_styles() -> None:
    """A row for each style: what to call it, its painting, and the license."""
    from stylecli.collection import license_of, painting_of

    rows = []
    for path, info in list_models():
        license_ = license_of(info.license)
        for style in info.styles:
            known = painting_of(path, style)
            surname = known.get("painter", "").partition(" ")[2]
            name = _name_of(path, style, len(info.styles))
            year = known.get("year", "").replace("about ", "~")
            rows.append((name, known.get("title", ""), surname, year, license_))
    print_table(rows, ("style", "painting", "painter", "year", "license"))


def _name_of(path: Path, style: str, count: int) -> str:
    """The text that chooses a style; the path of a model whose name another model has."""
    if count == 1:
        return name_for(path)
    return style if find_model(style) == path else f"{name_for(path)} --style {style}"


def _list_files() -> None:
    """A row for each model: its file, its size and its network."""
    from stylecli.collection import format_size

    rows = []
    for path, info in list_models():
        network = f"{info.spec.arch}, {info.spec.norm}, {info.spec.width}"
        rows.append((path.stem, network, format_size(path), str(path)))
    print_table(rows, ("model", "network", "size", "file"))


def _describe(path: Path, info: ModelInfo) -> dict[str, Any]:
    """What ``--json`` says of a model."""
    names = ("name", "arch", "norm", "width", "styles", "license")
    metadata = info.as_metadata()
    described = {name: metadata[name] for name in names}
    return {"file": str(path), "bytes": path.stat().st_size, **described}


@_add_command
def show(
    name: _Name,
    as_json: Annotated[bool, typer.Option("--json", help="Say it as one JSON object.")] = False,
) -> None:
    """Show what is in a model: its styles, its license, how it was made; or one of its styles.

    Examples:
        stylecli models show gallery
        stylecli models show sky.safetensors
    """
    from stylecli.collection import describe_model, painting_of

    path = find_model(name)
    info = read_info(path)
    style = None if match_name(name, [info.name]) else match_name(name, info.styles)
    if as_json:
        painting = painting_of(path, style or "")
        chosen = {"style": style, **painting} if style else {}
        write_out(json.dumps({**_describe(path, info), **chosen}) + "\n")
    else:
        print_table(describe_model(path, info, style).items())


@_add_command
def add(
    given: Annotated[str, typer.Argument(metavar="FILE|URL", help="A model of stylecli.")],
    sha256: Annotated[str | None, typer.Option(help="The SHA-256 that the file must have.")] = None,
    name: Annotated[
        str | None, typer.Option(help=r"Its name here. \[default: the file's name]")
    ] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Check a model, and copy it to where it is found from every folder.

    URL is https://…, or that of a store, such as hf://owner/repo/udnie.safetensors.

    Examples:
        stylecli models add sky.safetensors
        stylecli models add sky.safetensors --name starry-sky
    """
    from stylecli.collection import add_model, format_size

    with Reporter(quiet=quiet) as reporter:

        def report(done: int, total: int) -> None:
            whole = f" of {total / 1e6:.1f}" if total else ""
            reporter.advance(
                "fetching", done / total if total else 0.0, f"{done / 1e6:.1f}{whole} MB"
            )

        added = add_model(given, name, sha256, overwrite=overwrite, report=report)
    styles = pluralize(len(added.info.styles), "style")
    reporter.say(f"added {added.info.name}: {styles}, {format_size(added.path)}, {added.path}")
    if sha256 is None and added.is_fetched:
        reporter.say(f"its SHA-256 was not compared; next time, give --sha256 {added.sha256}")
    reporter.say(use_of(added.path))


@_add_command
def remove(name: _OwnName, quiet: Annotated[bool, QUIET] = False) -> None:
    """Remove a model that was added.

    Examples:
        stylecli models remove sky
        stylecli models remove starry-sky --quiet
    """
    from stylecli.collection import remove_model

    path = remove_model(name)
    Reporter(quiet=quiet).say(f"removed {path}")


@_add_command
def export_card(
    name: _Name,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write.")] = None,
    overwrite: Annotated[bool, OVERWRITE] = False,
    quiet: Annotated[bool, QUIET] = False,
) -> None:
    """Write a model's card for those to whom it is given: Markdown, as the Hugging Face Hub has it.

    It goes to standard output, unless a file is given.

    Examples:
        stylecli models export-card gallery
        stylecli models export-card sky.safetensors --output README.md
    """
    from stylecli.collection import render_card

    card = render_card(find_model(name))
    if output is None:
        write_out(card)
        return
    prepare_output(output, overwrite=overwrite)
    write_text(output, card)
    Reporter(quiet=quiet).say(f"{output}: the card of {name}")
