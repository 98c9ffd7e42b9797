"""What host A's deliveries need: programs that are there, servers that answer, queues that move.

Servers are connected to and hung up on before a word is said; a mail server is greeted as for a
mail. Each has a thread that nobody waits for longer than its time: a resolver can't be told to give
up.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from roundtrip.config import Settings
from roundtrip.config.named import written
from roundtrip.deliver.broker_settings import AmqpSettings, RedisSettings
from roundtrip.deliver.port import Undelivered
from roundtrip.deliver.settings import ExecSettings, MailSettings, Server, WebhookSettings
from roundtrip.doctor.findings import OK, WARNING, Finding, Verdict, finding
from roundtrip.errors import RoundtripError
from roundtrip.places import Places
from roundtrip.programs import environment
from roundtrip.queue.address import place
from roundtrip.queues import queues

PATIENCE = 10.0
"""Seconds for all servers together; mail servers like to keep who connects waiting for 6."""

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


def _connect(host: str, port: int) -> str:
    """Connect, and hang up; returns what works. OSError or UnicodeError if nothing does."""
    socket.create_connection((host, port), PATIENCE).close()
    return "takes connections"


def _greet(server: Server) -> str:
    """Do what comes before a mail, as far as the secrets are there. Undelivered if it fails."""
    from roundtrip.deliver.mail import greet  # Nobody else pays for mail.

    login = f"{server.user or ''}{server.password}"
    is_named = written(login) != login
    greet(replace(server, user=None) if is_named else server, PATIENCE)
    works = ["takes connections"]
    if server.tls != "none":
        works.append(f"{server.tls} with a certificate that is believed")
    if server.user is not None:
        works.append("no login tried without its secret" if is_named else "takes the login")
    return ", ".join(works)


class _Call:
    """One server, asked in a thread."""

    def __init__(self, host: str, port: int, name: str, ask: Callable[[], str]) -> None:
        self._host = host
        self._where = f"{host}:{port}"
        self._name = name
        self._verdict: Verdict | None = None
        self._thread = threading.Thread(target=self._run, args=(ask,), daemon=True)
        self._thread.start()

    def _run(self, ask: Callable[[], str]) -> None:
        try:
            works = ask()
        except (OSError, UnicodeError, Undelivered) as error:
            words = getattr(error, "strerror", None) or str(error).removeprefix(f"{self._host}: ")
            self._verdict = Verdict(WARNING, f"{self._name}: {self._where}: {words}")
        else:
            self._verdict = Verdict(OK, f"{self._name}: {self._where} {works}")

    def verdict(self, until: float) -> Verdict:
        """What was found when the time is up."""
        self._thread.join(max(0.0, until - time.monotonic()))
        text = f"{self._name}: {self._where}: no answer within {PATIENCE:g} s"
        return self._verdict or Verdict(WARNING, text)


def _servers(settings: Settings) -> Iterator[tuple[str, Verdict]]:
    until = time.monotonic() + PATIENCE
    mails = {
        (each.action.server.host, each.action.server.port): each.action.server
        for each in settings.deliveries
        if isinstance(each.action, MailSettings)
    }
    calls = []
    for where, name in targets(settings).items():
        mail = mails.get(where)
        ask = partial(_connect, *where) if mail is None else partial(_greet, mail)
        calls.append(_Call(*where, name, ask))
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
            yield "delivery-queue", Verdict(WARNING, text, mend)
        else:
            yield "delivery-queue", Verdict(OK, f"{queue.name}: {numbers}")
