"""What every store does: one suite, run over the one in memory and the one on disk.

`settled` says when a look-up comes: while the writes are queued, or after they are on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from roundtrip.enrich.store.port import Cached, Store
from roundtrip.enrich.store.sqlite import SqliteStore
from tests.enrich.store.conftest import Clock

Settle = Callable[[], Awaitable[None]]


@pytest.fixture(params=["queued", "durable"])
def settled(request: pytest.FixtureRequest, store: Store) -> Settle:
    async def settle() -> None:
        if request.param == "durable":
            await store.durable()

    return settle


async def test_an_answer_is_found_under_its_scope_and_key(store: Store, settled: Settle) -> None:
    store.ledger.put("one", b"k", b"answer")
    store.ledger.put("one", b"empty", b"")
    await settled()
    assert store.ledger.get("one", b"k") == b"answer"
    assert store.ledger.get("one", b"empty") == b""
    assert store.ledger.get("one", b"other") is None
    assert store.ledger.get("two", b"k") is None


async def test_the_last_answer_put_for_a_key_counts(store: Store, settled: Settle) -> None:
    store.ledger.put("one", b"k", b"first")
    await settled()
    store.ledger.put("one", b"k", b"second")
    await settled()
    assert store.ledger.get("one", b"k") == b"second"


async def test_a_forgotten_scope_is_empty_at_once_and_may_come_again(
    store: Store, settled: Settle
) -> None:
    store.ledger.put("one", b"k", b"answer")
    store.ledger.put_ticket("one", b"t", b"job")
    store.ledger.put("two", b"k", b"kept")
    await settled()
    store.ledger.forget("one")
    assert store.ledger.get("one", b"k") is None
    assert store.ledger.ticket("one", b"t") is None
    assert not store.ledger.holds("one")
    assert store.ledger.scopes() == {"two"}
    store.ledger.put("one", b"other", b"new")
    await settled()
    assert store.ledger.get("one", b"k") is None
    assert store.ledger.get("one", b"other") == b"new"
    assert store.ledger.get("two", b"k") == b"kept"


async def test_forgetting_what_was_never_recorded_does_no_harm(store: Store) -> None:
    store.ledger.forget("one")
    store.ledger.drop_ticket("one", b"t")
    await store.durable()
    assert store.ledger.scopes() == set()


async def test_a_scope_holds_something_once_an_answer_is_recorded(
    store: Store, settled: Settle
) -> None:
    assert not store.ledger.holds("one")
    store.ledger.put_ticket("one", b"t", b"job")
    await settled()
    assert not store.ledger.holds("one")
    assert store.ledger.scopes() == {"one"}
    store.ledger.put("one", b"k", b"")
    await settled()
    assert store.ledger.holds("one")


async def test_a_ticket_lasts_until_it_is_replaced_or_dropped(
    store: Store, settled: Settle
) -> None:
    store.ledger.put_ticket("one", b"t", b"first")
    await settled()
    store.ledger.put_ticket("one", b"t", b"second")
    await settled()
    assert store.ledger.ticket("one", b"t") == b"second"
    assert store.ledger.get("one", b"t") is None
    store.ledger.drop_ticket("one", b"t")
    assert store.ledger.ticket("one", b"t") is None
    await settled()
    assert store.ledger.ticket("one", b"t") is None


@pytest.mark.parametrize(
    ("etag", "seconds", "found"),
    [
        (None, 9.9, Cached(b"answer", True)),
        (None, 10.0, None),
        ('"v1"', 9.9, Cached(b"answer", True, '"v1"')),
        ('"v1"', 10.0, Cached(b"answer", False, '"v1"')),
    ],
)
async def test_a_cached_answer_is_fresh_for_its_time_and_stale_only_with_a_tag(
    store: Store,
    settled: Settle,
    clock: Clock,
    etag: str | None,
    seconds: float,
    found: Cached | None,
) -> None:
    store.cache.put(b"k", b"answer", 10.0, step="p/geo", etag=etag)
    await settled()
    clock.now += seconds
    assert store.cache.get(b"k") == found
    assert store.cache.get(b"other") is None


async def test_a_cached_answer_put_again_replaces_the_one_before(
    store: Store, settled: Settle, clock: Clock
) -> None:
    store.cache.put(b"k", b"old", 10.0, step="p/geo", etag='"v1"')
    await settled()
    clock.now += 5
    store.cache.put(b"k", b"new", 10.0, step="p/geo")
    await settled()
    clock.now += 9
    assert store.cache.get(b"k") == Cached(b"new", True)


async def test_what_is_reserved_adds_up_by_counter_and_window(store: Store) -> None:
    assert store.counters.spent("api", "2026-05-09") == 0
    assert await store.counters.reserve("api", "2026-05-09", 3) == 3
    assert await store.counters.reserve("api", "2026-05-09", 2) == 5
    assert await store.counters.reserve("api", "2026-05", 1) == 1
    assert await store.counters.reserve("other", "2026-05-09", 7) == 7
    assert store.counters.spent("api", "2026-05-09") == 5
    assert store.counters.spent("api", "2026-05") == 1


async def test_there_is_room_and_nothing_to_wait_for_in_an_empty_store(store: Store) -> None:
    await store.room()
    await store.durable()


async def test_tickets_are_found_by_key_among_open_exchanges(store: Store, settled: Settle) -> None:
    for scope in ("one", "two", "three", "four"):
        store.ledger.put_ticket(scope, b"k", scope.encode())
    await settled()
    store.ledger.forget("one")
    store.ledger.drop_ticket("two", b"k")
    assert sorted(store.ledger.tickets(b"k")) == [b"four", b"three"]
    assert store.ledger.tickets(b"other") == []
    await settled()
    assert sorted(store.ledger.tickets(b"k")) == [b"four", b"three"]


async def test_tickets_are_found_by_key_after_a_restart(path: Path, clock: Clock) -> None:
    store = SqliteStore(path, clock=clock)
    await store.open()
    for scope in ("one", "two"):
        store.ledger.put_ticket(scope, b"k", scope.encode())
    store.ledger.forget("one")
    await store.aclose()
    store = SqliteStore(path, clock=clock)
    await store.open()
    assert store.ledger.tickets(b"k") == [b"two"]
    await store.aclose()
