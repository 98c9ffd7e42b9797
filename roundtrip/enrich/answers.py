"""What one payload remembers of its answers in memory, so that it seldom asks the ledger."""

from __future__ import annotations

from collections import OrderedDict

ENTRY_OVERHEAD = 250  # bytes that Python spends on one entry besides its value, roughly


class MemoryAnswers:
    """A bounded dictionary: the least recently used answers go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self.evicted = False  # whether anything was ever let go, or not taken

    def get(self, key: bytes) -> bytes | None:
        """The answer kept for the key."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, answer: bytes) -> None:
        """Keep the answer; one that is larger than a quarter of the space isn't kept."""
        self._forget(key)
        size = len(answer) + ENTRY_OVERHEAD
        if size > self._max_bytes // 4:
            self.evicted = True
            return
        self._kept[key] = answer
        self._bytes += size
        while self._bytes > self._max_bytes:
            self.evicted = True
            self._forget(next(iter(self._kept)))

    def _forget(self, key: bytes) -> None:
        answer = self._kept.pop(key, None)
        if answer is not None:
            self._bytes -= len(answer) + ENTRY_OVERHEAD
