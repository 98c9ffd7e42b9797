"""The store in memory: for tests, and for commands that must leave nothing behind."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

from roundtrip.enrich.store.port import Cached


class MemoryStore:
    """Implements `Store`, `Ledger`, `Cache` and `Counters`; nothing outlives it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.ledger = _MemoryLedger()
        self.cache = _MemoryCache(clock)
        self.counters = _MemoryCounters()

    async def open(self) -> None:
        """See `Store.open`; here it may be left out."""

    async def room(self) -> None:
        """See `Store.room`."""

    async def durable(self) -> None:
        """See `Store.durable`."""

    async def aclose(self) -> None:
        """See `Store.aclose`."""


class _Scope(NamedTuple):
    answers: dict[bytes, bytes]
    tickets: dict[bytes, bytes]


class _MemoryLedger:
    def __init__(self) -> None:
        self._scopes: defaultdict[str, _Scope] = defaultdict(lambda: _Scope({}, {}))

    def get(self, scope: str, key: bytes) -> bytes | None:
        return self._scopes[scope].answers.get(key) if scope in self._scopes else None

    def put(self, scope: str, key: bytes, answer: bytes) -> None:
        self._scopes[scope].answers[key] = answer

    def ticket(self, scope: str, key: bytes) -> bytes | None:
        return self._scopes[scope].tickets.get(key) if scope in self._scopes else None

    def tickets(self, key: bytes) -> list[bytes]:
        every = (scope.tickets.get(key) for scope in self._scopes.values())
        return [ticket for ticket in every if ticket is not None]

    def put_ticket(self, scope: str, key: bytes, ticket: bytes) -> None:
        self._scopes[scope].tickets[key] = ticket

    def drop_ticket(self, scope: str, key: bytes) -> None:
        if scope in self._scopes:
            self._scopes[scope].tickets.pop(key, None)

    def forget(self, scope: str) -> None:
        self._scopes.pop(scope, None)

    def holds(self, scope: str) -> bool:
        return scope in self._scopes and bool(self._scopes[scope].answers)

    def scopes(self) -> set[str]:
        return set(self._scopes)


class _MemoryCache:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._cached: dict[bytes, tuple[bytes, float, str | None]] = {}
        self._clock = clock

    def get(self, key: bytes) -> Cached | None:
        if key not in self._cached:
            return None
        answer, until, etag = self._cached[key]
        fresh = self._clock() < until
        return Cached(answer, fresh, etag) if fresh or etag else None

    def put(
        self, key: bytes, answer: bytes, ttl: float, *, step: str, etag: str | None = None
    ) -> None:
        self._cached[key] = (answer, self._clock() + ttl, etag)


class _MemoryCounters:
    def __init__(self) -> None:
        self._spent: Counter[tuple[str, str]] = Counter()

    def spent(self, counter: str, window: str) -> int:
        return self._spent[counter, window]

    async def reserve(self, counter: str, window: str, calls: int) -> int:
        self._spent[counter, window] += calls
        return self._spent[counter, window]
