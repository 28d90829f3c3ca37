"""A web server on this machine, whose every answer is a function or the bytes of a file."""

import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

Answer = bytes | Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A server.

    Attributes:
        answers: by path.
        asked: the paths that were asked for.
        url: its address, without a slash at its end.
    """

    def __init__(self, url: str) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.url = url


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Site]:
    """A server that runs; of https, if it has a certificate, which holds its key too."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            site.asked.append(self.path)
            answer = site.answers.get(self.path)
            if callable(answer):
                answer(self)
            elif answer is None:
                self.send_error(404)
            else:
                send(answer)(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    host = "https://localhost" if certificate else "http://127.0.0.1"
    site = Site(f"{host}:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(body: bytes, status: int = 200, **headers: str) -> Answer:
    """An answer with headers; Content-Length is that of the body, if it is not given."""
    given = {
        "Content-Length": str(len(body)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in given.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def lead(url: str) -> Answer:
    """An answer that leads to another address."""
    return send(b"", 302, Location=url)


def self_made_certificate(path: Path) -> Path:
    """A key and a certificate of localhost, in one file."""
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    parts = [path.with_suffix(f".{part}") for part in ("key", "cert")]
    files = ["-keyout", str(parts[0]), "-out", str(parts[1])]
    subprocess.run([*words, *names, *files], check=True, capture_output=True, timeout=240)
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
