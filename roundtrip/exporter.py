"""Serves an agent's metrics over HTTP: a thread answers, the event loop is asked for the figures.

GET /metrics --> a thread --> the agent's loop: agent_metrics() --> the thread --> text
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.exposition import MetricsHandler
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from roundtrip.errors import ConfigError

log = logging.getLogger("roundtrip.metrics")

PATIENCE = 5.0  # seconds that a scrape waits for the event loop
_CLIENT = 10.0  # seconds that a client may take for its next byte
_ALIVE = re.compile(r"alive-([ab])-[0-9A-Z]{26}\.json")

Source = Callable[[float | None], Iterable[Metric]]
"""Makes the metrics, on the event loop; takes the age in seconds of the peer's last life sign."""


class Exporter:
    """Serves what `source` makes, and the process's own figures, from `start` to `stop`.

    `listen` is HOST:PORT; port 0 is any that is free. `signs` is the folder where the other side,
    of role `peer`, leaves its life signs: on this host's disk, so that its times are ours.
    `beside` makes metrics in the thread of a scrape: what needs the disk, and not the event loop.
    """

    def __init__(
        self,
        listen: str,
        source: Source,
        signs: Path,
        peer: str,
        beside: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        self._listen = listen
        self._source = source
        self._signs = signs
        self._peer = peer
        self._beside = beside
        self._server: _Server | None = None

    def start(self) -> None:
        """Begin, inside the running event loop.

        Raises:
            ConfigError: the address can't be listened at.
        """
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(
            _Collector(
                asyncio.get_running_loop(),
                self._source,
                lambda: self._age_of_peer(),
                self._beside,
            )
        )
        host, _, port = self._listen.rpartition(":")
        try:
            server = _Server(host.strip("[]"), int(port), registry)
        except OSError as error:
            raise ConfigError(
                [f"metrics.listen: {self._listen}: {error.strerror}; choose another address"]
            ) from None
        self._server = server
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        log.info("metrics served", extra={"address": server.address})

    @property
    def address(self) -> str | None:
        """HOST:PORT where it serves now."""
        return None if self._server is None else self._server.address

    def stop(self) -> None:
        """End; harmless without a beginning."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _age_of_peer(self) -> float | None:
        try:
            newest = max(
                (
                    entry.stat().st_mtime
                    for entry in os.scandir(self._signs)
                    if (found := _ALIVE.fullmatch(entry.name)) and found[1] == self._peer
                ),
                default=None,
            )
        except OSError:  # A share that is away, or a sign that was just renewed.
            return None
        return None if newest is None else max(time.time() - newest, 0.0)


class _Collector(Collector):
    """Asks the event loop, from the thread of a scrape."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: Source,
        age_of_peer: Callable[[], float | None],
        beside: Callable[[], Iterable[Metric]],
    ) -> None:
        self._loop = loop
        self._source = source
        self._age_of_peer = age_of_peer
        self._beside = beside

    def describe(self) -> list[Metric]:
        """Nothing: it would need the loop, which waits for the registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        age = self._age_of_peer()
        answer: concurrent.futures.Future[list[Metric]] = concurrent.futures.Future()
        asked = time.monotonic()
        try:
            self._loop.call_soon_threadsafe(self._answer, answer, age)
            found = answer.result(PATIENCE)
        except (TimeoutError, RuntimeError):  # It is busy, or the agent has just ended.
            found = []
        lag = time.monotonic() - asked
        yield from found
        yield from self._beside()
        text = "Time that the agent's event loop took to answer this scrape."
        yield GaugeMetricFamily("roundtrip_loop_lag_seconds", text, value=lag)

    def _answer(self, answer: concurrent.futures.Future[list[Metric]], age: float | None) -> None:
        try:
            answer.set_result(list(self._source(age)))
        except Exception as error:
            answer.set_exception(error)


class _Handler(MetricsHandler):
    """Answers GET of `/metrics` and of `/`."""

    timeout = _CLIENT

    def do_GET(self) -> None:
        if self.path.partition("?")[0] in ("/", "/metrics"):
            super().do_GET()
        else:
            self.send_error(404)


class _Server(socketserver.ThreadingTCPServer):
    """Not http.server's own class, which asks the DNS for the host's name before it serves."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), _Handler.factory(registry))

    @property
    def address(self) -> str:
        """HOST:PORT that it really listens at."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say it in the log; a client that has gone is nothing to say."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("metrics not served", extra={"error": repr(error)}, exc_info=error)
