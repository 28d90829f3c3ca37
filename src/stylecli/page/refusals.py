"""Errors that a request causes, each with its status in HTTP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from stylecli.engine.pipeline import is_disk_full
from stylecli.errors import StyleCliError


class RefusedError(StyleCliError):
    """A request that is not carried out.

    Args:
        status: of HTTP: 403 is foreign, 404 unknown, 409 not now, 413 too large, 429 too many at
            once, 507 no room on the disk.
        message: one line: what was given and what was expected.
        hint: one line: what to do now.
    """

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


def answer_error(error: StyleCliError) -> Response:
    """The answer that tells the page of an error; its status is 400 if it has none of its own."""
    status = getattr(error, "status", 507 if is_disk_full(error) else 400)
    return JSONResponse({"error": error.message, "hint": error.hint}, status_code=status)


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse an object of JSON.

    Raises:
        RefusedError: it is not one.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise RefusedError(400, "the request is not an object of JSON")
    return given


@contextmanager
def say_name(name: str, path: Path) -> Iterator[None]:
    """Let errors tell what the user calls a file in place of its path."""
    try:
        yield
    except StyleCliError as error:
        error.message = error.message.replace(str(path), name)
        error.hint = error.hint.replace(str(path), name)
        raise
