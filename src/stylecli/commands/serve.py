"""``stylecli serve``."""

from importlib.util import find_spec
from typing import Annotated

import typer

from stylecli.commands.shared import command
from stylecli.console import Reporter, watch_for_stop
from stylecli.errors import StyleCliError

_NEEDED = ("starlette", "uvicorn", "websockets")
_PORT = r"The port. \[default: 8765, or a free one if that is taken; 0: a free one]"
_HOST = "Listen on this name or address. Other than this machine's own, the page needs a token."


@command
def serve(
    port: Annotated[int | None, typer.Option(metavar="N", min=0, max=65535, help=_PORT)] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help=_HOST)] = "127.0.0.1",
    browser: Annotated[
        bool,
        typer.Option(
            " /--no-browser", help="Do not open the page in a browser.", show_default=False
        ),
    ] = True,
) -> None:
    """Open a page in the browser: paint photos and films, train, compare, use the camera.

    All of it happens on this machine; no photo leaves it, and nothing is kept at the end but what
    you have downloaded and the models that you have trained. Ctrl-C ends it.

    Examples:
        stylecli serve
        stylecli serve --port 9000 --no-browser
    """
    _require_serving()
    from stylecli.page.server import serve as run_server

    with watch_for_stop() as should_stop:
        run_server(host, port, Reporter().say, should_stop, open_browser=browser)
    raise typer.Exit(130)


def _require_serving() -> None:
    """Raise StyleCliError if what serves the page is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise StyleCliError(
            f"serve needs {' and '.join(missing)}, which is not installed",
            hint="pip install 'stylecli[serve]'",
        )
