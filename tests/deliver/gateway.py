"""A real HTTP proxy on loopback: CONNECT and forwarding, with a password, for names of no DNS."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.deliver.serving import serving

Place = tuple[str, int]
_HOP = ("proxy-authorization", "connection")


class Gateway:
    """Where the proxy is, whom it knows, and what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.places: dict[str, Place] = {}
        """Names that it can resolve."""
        self.login: str | None = None
        """`user:password`, if one has to log in."""
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    def url(self, login: str = "") -> str:
        """What goes into the configuration."""
        return f"http://{login + '@' if login else ''}localhost:{self.port}"

    def admits(self, given: str | None) -> bool:
        """Whether this header's value lets somebody in."""
        if self.login is None:
            return True
        return given == "Basic " + base64.b64encode(self.login.encode()).decode()


@contextmanager
def gateway() -> Iterator[Gateway]:
    """A proxy, until the block ends."""
    found = Gateway()

    class Handler(_Handler):
        about = found

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.port = server.server_address[1]
    with serving(server):
        yield found


class _Handler(BaseHTTPRequestHandler):
    about: Gateway

    def do_CONNECT(self) -> None:
        place = self._admitted(self.path.rpartition(":")[0])
        if place is None:
            return
        with socket.create_connection(place) as receiver:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(receiver, self.connection))
            back.start()
            _pump(self.connection, receiver)
            back.join()
        self.close_connection = True

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        place = self._admitted(url.hostname or "")
        if place is None:
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {key: each for key, each in self.headers.items() if key.lower() not in _HOP}
        line = HTTPConnection(*place)
        line.request("POST", f"{url.path}?{url.query}" if url.query else url.path, body, headers)
        answer = line.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        line.close()

    def _admitted(self, name: str) -> Place | None:
        """Where the name is; None if the client was told that it gets nothing."""
        about = self.about
        about.asked.append((self.command, self.path, dict(self.headers.items())))
        if not about.admits(self.headers["Proxy-Authorization"]):
            self.send_error(407)
        elif name not in about.places:
            self.send_error(502)
        else:
            return about.places[name]
        return None

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
