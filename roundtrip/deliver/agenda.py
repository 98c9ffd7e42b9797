"""What a runner has to do, and when: each exchange once, the earliest first."""

from __future__ import annotations

import heapq


class Agenda:
    """Exchanges by the time at which they are due, on any clock that goes on evenly."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._known: set[str] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, exchange: str) -> bool:
        """Something is due now; False if it is known already, as waiting or as taken."""
        if exchange in self._known:
            return False
        self._known.add(exchange)
        self.put_back(exchange, 0.0)
        return True

    def hasten(self, *exchanges: str) -> None:
        """These are due now, even if they were to wait; nothing is done for one that was taken."""
        wanted = set(exchanges)
        waiting = [each for each in self._heap if each[1] not in wanted]
        if len(waiting) != len(self._heap):
            self._known -= {exchange for _, exchange in self._heap} & wanted
            heapq.heapify(waiting)
            self._heap = waiting
        for exchange in exchanges:
            self.add(exchange)

    def next(self) -> float | None:
        """When the first one is due; None if nothing waits."""
        return self._heap[0][0] if self._heap else None

    def take(self) -> str:
        """The first one; it stays known until `put_back` or `forget`."""
        return heapq.heappop(self._heap)[1]

    def put_back(self, exchange: str, when: float) -> None:
        """One that was taken is due again later."""
        heapq.heappush(self._heap, (when, exchange))

    def forget(self, exchange: str) -> bool:
        """One that was taken is over; True if it was the last of all."""
        self._known.discard(exchange)
        return not self._known
