"""Roles that are broken on purpose: the seeds that run in CI must catch each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from roundtrip.protocol.markers import Digest, Outcome, ResponseMarker
from roundtrip.protocol.names import marker_of
from roundtrip.protocol.states import Step
from roundtrip.roles import delivery, kept, side
from roundtrip.roles.collecting import Collection
from roundtrip.roles.desk import moved
from roundtrip.roles.outgoing import Outgoing, Sending
from roundtrip.roles.publishing import Publications
from roundtrip.roles.request import RequestReader
from roundtrip.roles.requester import Requester
from roundtrip.roles.responder import Responder
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import Folder
from roundtrip.testing import campaign

SEEDS = range(400)  # most are caught by the first few


def caught(profile: str) -> str:
    """The first line of what the seeds find; empty if they find nothing.

    A mutant that no longer fits the roles raises errors of its own: that is no catch.
    """
    for seed in SEEDS:
        if found := campaign([seed], profile).violations:
            first = found[0].partition("\n")[0]
            assert "AttributeError" not in first and "TypeError" not in first, first
            return first
    return ""


def test_a_sound_protocol_is_not_caught() -> None:
    assert not campaign(range(60), "errors").violations


def test_a_marker_published_before_its_payload_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def marker_first(
        self: Publications, exchange: str, ticket: Ticket, deadline: str | None
    ) -> Digest:
        with await self._pending.open(exchange) as payload:
            digest = await payload.digest()
            await self._mark(self._marker(exchange, ticket, digest, deadline))
            return await self._unenriched.put(exchange, payload.source)

    monkeypatch.setattr(Publications, "put", marker_first)
    assert "without its payload" in caught("calm")


def test_a_payload_dropped_before_its_marker_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = side.Side.drop

    async def both(self: side.Side, exchange: str, step: Step) -> None:
        await self._mine.remove(exchange)
        await real(self, exchange, step)

    monkeypatch.setattr(side.Side, "drop", both)
    assert "without its payload" in caught("calm")


def test_an_answer_whose_digest_is_not_checked_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Collection.copy

    async def unchecked(self: Collection, exchange: str, marker: ResponseMarker) -> str:
        if marker.outcome is Outcome.FAILED:
            return await real(self, exchange, marker)
        with await self._enriched.open(exchange) as payload:
            await self._collected.write(exchange, payload.source, durable=True)
        return exchange

    monkeypatch.setattr(Collection, "copy", unchecked)
    assert "nobody's answer" in caught("torn")


def test_a_request_whose_digest_is_not_checked_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unchecked(*args: object) -> None:
        return None

    monkeypatch.setattr(RequestReader, "_mismatch", unchecked)
    assert "nobody's answer" in caught("torn")


def test_a_delivery_by_copy_instead_of_rename_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = moved

    async def copied(source: Folder, name: str, target: Folder, new_name: str) -> bool:
        if not target.label.endswith("inbox"):
            return await real(source, name, target, new_name)
        with await source.open(name) as payload:
            try:
                await target.put(new_name, payload.source, durable=True)
            except FileExistsError:
                return False
        await source.remove(name)
        return True

    monkeypatch.setattr(delivery, "moved", copied)
    assert "inbox/" in caught("kills")  # Twice, or half.


def test_an_answer_collected_while_it_is_still_wanted_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Delivery first and `closing` later: a death in between delivers twice."""
    real = Requester._settle

    async def deliver_first(
        self: Requester, exchange: str, copy: str, outcome: Any, marker: Any = None
    ) -> None:
        if copy == exchange:  # A failed one's original is looked for in `closing`.
            await self._delivery.deliver(exchange, copy, outcome, marker)
        await real(self, exchange, copy, outcome, marker)

    monkeypatch.setattr(Requester, "_settle", deliver_first)
    assert "was delivered" in caught("kills")  # Twice, or a second time without its content.


def test_a_delivery_that_is_noted_after_the_inbox_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A death in between forgets it."""
    real = Sending.push
    written: dict[Sending, str] = {}

    async def remembered(self: Sending, path: str) -> None:
        written[self] = path

    write = Sending.write

    def late(self: Sending) -> None:
        async def act() -> None:
            await write(self, written[self])
            real(self)

        self.task = asyncio.get_running_loop().create_task(act())  # type: ignore[attr-defined]

    monkeypatch.setattr(Sending, "write", remembered)
    monkeypatch.setattr(Sending, "push", late)
    assert "untold" in caught("kills")


def test_a_delivery_that_is_told_before_it_is_true_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a killed life has noted of an exchange that is not in the inbox yet."""

    async def trusting(self: Outgoing, copies: object) -> None:
        for lane in self._lanes:
            for exchange in await lane.shelf.entries():
                lane.push(exchange)
            await lane.shelf.drop_orphans()

    monkeypatch.setattr(Outgoing, "start", trusting)
    assert "before it was in" in caught("kills")


def test_an_answer_that_is_not_synced_before_the_request_goes_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unsynced(self: Collection, exchange: str, name: str, answer: Any) -> Digest:
        return await self._collected.write(name, answer.source)

    monkeypatch.setattr(Collection, "_write", unsynced)
    assert caught("power")


def test_an_answer_to_another_request_that_is_taken_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def anything(self: Collection, exchange: str) -> ResponseMarker:
        return ResponseMarker.decode(
            await self._enriched.read(marker_of(exchange), 1 << 16), exchange
        )

    monkeypatch.setattr(Collection, "read_answer", anything)
    real = RequestReader._marker

    async def without_digest(self: RequestReader, exchange: str) -> Any:
        marker, refusal = await real(self, exchange)
        return marker.__class__(exchange, marker.original_name, pipeline=marker.pipeline), refusal

    monkeypatch.setattr(RequestReader, "_marker", without_digest)
    assert "nobody's answer" in caught("torn")


def test_an_answer_that_is_not_kept_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: kept.KeptAnswers, exchange: str, answer: object) -> None:
        return None

    monkeypatch.setattr(kept.KeptAnswers, "keep", nothing)
    assert "enriched again" in caught("stale") or "enriched again" in caught("nas")


def test_a_role_that_trusts_events_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Responder) -> list[str]:
        return []

    monkeypatch.setattr(Responder, "rescan", nothing)
    assert "no convergence" in caught("events")


def test_a_role_that_forgets_an_error_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Requester.drop

    async def once(self: Requester, exchange: str, step: Step) -> None:
        try:
            await real(self, exchange, step)
        except OSError:
            return

    monkeypatch.setattr(Requester, "drop", once)
    assert caught("errors")


def test_a_busy_loop_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Requester, str], Any] = Requester._look

    async def again(self: Requester, exchange: str) -> float | None:
        await real(self, exchange)
        return 0.5

    monkeypatch.setattr(Requester, "_look", again)
    assert "nothing to do" in caught("calm")


def test_a_loop_without_a_pause_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def spin(self: Requester, exchange: str) -> float | None:
        await asyncio.sleep(0)
        return 0.0

    monkeypatch.setattr(Requester, "look", spin)
    assert "nobody waits" in caught("calm")


def test_what_is_found_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Responder) -> list[str]:
        return []

    monkeypatch.setattr(Responder, "rescan", nothing)
    monkeypatch.setattr(Responder, "notice", lambda *args: None)
    text = campaign([3], "calm").violations[0]
    assert text.startswith("seed 3, profile calm: no convergence")
    assert "unenriched: " in text
    assert "put unenriched/" in text
    assert text.endswith("again: python -m roundtrip.testing --profile calm --from 3")
