"""What host A's deliveries need: programs that are there, servers that answer, queues that move.

Servers are connected to and hung up on before a word is said, each in a thread that nobody waits
for longer than its time: a resolver can't be told to give up.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from roundtrip.config import Settings
from roundtrip.config.named import written
from roundtrip.deliver.broker_settings import AmqpSettings, RedisSettings
from roundtrip.deliver.settings import ExecSettings, MailSettings, WebhookSettings
from roundtrip.doctor.findings import NOTICE, OK, WARNING, Finding, Verdict, finding
from roundtrip.errors import RoundtripError
from roundtrip.places import Places
from roundtrip.programs import environment
from roundtrip.queue.address import place
from roundtrip.queues import queues

PATIENCE = 5.0
"""Seconds for all servers together."""

_PORTS = {"http": 80, "https": 443}


def look(settings: Settings, *, offline: bool) -> list[Finding]:
    """Look at everything that is configured; `offline` connects to nothing."""
    if settings.role != "a":
        return []
    found = [*_programs(settings), *([] if offline else _servers(settings)), *_queues(settings)]
    return [finding(key, "deliveries", verdict) for key, verdict in found]


def _programs(settings: Settings) -> Iterator[tuple[str, Verdict]]:
    for each in settings.deliveries:
        if not isinstance(each.action, ExecSettings):
            continue
        program = each.action.run[0]
        path = environment(each.action.environment)["PATH"]
        if shutil.which(program, path=path) is None:
            text = f"{each.name}: no program {program} that this user may run; PATH is {path}"
            yield "delivery-program", Verdict(WARNING, text)
        else:
            yield "delivery-program", Verdict(OK, f"{each.name}: {program} is there")


def targets(settings: Settings) -> dict[tuple[str, int], str]:
    """Host and port of each server, and who needs it; none whose name is a secret."""
    found: dict[tuple[str, int], str] = {}
    for each in settings.deliveries:
        action = each.action
        if isinstance(action, MailSettings):
            found.setdefault((action.server.host, action.server.port), each.name)
        elif isinstance(action, WebhookSettings):
            parts = urlsplit(action.proxy or action.url)
            host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme.lower(), 443)
            if written(host) == host:
                found.setdefault((host, port), each.name)
        elif isinstance(action, AmqpSettings | RedisSettings) and written(action.url) == action.url:
            found.setdefault(place(action.url), each.name)
    return found


class _Call:
    """One server, connected to in a thread."""

    def __init__(self, host: str, port: int, name: str) -> None:
        self._where = f"{host}:{port}"
        self._name = name
        self._verdict: Verdict | None = None
        self._thread = threading.Thread(target=self._run, args=(host, port), daemon=True)
        self._thread.start()

    def _run(self, host: str, port: int) -> None:
        try:
            socket.create_connection((host, port), PATIENCE).close()
        except (OSError, UnicodeError) as error:
            words = getattr(error, "strerror", None) or str(error)
            self._verdict = Verdict(WARNING, f"{self._name}: {self._where}: {words}")
        else:
            self._verdict = Verdict(OK, f"{self._name}: {self._where} takes connections")

    def verdict(self, until: float) -> Verdict:
        """What was found when the time is up."""
        self._thread.join(max(0.0, until - time.monotonic()))
        text = f"{self._name}: {self._where}: no answer within {PATIENCE:g} s"
        return self._verdict or Verdict(WARNING, text)


def _servers(settings: Settings) -> Iterator[tuple[str, Verdict]]:
    until = time.monotonic() + PATIENCE
    calls = [_Call(host, port, name) for (host, port), name in targets(settings).items()]
    for call in calls:
        yield "delivery-server", call.verdict(until)


def _queues(settings: Settings) -> Iterator[tuple[str, Verdict]]:
    for queue in queues(settings, Places(settings)):
        try:
            found = asyncio.run(queue.summary())
        except (OSError, RoundtripError) as error:
            yield "delivery-queue", Verdict(WARNING, f"{queue.name}: {error}")
            continue
        numbers = f"{found['due']} due, {found['failing']} of them failing, {found['dead']} dead"
        if not queue.is_known:
            text = f"{queue.name}: not configured any more, {numbers}"
            mend = f"roundtrip deliveries drop --delivery {queue.name} --all"
            yield "delivery-queue", Verdict(WARNING, text, mend)
        elif found["dead"]:
            mend = f"roundtrip deliveries retry --delivery {queue.name} --dead --all"
            text = f"{queue.name}: {numbers}; the last error: {found['error']}"
            yield "delivery-queue", Verdict(NOTICE, text, mend)
        else:
            yield "delivery-queue", Verdict(OK, f"{queue.name}: {numbers}")
