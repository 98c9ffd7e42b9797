"""Collecting: an answer becomes a private copy in collected/, and it is the copy that is verified.

B can still write to what lies in Enriched, so nothing that was read there is believed of it later.
"""

from __future__ import annotations

from collections.abc import Mapping

from roundtrip.protocol.documents import shown
from roundtrip.protocol.markers import MAX_BYTES, Digest, Outcome, ResponseMarker
from roundtrip.protocol.names import is_canary, marker_of
from roundtrip.protocol.problem import Problem, extended
from roundtrip.roles import evidence
from roundtrip.roles.desk import PROBLEM_COPY
from roundtrip.roles.publishing import Publications
from roundtrip.roles.room import Room
from roundtrip.roles.space import is_full
from roundtrip.roles.ticket import Tickets
from roundtrip.shares.port import Folder, Payload

_DELIVERED = (Outcome.ENRICHED, Outcome.PARTIAL)


class Unusable(Exception):
    """Why an answer can't be collected; it may just not be all there yet."""


class Collection:
    """Makes private copies in `collected` of what lies in `enriched`; of each exchange one."""

    def __init__(
        self,
        enriched: Folder,
        collected: Folder,
        room: Room,
        publications: Publications,
        tickets: Tickets,
    ) -> None:
        self._enriched = enriched
        self._collected = collected
        self._room = room
        self._publications = publications
        self._tickets = tickets
        self._begun: dict[str, str] = {}  # the private copy that was begun, and is not settled

    async def read_answer(self, exchange: str) -> ResponseMarker:
        """The answer's marker, if it answers what was sent.

        Raises:
            Unusable, UnusableMarker, NotAFile: it can't be used, or not yet.
            NewerProtocol: a later version of this program can use it.
        """
        try:
            content = await self._enriched.read(marker_of(exchange), MAX_BYTES)
        except FileNotFoundError:
            raise Unusable("its marker has gone") from None
        marker = ResponseMarker.decode(content, exchange)
        sent = await self._publications.digest_of(exchange)
        if marker.request != sent:
            raise Unusable(f"it answers {marker.request.sha256}, but {sent.sha256} was sent")
        if is_canary(exchange) and marker.outcome is Outcome.ENRICHED and marker.digest != sent:
            raise Unusable("it is not what was sent")
        asked = (await self._tickets.of(exchange)).pipeline
        made_by = marker.responder.get("pipeline") or asked
        if asked is not None and marker.outcome in _DELIVERED and made_by != asked:
            # No digest covers the request's marker: what B read there may have been another word.
            raise Unusable(f"it comes from the pipeline {shown(made_by)}, not {shown(asked)}")
        return marker

    async def copy(self, exchange: str, marker: ResponseMarker) -> str:
        """Make the answer ours; returns the name of the private copy.

        Raises:
            Unusable, NotAFile: its payload is not what the marker says, or not yet.
            Parked: there is no room for it now.
        """
        is_problem = marker.outcome is Outcome.FAILED
        name = exchange + PROBLEM_COPY if is_problem else exchange
        await self._begin(exchange, name)
        try:
            with await self._enriched.open(exchange) as payload:
                if payload.size != marker.digest.size:
                    words = f"it has {payload.size} bytes, its marker says {marker.digest.size}"
                    raise Unusable(words)
                found = await self._write(exchange, name, payload)
        except FileNotFoundError:
            raise Unusable("its payload has gone") from None
        if found != marker.digest:
            words = f"it hashes to {found.sha256}, its marker says {marker.digest.sha256}"
            raise Unusable(words)
        if is_problem:
            await self._complete(exchange, name)
        return name

    async def _begin(self, exchange: str, name: str) -> None:
        """Another copy that was begun before must not be delivered, too."""
        before = self._begun.get(exchange, name)
        if before != name:
            await self._collected.remove(before)
        self._begun[exchange] = name

    async def _write(self, exchange: str, name: str, answer: Payload) -> Digest:
        async with self._room.claim(exchange, answer.size, finishing=True):
            try:
                return await self._collected.write(name, answer.source, durable=True)
            except OSError as error:
                if is_full(error):  # Half a copy takes room that others could use.
                    await self._collected.remove(name)
                raise

    async def _complete(self, exchange: str, name: str) -> None:
        """Add to B's problem document what is needed to send the original again.

        What is no such document, or a huge one, is put into one of ours as evidence.
        """
        content = await self._collected.read(name, MAX_BYTES)
        members: dict[str, object] = {"instance": exchange, "request": await self._asked(exchange)}
        document = extended(content, members) if len(content) <= MAX_BYTES else None
        if document is None:
            found = await evidence.file(self._collected, name, evidence.MARKER_HEAD)
            members["evidence"] = {"files": {"answer": found}}
            document = Problem.decode(content[:MAX_BYTES], exchange).extended(members)
        await self._collected.write(name, document, durable=True)

    async def _asked(self, exchange: str) -> dict[str, object]:
        """What a problem document says of the request."""
        ticket = await self._tickets.of(exchange)
        found = {"original_name": ticket.original_name, "pipeline": ticket.pipeline}
        return {**found, "attempt": ticket.attempt}

    async def conclude(
        self, exchange: str, problem: Problem, members: Mapping[str, object] | None = None
    ) -> str:
        """Put a problem of ours in the place of an answer; returns the name of the private copy."""
        name = exchange + PROBLEM_COPY
        await self._begin(exchange, name)
        document = problem.extended({"request": await self._asked(exchange), **(members or {})})
        await self._collected.write(name, document, durable=True)
        return name

    def forget(self, exchange: str) -> None:
        """Nothing is copied for this exchange any more."""
        self._begun.pop(exchange, None)
