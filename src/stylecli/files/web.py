"""Files of the web, fetched with Python's own library."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, IncompleteRead
from ipaddress import ip_address
from socket import getaddrinfo
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from stylecli.errors import StyleCliError

_PATIENCE = 30.0  # seconds in which nothing comes
_PART = 2**18  # bytes
# An address of this machine.
_HERE = re.compile(r"http://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?([/?#]|$)", re.IGNORECASE)
# What may stand in an address as it is; a blank or an umlaut must be written as %20 or %C3%BC.
_PLAIN = "%/:=&?~#+!$,;'@()*[]"


def read_web(url: str) -> Iterator[tuple[bytes, int]]:
    """A file of the web, part by part, each with the length of the whole; 0 if it is unknown.

    Raises:
        StyleCliError: the address is neither ``https`` nor of this machine, as for
            :func:`_require_safe`; there is no such file or connection, nothing came for 30
            seconds, or the connection was cut.
    """
    # A proxy would take a file of this machine past other machines.
    handlers = [_Redirects(), *([ProxyHandler({})] if _HERE.match(url) else [])]
    with _web_failures(url):
        _require_safe(url)
        request = Request(quote(url, safe=_PLAIN), headers={"User-Agent": "stylecli"})
        response: HTTPResponse
        with build_opener(*handlers).open(request, timeout=_PATIENCE) as response:
            total, done = response.length or 0, 0
            while part := response.read(_PART):
                done += len(part)
                yield part, total
        if done < total:  # the library takes the end of a connection for the end of the file
            raise HTTPException(f"the connection was cut at byte {done:,}")


class _Redirects(HTTPRedirectHandler):
    """Follows a server to another address, if that is as safe and as public as the first."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """The request for the other address."""
        _require_safe(newurl)
        if _is_private(newurl) and not _is_private(req.full_url):
            raise StyleCliError(
                f"{req.full_url} leads to this machine or a network of it: {newurl}",
                hint="give the address of the file itself",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_safe(url: str) -> None:
    """Raise StyleCliError if others could read or change on its way what comes from an address.

    ``https`` prevents that. ``http`` is accepted from this machine only, where nobody is between.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise StyleCliError(
            "the address holds a user's name or password, which would be seen by others",
            hint="download the file with another program, and add that",
        )
    if parts.scheme.lower() != "https" and not _HERE.match(url):
        raise StyleCliError(
            f"{url} is not fetched: only https keeps others from changing a file on its way",
            hint=f"try https://{url.partition('://')[2]}",
        )


def _is_private(url: str) -> bool:
    """Whether an address is one of this machine, or of a network that the world cannot reach."""
    try:
        found = getaddrinfo(urlsplit(url).hostname or "", None)
    except (OSError, UnicodeError):  # a name that is unknown, or known to a proxy only
        return False
    # An address of the link may be followed by the name of an interface, as in fe80::1%eth0.
    return any(not ip_address(str(one[4][0]).partition("%")[0]).is_global for one in found)


@contextmanager
def _web_failures(url: str) -> Iterator[None]:
    """Turn every error of the library into one line that names the address."""
    try:
        yield
    except HTTPError as error:
        reason = f"the server says {error.code} {error.reason}"
    except IncompleteRead:
        reason = "the connection was cut"
    except TimeoutError:
        reason = f"nothing came for {_PATIENCE:.0f} seconds"
    except (OSError, HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    else:
        return
    raise StyleCliError(
        f"cannot fetch {url}: {reason.partition(chr(10))[0][:200]}",
        hint="check the address and the connection; the same command begins again",
    )
