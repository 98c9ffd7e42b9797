"""Puts together what `dispatch: queue` needs: the agent's desk, and a worker with a place to work.

A worker's place is a folder `state/workers/N` that it alone has: its ledger and its scratch files.
One that is started again gets the place, and the ledger, of one that was killed.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from roundtrip import __version__
from roundtrip.config import Settings
from roundtrip.dispatch.desk import Desk
from roundtrip.dispatch.folder import JobFolder
from roundtrip.dispatch.roll import LATE
from roundtrip.dispatch.room import Room
from roundtrip.dispatch.settings import QueueSettings
from roundtrip.enrich.settings import HttpSettings
from roundtrip.errors import BusyError, ConfigError, ShareError
from roundtrip.ledgers import PURGE, Ledger, ledger_at
from roundtrip.places import Places
from roundtrip.protocol.names import Namer
from roundtrip.queue.address import broker
from roundtrip.queue.port import Broker
from roundtrip.roles.health import Health
from roundtrip.shares.lock import AgentLock
from roundtrip.watch import WatchSettings

if TYPE_CHECKING:
    from roundtrip.dispatch.worker import Worker

_MOST = 1_000_000
_PURGED = 60.0  # seconds that a command which purges a place's ledger is waited for
_PAUSE = 0.05  # seconds between two looks whether it is done


def open_broker(settings: QueueSettings) -> Broker:
    """The broker of the configuration, not connected; raises BrokerMissing."""
    # A message is redelivered about when its worker's life signs count as late.
    return broker(settings.url, settings.name, idle=LATE * settings.heartbeat)


def build_desk(settings: Settings, health: Health) -> Desk:
    """What stands for enrichment in an agent whose workers do it.

    Raises:
        BrokerMissing: the broker's package is not installed.
    """
    queue = settings.queue
    assert queue is not None
    watching = WatchSettings(settings.watch_backend, settings.watch_interval)
    return Desk(
        JobFolder(Room(queue.folder)),
        open_broker(queue),
        health,
        beat=queue.heartbeat,
        watching=watching,
    )


class Place:
    """A worker's own folder, locked while it works."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger: Ledger = ledger_at(path)
        self.scratch = path / "scratch"
        self._lock = AgentLock(self.ledger.lock)
        self._name = path / "name"

    def enter(self) -> str | None:
        """Take it; returns the name of the worker that was here before.

        Raises:
            BusyError: a living worker is here.
            ShareError: it can't be used.
        """
        try:
            self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ShareError(f"{self.path}: can't make this folder: {error.strerror}") from error
        self._lock.acquire()
        try:
            return self._name.read_text() or None
        except FileNotFoundError:
            return None

    def sign(self, name: str) -> None:
        """Note who is here now."""
        self._name.write_text(name)

    def leave(self) -> None:
        """Give it back."""
        self._lock.release()


def build_worker(settings: Settings, concurrency: int) -> tuple[Worker, Place, str | None]:
    """A worker that does `concurrency` jobs at once, its place, and who was there before it.

    Raises:
        ConfigError: the configuration is not one for workers.
        BrokerMissing: the broker's package is not installed.
        ShareError: no place can be made.
    """
    from roundtrip.dispatch.quota import SharedCounters, SharedStore
    from roundtrip.dispatch.work import Workbench
    from roundtrip.dispatch.worker import Worker
    from roundtrip.enrich.engine import Enricher
    from roundtrip.enrich.store.sqlite import SqliteStore

    queue = settings.queue
    if queue is None:
        raise ConfigError([f"{settings.file}: workers need 'role: b' and 'dispatch: queue'"])
    own = open_broker(queue)
    place, before = _free_place(Places(settings).workers)
    name = Namer()("worker")[:26]
    place.sign(name)
    room = Room(queue.folder)
    folder = JobFolder(room)
    own_store = SqliteStore(place.ledger.file, max_bytes=settings.cache_size)
    store = SharedStore(
        own_store, SharedCounters(room), lambda: own_store.watch_wishes(place.ledger.wishes)
    )
    enricher = Enricher(settings.pipelines, hosts=settings.hosts, store=store)
    whoami = {"host": socket.gethostname(), "version": __version__}
    worker = Worker(
        name,
        folder,
        own,
        enricher,
        Workbench(folder, enricher, place.scratch, {"id": name, **whoami}),
        concurrency=concurrency,
        attempts=queue.attempts,
        beat=queue.heartbeat,
        places=room_for(settings),
        patience=settings.timing.stop_timeout,
        whoami={**whoami, "pid": os.getpid()},
    )
    return worker, place, before


def _free_place(workers: Path) -> tuple[Place, str | None]:
    for number in itertools.count(1):
        place = Place(workers / str(number))
        with suppress(BusyError):
            return place, _entered(place)
    raise AssertionError


def _entered(place: Place) -> str | None:
    """See `Place.enter`; `cache purge` is waited for: in another place, a ledger is missed."""
    until = time.monotonic() + _PURGED
    while True:
        try:
            return place.enter()
        except BusyError as error:
            if PURGE not in str(error) or time.monotonic() > until:
                raise
            time.sleep(_PAUSE)


def room_for(settings: Settings) -> int:
    """How many workers can share the limits: each call limit can be divided among so many."""
    return min(_concurrencies(settings), default=_MOST)


def _concurrencies(settings: Settings) -> Iterator[int]:
    for host in settings.hosts.values():
        if host.concurrency is not None:
            yield host.concurrency
    for pipeline in settings.pipelines:
        for step in pipeline.steps:
            if isinstance(step.action, HttpSettings):
                yield step.concurrency
