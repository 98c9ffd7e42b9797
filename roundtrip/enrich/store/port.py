"""The ports of the store. Look-ups are quick and never wait; writes are queued, in order.

A write counts once it is durable: `Store.durable` waits for all that were queued before.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Ledger(Protocol):
    """What was paid for on behalf of exchanges that are not over. `scope` is the exchange's name.

    A key is a digest of the step and of all that was sent.
    """

    def get(self, scope: str, key: bytes) -> bytes | None:
        """The answer recorded for the key."""

    def put(self, scope: str, key: bytes, answer: bytes) -> None:
        """Record an answer."""

    def ticket(self, scope: str, key: bytes) -> bytes | None:
        """The ticket of a job that was submitted for the key and is not finished."""

    def tickets(self, key: bytes) -> list[bytes]:
        """The tickets of all open exchanges for the key."""

    def put_ticket(self, scope: str, key: bytes, ticket: bytes) -> None:
        """Record a ticket, instead of the one before."""

    def drop_ticket(self, scope: str, key: bytes) -> None:
        """The job is over."""

    def forget(self, scope: str) -> None:
        """The exchange is over: forget its answers and tickets."""

    def holds(self, scope: str) -> bool:
        """Whether an answer is recorded in this scope."""

    def scopes(self) -> set[str]:
        """The exchanges of which something was recorded, until they are forgotten."""


class Cached(NamedTuple):
    """A cached answer; one that is not `fresh` may be used only once its source confirms `etag`."""

    answer: bytes
    fresh: bool
    etag: str | None = None


class Cache(Protocol):
    """Answers that other exchanges may use, for a while."""

    def get(self, key: bytes) -> Cached | None:
        """What is kept for the key; a stale answer only if it has an entity tag."""

    def put(
        self, key: bytes, answer: bytes, ttl: float, *, step: str, etag: str | None = None
    ) -> None:
        """Keep an answer fresh for `ttl` seconds; `step` is `pipeline/step`, for `cache stats`."""


class Counters(Protocol):
    """Calls spent, by counter and calendar window, so that quotas outlive restarts."""

    def spent(self, counter: str, window: str) -> int:
        """How many were reserved in this window."""

    async def reserve(self, counter: str, window: str, calls: int) -> int:
        """Add to what is spent, durable when this returns; returns the new sum.

        Windows of the counter other than this one and of the same length may be forgotten.
        """


class Store(Protocol):
    """All of it; one for each process."""

    @property
    def ledger(self) -> Ledger:
        """Answers and tickets of open exchanges."""

    @property
    def cache(self) -> Cache:
        """Answers for all exchanges."""

    @property
    def counters(self) -> Counters:
        """Quotas' use."""

    async def open(self) -> None:
        """Must be called before anything else. Raises ShareError when the store can't be used."""

    async def room(self) -> None:
        """Wait while more is queued than memory should hold; usually returns at once.

        Raises OSError when the store can't be written, as `durable` does.
        """

    async def durable(self) -> None:
        """Wait until all that was queued before is on disk."""

    async def aclose(self) -> None:
        """Write what is queued, and close."""
