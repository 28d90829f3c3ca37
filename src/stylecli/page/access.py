"""Who may talk to the server: its own page in a browser, and nobody else.

A page of another site that is open in the same browser can send requests to every address of this
machine. It cannot forge the headers ``Host``, ``Origin`` and ``Sec-Fetch-Site``, which are
compared here. Against DNS rebinding, a name that is not the server's own is refused.
"""

import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stylecli.page.refusals import RefusedError, answer_error

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self'; connect-src 'self'; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# The report of a comparison is one file with styles, a script and pictures inside. It runs in the
# page's frame as from nowhere, and cannot talk to anybody.
REPORT_CSP = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_SAFE_METHODS = {"GET", "HEAD"}
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class AccessPolicy:
    """Which requests are let in.

    Attributes:
        hosts: the names and addresses of the server, without its port.
        port: its port.
        any_address: whether any address in numbers is taken for the server's own: it listens on
            all that the machine has.
        token: what the browser has to show; empty if nothing.
    """

    hosts: frozenset[str]
    port: int
    any_address: bool = False
    token: str = ""

    @classmethod
    def of(cls, host: str, port: int, names: Iterable[str] = ()) -> "AccessPolicy":
        """The policy of a server that listens on a host.

        Args:
            host: a name or an address; a token is made if it is not of this machine alone.
            port: of the server.
            names: more names of this machine.
        """
        address, own = _address(host), map(str.lower, names)
        is_local = host == "localhost" or (address is not None and address.is_loopback)
        return cls(
            hosts=frozenset({*_LOOPBACK, format_host(host), *(() if is_local else own)}),
            port=port,
            any_address=address is not None and address.is_unspecified,
            token="" if is_local else secrets.token_urlsafe(24),
        )

    def is_own(self, host: str) -> bool:
        """Whether a header ``Host`` names the server."""
        name, mark, port = host.lower().rpartition(":")
        if not mark or port.endswith("]"):
            name, port = host.lower(), "80"
        if port != str(self.port):
            return False
        address = _address(name.strip("[]"))
        return name in self.hosts or (self.any_address and address is not None)

    @property
    def cookie(self) -> str:
        """The name of the cookie: cookies are shared by all ports of a machine."""
        return f"stylecli-{self.port}"

    def is_token(self, given: str) -> bool:
        """Whether a text is the token."""
        return secrets.compare_digest(given.encode(), self.token.encode())


def format_host(host: str) -> str:
    """Format a host for a URL: an address of IPv6 stands in brackets."""
    return f"[{host}]" if ":" in host else host.lower()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class AccessMiddleware:
    """Middleware that refuses foreign requests, and adds the headers that bind the browser.

    Args:
        app: what answers the others.
        policy: who is let in.
    """

    def __init__(self, app: ASGIApp, policy: AccessPolicy) -> None:
        self._app, self._policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""

        async def send_bound(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._answer(HTTPConnection(scope)) or self._app
        await answer(scope, receive, send_bound)

    def _answer(self, asked: HTTPConnection) -> Response | None:
        """Refuse a request, or note the token that it shows; None if it is let in."""
        policy, hosts = self._policy, asked.headers.getlist("host")
        if len(hosts) != 1 or not policy.is_own(hosts[0]):
            return _refuse(421, "this server has another name", "use the address that it printed")
        if self._is_foreign(asked):
            return _refuse(403, "only this server's own page may ask for that")
        if not policy.token or policy.is_token(asked.cookies.get(policy.cookie, "")):
            return None
        is_page = asked.scope["type"] == "http" and asked.scope["path"] == "/"
        if is_page and policy.is_token(asked.query_params.get("token", "")):
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(policy.cookie, policy.token, httponly=True, samesite="lax")
            return answer
        return _refuse(403, "the token is missing", "open the whole address that was printed")

    def _is_foreign(self, asked: HTTPConnection) -> bool:
        """Whether another page sends a request that it may not send."""
        scope, origin = asked.scope, asked.headers.get("origin")
        unsafe = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if unsafe and origin is not None:
            scheme, _, host = origin.partition("://")
            if scheme != "http" or not self._policy.is_own(host):
                return True
        site = asked.headers.get("sec-fetch-site", "none")
        return (unsafe or scope["path"] != "/") and site not in ("same-origin", "none")


def _refuse(status: int, message: str, hint: str = "") -> Response:
    return answer_error(RefusedError(status, message, hint))
