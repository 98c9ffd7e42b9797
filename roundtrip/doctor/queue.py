"""What `dispatch: queue` needs: a broker that answers, and a folder with hard links.

Broker and folder are looked at in threads that nobody waits for longer than their time.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator

from roundtrip.config import Settings
from roundtrip.config.named import written
from roundtrip.dispatch.room import WORKERS, Room, put_new
from roundtrip.dispatch.settings import QueueSettings
from roundtrip.dispatching import open_broker
from roundtrip.doctor.findings import ERROR, NOTICE, OK, WARNING, Finding, Verdict, finding
from roundtrip.errors import RoundtripError
from roundtrip.queue.port import BrokerAway, Depth

PATIENCE = 8.0
"""Seconds for broker and folder together."""

Keyed = tuple[str, Verdict]


def look(settings: Settings, *, offline: bool) -> list[Finding]:
    """Look at queue and folder if workers are to enrich; `offline` connects to nothing."""
    queue = settings.queue
    if queue is None:
        return []
    looks = [_Look(lambda: _folder(queue), "queue-folder", str(queue.folder))]
    if not offline and written(queue.url) == queue.url:
        looks.append(_Look(lambda: list(_broker(queue)), "broker", queue.name))
    until = time.monotonic() + PATIENCE
    found = [keyed for each in looks for keyed in each.found(until)]
    return [finding(key, "queue", verdict) for key, verdict in found]


class _Look:
    """One look, in a thread of its own."""

    def __init__(self, work: Callable[[], list[Keyed]], key: str, what: str) -> None:
        self._key = key
        self._what = what
        self._found: list[Keyed] | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], list[Keyed]]) -> None:
        try:
            self._found = work()
        except (OSError, RoundtripError) as error:
            words = getattr(error, "strerror", None)
            text = f"{self._what}: {words}" if words else str(error)
            self._found = [(self._key, Verdict(ERROR, text))]

    def found(self, until: float) -> list[Keyed]:
        """What was found when the time is up."""
        self._thread.join(max(0.0, until - time.monotonic()))
        text = f"{self._what}: no answer within {PATIENCE:g} s"
        return self._found or [(self._key, Verdict(ERROR, text))]


def _broker(queue: QueueSettings) -> Iterator[Keyed]:
    """What the broker says; nothing is made there."""
    label, depth, reason = asyncio.run(_asked(queue))
    yield "broker", Verdict(OK, f"{label} answers")
    if depth is None:
        text = f"no queue {queue.name} yet; the agent makes it when it starts ({reason})"
        yield "queue-depth", Verdict(NOTICE, text)
        return
    taken = "" if depth.taken is None else f", {depth.taken} taken"
    text = f"queue {queue.name}: {depth.waiting} jobs wait{taken}, {depth.dead} dead letters"
    yield "queue-depth", Verdict(WARNING if depth.dead else OK, text)


async def _asked(queue: QueueSettings) -> tuple[str, Depth | None, str]:
    broker = open_broker(queue)
    await broker.connect(make=False)
    try:
        return broker.label, await broker.depth(), ""
    except BrokerAway as error:
        return broker.label, None, str(error)
    finally:
        await broker.aclose()


def _folder(queue: QueueSettings) -> list[Keyed]:
    """Whether names can be made there that only one of several gets."""
    name = f"doctor.{secrets.token_hex(4)}"
    with Room(queue.folder).opened(WORKERS) as folder:
        put_new(folder, name, b"")
        os.unlink(name, dir_fd=folder)
    return [("queue-folder", Verdict(OK, f"{queue.folder} can be written, and has hard links"))]
