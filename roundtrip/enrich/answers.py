"""Where answers are kept by key: the seam for the ledger and the durable cache.

What is here now lives in memory and is bounded: `cache: 7d` holds until the agent stops or the
space is needed. A durable store fits the same port: `get` is a quick look-up, `put` returns when
the answer may count.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

ENTRY_OVERHEAD = 250  # bytes that Python spends on one entry besides its value, roughly


class Answers(Protocol):
    """Answers by key; a key is a digest of the step and the rendered request, never a secret."""

    def get(self, key: bytes) -> bytes | None:
        """The answer kept for the key, unless there is none or its time is over."""

    async def put(self, key: bytes, answer: bytes, ttl: float | None) -> None:
        """Keep the answer for `ttl` seconds (None: as long as there is room)."""


class MemoryAnswers:
    """A bounded dictionary: the least recently used answers go first."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[bytes, float | None]] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> bytes | None:
        """See `Answers.get`."""
        found = self._kept.get(key)
        if found is None:
            return None
        answer, until = found
        if until is not None and until <= self._clock():
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return answer

    async def put(self, key: bytes, answer: bytes, ttl: float | None) -> None:
        """See `Answers.put`; an answer larger than a quarter of the space isn't kept."""
        if key in self._kept:
            self._forget(key)
        size = len(answer) + ENTRY_OVERHEAD
        if size > self._max_bytes // 4:
            return
        self._kept[key] = (answer, None if ttl is None else self._clock() + ttl)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: bytes) -> None:
        answer, _ = self._kept.pop(key)
        self._bytes -= len(answer) + ENTRY_OVERHEAD
