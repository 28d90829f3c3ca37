"""The server: it opens a port, says its address, opens the browser, and ends when asked."""

import asyncio
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from stylecli.core.backend import use_one_heap
from stylecli.errors import StyleCliError
from stylecli.files.atomic import private_folder
from stylecli.files.images import silence_pillow
from stylecli.page import camera
from stylecli.page.access import AccessPolicy, format_host
from stylecli.page.app import AppState, build_app
from stylecli.page.photos import PhotoService

PORT = 8765  # unless another program has it
_GRACE = 1  # seconds for answers on their way, at the end
_MOST_CONNECTIONS = 256


def serve(
    host: str,
    port: int | None,
    say_address: Callable[[str], None],
    should_stop: Callable[[], bool],
    *,
    open_browser: bool = True,
) -> None:
    """Serve the page until it is to stop.

    Args:
        host: the name or address to listen on; one that others reach gets a token.
        port: the port; 0 for any that is free; None for the usual one, or any if that is taken.
        say_address: told the address at which the page is, once it answers.
        should_stop: asked ten times a second.
        open_browser: whether to open the page in the user's browser.

    Raises:
        StyleCliError: the host is not one of this machine, or the port is taken.
    """
    use_one_heap()
    silence_pillow()
    with _open_socket(host, port) as listening, private_folder() as folder:
        number = listening.getsockname()[1]
        policy = AccessPolicy.of(
            host, number, [socket.gethostname(), f"{socket.gethostname()}.local"]
        )
        state = AppState(PhotoService(folder))
        config = uvicorn.Config(
            build_app(state, policy),
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws_max_size=camera.MOST_BYTES,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE,
        )

        def begin() -> None:
            address = address_of(policy, host)
            say_address(address)
            if open_browser and _has_screen():
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
            state.warm_up()

        server = _Server(config, begin, should_stop, state.close)
        asyncio.run(server._serve(sockets=[listening]))  # serve() would take over the signals


class _Server(uvicorn.Server):
    """A server that says when it begins to answer, and asks when to stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        begin: Callable[[], None],
        should_stop: Callable[[], bool],
        close: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._begin, self._should_stop, self._close = begin, should_stop, close

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._begin()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop; asked ten times a second."""
        if self._should_stop():
            self._close()
            # It would tell of each answer that it cuts off.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            self.should_exit = True
        return await super().on_tick(counter)


def address_of(policy: AccessPolicy, host: str) -> str:
    """The address of the page, with its token if there is one."""
    shown = socket.gethostname() if policy.any_address else format_host(host)
    query = f"?token={policy.token}" if policy.token else ""
    return f"http://{shown}:{policy.port}/{query}"


def _open_socket(host: str, port: int | None) -> socket.socket:
    """Open a socket that listens.

    Raises:
        StyleCliError: the host is not one of this machine, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        try:
            return socket.create_server((host, PORT if port is None else port), family=family)
        except OSError:
            if port is not None:
                raise
            return socket.create_server((host, 0), family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StyleCliError(
            f"cannot listen on {host}, port {port or PORT}: {reason}",
            hint="give another --port, or leave --host out for this machine alone",
        ) from error


def _has_screen() -> bool:
    """Whether the machine has a screen; without one, a browser would open in the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
