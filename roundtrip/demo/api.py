"""A small HTTP API on loopback that answers from the data beside it, for trying roundtrip out.

`GET /countries/{ISO 3166-1 alpha-2 code}` and `GET /airports/{IATA code}` answer JSON; anything
unknown gets a problem document (RFC 9457).
"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Thread
from urllib.parse import unquote

DEFAULT_PORT = 8765
DEFAULT_LATENCY = 0.02
"""Seconds each answer takes: near enough to a real API for the exchange's states to be seen."""

_NUMBERS = {"area_km2", "elevation_ft", "latitude", "longitude", "population"}
_LISTS = {"languages", "neighbours"}
_COLLECTIONS = {"countries": ("countries.csv", "code"), "airports": ("airports.csv", "iata")}

_log = logging.getLogger("roundtrip.demo")

Record = dict[str, object]


def _value(column: str, text: str) -> object:
    if column in _LISTS:
        return text.split(",") if text else []
    if column in _NUMBERS:
        number = float(text)
        return int(number) if number.is_integer() else number
    return text


def load() -> dict[str, dict[str, Record]]:
    """The API's data: collection, then key in upper case, then record."""
    tables = {}
    for collection, (name, key) in _COLLECTIONS.items():
        text = files(__package__).joinpath("data", name).read_text(encoding="utf-8")
        rows = csv.DictReader(text.splitlines())
        tables[collection] = {
            row[key]: {column: _value(column, cell) for column, cell in row.items()} for row in rows
        }
    return tables


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    disable_nagle_algorithm = True
    timeout = 60  # seconds an idle connection is kept

    server: Server

    def do_GET(self) -> None:
        """Answer one look-up."""
        time.sleep(self.server.latency)
        collection, _, key = unquote(self.path.partition("?")[0]).lstrip("/").partition("/")
        record = self.server.tables.get(collection, {}).get(key.upper())
        if record is None:
            self._problem(collection, key)
        else:
            self._send(HTTPStatus.OK, "application/json", record)

    def _problem(self, collection: str, key: str) -> None:
        known = collection in self.server.tables
        detail = f"no {collection} entry {key!r}" if known else f"no such path: {self.path}"
        problem: Record = {"title": "Not Found", "status": 404, "detail": detail}
        self._send(HTTPStatus.NOT_FOUND, "application/problem+json", problem)

    def _send(self, status: HTTPStatus, kind: str, content: Record) -> None:
        body = json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log instead of writing to stderr, as the base class does."""
        _log.debug(format, *args)


class Server(ThreadingHTTPServer):
    """The API on 127.0.0.1; port 0 takes a free one.

    Raises:
        OSError: the port is taken or not allowed.
    """

    daemon_threads = True
    request_queue_size = 128  # a backlog of 5, the default, makes a burst's connections wait 1 s

    def __init__(self, port: int = 0, latency: float = DEFAULT_LATENCY) -> None:
        self.tables = load()
        self.latency = latency
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(port: int = 0, latency: float = DEFAULT_LATENCY) -> Iterator[Server]:
    """Serve in a thread of this process until the block ends."""
    with Server(port, latency) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), name="sample-api", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
