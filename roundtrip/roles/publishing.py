"""Publishing: an original and its marker go into Unenriched; what was sent is kept in mind.

pending/N --copy--> Unenriched/N     looked at again: has the original grown meanwhile?
                    Unenriched/N.done
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from roundtrip.protocol.markers import Digest, RequestMarker, timestamp
from roundtrip.protocol.names import created_of, marker_of
from roundtrip.roles.side import level_of
from roundtrip.roles.space import is_full
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.port import Entry, Folder, SharedFolder

log = logging.getLogger("roundtrip.roles")


@dataclass(frozen=True, slots=True)
class _Sent:
    """What was published: its digest, and the original's looks at that time."""

    digest: Digest
    original: Entry | None


class Publications:
    """Puts originals from `pending` on the share, and knows what was sent."""

    def __init__(
        self, unenriched: SharedFolder, pending: Folder, sender: tuple[tuple[str, str], ...]
    ) -> None:
        self._unenriched = unenriched
        self._pending = pending
        self._sender = dict(sender)
        self._sent: dict[str, _Sent] = {}

    async def put(self, exchange: str, ticket: Ticket, deadline: str | None) -> Digest | None:
        """Publish an exchange; None if its original is still growing, and nothing was published.

        Raises:
            FileNotFoundError: the original has gone.
            OSError: the share refuses; what was put there may be there.
        """
        with await self._pending.open(exchange) as payload:
            original = payload.entry
            digest = await self._unenriched.put(exchange, payload.source)
        if await self._pending.stat(exchange) != original:
            await self._unenriched.remove(exchange)
            log.info("still growing", extra={"exchange": exchange})
            return None
        await self._mark(self._marker(exchange, ticket, digest, deadline))
        self._sent[exchange] = _Sent(digest, original)
        log.log(
            level_of(exchange),
            "published",
            extra={"exchange": exchange, "size": digest.size, "attempt": ticket.attempt},
        )
        return digest

    async def _mark(self, marker: RequestMarker) -> None:
        try:
            await self._unenriched.put(marker_of(marker.exchange), marker.encode())
        except OSError as error:
            if is_full(error):  # What nobody acts on would take room that others could use.
                await self._unenriched.remove(marker.exchange)
            raise

    def _marker(
        self, exchange: str, ticket: Ticket, digest: Digest, deadline: str | None
    ) -> RequestMarker:
        created = created_of(exchange)
        name = ticket.original_name.encode(errors="surrogateescape").decode(errors="replace")
        return RequestMarker(
            exchange=exchange,
            original_name=name,
            digest=digest,
            pipeline=ticket.pipeline,
            created=timestamp(time.time() if created is None else created),
            deadline=deadline,
            attempt=ticket.attempt,
            sender=self._sender,
        )

    async def digest_of(self, exchange: str) -> Digest:
        """What an answer must name as its request."""
        sent = self._sent.get(exchange)
        original = await self._pending.stat(exchange)
        if sent is None or sent.original != original:
            # An earlier life published it, or it has grown since: what it is now is what counts.
            with await self._pending.open(exchange) as payload:
                sent = self._sent[exchange] = _Sent(await payload.digest(), original)
        return sent.digest

    def forget(self, exchange: str) -> None:
        """No answer to what was sent is wanted any more."""
        self._sent.pop(exchange, None)
