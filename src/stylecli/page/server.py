"""The server: it opens a port, says its address, opens the browser, and ends when asked."""

import asyncio
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from stylecli.core.backend import use_one_heap
from stylecli.errors import StyleCliError
from stylecli.files.atomic import private_folder
from stylecli.page import camera
from stylecli.page.access import AccessPolicy, format_host
from stylecli.page.app import build_app
from stylecli.page.jobs import BackgroundJobs
from stylecli.page.photos import PhotoService

PORT = 8765  # unless another program has it
_TICK = 0.1  # seconds after which it is asked again whether to stop
_GRACE = 1  # seconds for answers on their way, at the end
_MOST_CONNECTIONS = 256


def serve(
    host: str,
    port: int | None,
    say: Callable[[str], None],
    should_stop: Callable[[], bool],
    *,
    open_browser: bool = True,
) -> None:
    """Serve the page until it is to stop.

    Args:
        host: the name or address to listen on; one that others reach gets a token.
        port: the port; 0 for any that is free; None for the usual one, or any if that is taken.
        say: is called with lines for the user, of which one holds the address at which the page is.
        should_stop: asked ten times a second.
        open_browser: whether to open the page in the user's browser.

    Raises:
        StyleCliError: the host is not one of this machine, or the port is taken.
    """
    use_one_heap()
    with _open_socket(host, port) as listening, private_folder() as folder:
        name = socket.gethostname()
        policy = AccessPolicy.of(host, listening.getsockname()[1], [name, f"{name}.local"])
        address = address_of(policy, host)
        service = PhotoService(folder)
        jobs = BackgroundJobs(service)
        config = uvicorn.Config(
            build_app(service, jobs, policy),
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws_max_size=camera.MOST_BYTES,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE,
        )
        say(f"the page is at {address}")  # what connects now is answered soon
        say("Ctrl-C ends it")
        if open_browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        service.warm_up()
        asyncio.run(_run(_Server(config), listening, should_stop, jobs.stop_all))


class _Server(uvicorn.Server):
    """A server that leaves signals to the command."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


async def _run(
    server: uvicorn.Server,
    listening: socket.socket,
    should_stop: Callable[[], bool],
    stop_jobs: Callable[[], None],
) -> None:
    """Run a server until it is to stop, and then stop its jobs."""
    serving = asyncio.create_task(server.serve([listening]))
    while not should_stop() and not serving.done():
        await asyncio.sleep(_TICK)
    stop_jobs()
    # It would tell of each answer that it cuts off.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    server.should_exit = True
    await serving


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
