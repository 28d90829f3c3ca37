"""Errors that a request causes, each with its status in HTTP."""

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


def status_of(error: StyleCliError) -> int:
    """The status in HTTP of an error that the user can put right; 400 if it has none."""
    if isinstance(error, RefusedError):
        return error.status
    return 507 if is_disk_full(error) else 400


def answer_error(status: int, error: str, hint: str = "") -> Response:
    """The answer that tells the page of an error."""
    return JSONResponse({"error": error, "hint": hint}, status_code=status)
