"""Reading a request: its marker, its payload, and whether the two belong together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import MAX_BYTES, Digest, Outcome, RequestMarker
from roundtrip.protocol.names import marker_of, ulid_of
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.versions import PROTOCOL, NewerProtocol
from roundtrip.shares.port import SMALL, Entry, Folder, Kind, NotAFile, Payload

NOTHING = Digest(0, hashlib.sha256(b"").hexdigest())
NO_FILE = Entry(Kind.OTHER, 0, 0)


class Settling(Exception):
    """What lies there may still be changing; look again in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Refusal(NamedTuple):
    """Why a request is answered without enrichment, and with which outcome."""

    outcome: Outcome
    problem: Problem


@dataclass(slots=True)
class Request:
    """A request as it was read.

    `asked` is what its answer refers to: what the marker claims, or else what the payload is.
    """

    marker: RequestMarker
    asked: Digest
    payload: Payload
    refusal: Refusal | None = None


class _Marker(NamedTuple):
    marker: RequestMarker
    refusal: Refusal | None = None


class RequestReader:
    """Reads requests from Unenriched.

    `settle` seconds is how long something unbelievable (an empty or unparsable marker, a payload
    that isn't what its marker says) must stay the same before it is believed: a marker made in
    place may still be growing.
    """

    def __init__(
        self,
        unenriched: Folder,
        *,
        settle: float,
        limit: int | None,
        refuse_empty_marker: bool,
        version: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unenriched = unenriched
        self._settle = settle
        self._limit = limit
        self._refuse_empty_marker = refuse_empty_marker
        self._version = version or "this version"
        self._clock = clock
        self._doubts: dict[str, tuple[object, float]] = {}

    def forget(self, exchange: str) -> None:
        """The exchange is over."""
        self._doubts.pop(exchange, None)

    async def read(self, exchange: str) -> Request:
        """The request as it is now; the caller closes its payload.

        Raises:
            Settling: it may still be changing.
            FileNotFoundError: it has gone.
        """
        marker, refusal = await self._marker(exchange)
        try:
            payload = await self._unenriched.open(exchange)
        except NotAFile as error:
            refusal = _refusal(exchange, "not-a-file", "The payload is not a regular file", error)
            return Request(marker, marker.digest or NOTHING, Payload(NO_FILE, b""), refusal)
        if self._limit is not None and payload.size > self._limit:
            detail = f"{payload.size} bytes; this side takes {self._limit} at most"
            refusal = _refusal(exchange, "too-large", "The payload is too large", detail)
            return Request(marker, marker.digest or NOTHING, payload, refusal)
        with ExitStack() as on_error:
            on_error.enter_context(payload)
            refusal = refusal or await self._mismatch(exchange, marker.digest, payload)
            digest = marker.digest or await payload.digest()
            on_error.pop_all()
        return Request(marker, digest, payload, refusal)

    async def weight(self, exchange: str) -> int:
        """How many bytes an answer to the request may well have: as many as the request.

        One that will be refused for its size has none, so that its refusal waits for no room.

        Raises:
            Settling, FileNotFoundError: see `read`.
        """
        entry = await self._unenriched.stat(exchange)
        size = 0 if entry is None else entry.size
        if size <= SMALL:
            return size
        if self._limit is not None and size > self._limit:
            return 0
        said = (await self._marker(exchange)).marker.digest
        return size if said is None or said.size == size else 0

    async def _marker(self, exchange: str) -> _Marker:
        try:
            content = await self._unenriched.read(marker_of(exchange), MAX_BYTES)
        except NotAFile as error:
            title = "The request's marker is not a regular file"
            return _Marker(
                RequestMarker(exchange, exchange), _refusal(exchange, "marker", title, error)
            )
        if content:
            try:
                return _Marker(RequestMarker.decode(content, exchange))
            except NewerProtocol as error:
                return _Marker(RequestMarker(exchange, exchange), self._too_new(exchange, error))
            except UnusableMarker as error:
                self._await_settled(exchange, content)
                refusal = _torn(exchange, "The request's marker is unusable", str(error))
                return _Marker(RequestMarker(exchange, exchange), refusal)
        self._await_settled(exchange, content)
        if ulid_of(exchange) is not None:
            detail = "an agent's marker is never empty: a power cut may have torn this one"
            refusal = _torn(exchange, "The request's marker is empty", detail)
            return _Marker(RequestMarker(exchange, exchange), refusal)
        bare = RequestMarker.decode(content, exchange)
        if not self._refuse_empty_marker:
            return _Marker(bare)
        detail = "this side is configured to refuse markers without a digest"
        return _Marker(bare, _refusal(exchange, "marker", "The request's marker is empty", detail))

    def _too_new(self, exchange: str, error: NewerProtocol) -> Refusal:
        detail = (
            f"this request speaks protocol {error.spoken}; this side ({self._version}) speaks "
            f"{PROTOCOL}: upgrade host B"
        )
        title = "The request speaks a newer protocol"
        return _refusal(exchange, "version", title, detail)

    async def _mismatch(
        self, exchange: str, said: Digest | None, payload: Payload
    ) -> Refusal | None:
        """Why the payload isn't what its marker says; the wrong size is told without reading."""
        detail = f"the payload has {payload.size} bytes"
        if said is None:
            return None
        if said.size == payload.size:
            found = await payload.digest()
            if found == said:
                return None
            detail = f"the payload has {found.size} bytes and hashes to {found.sha256}"
        self._await_settled(exchange, (said, detail))
        problem = Problem("mismatch", "The payload is not what its marker says", detail, exchange)
        return Refusal(Outcome.RESEND, problem)

    def _await_settled(self, exchange: str, finding: object) -> None:
        doubt = self._doubts.get(exchange)
        if doubt is None or doubt[0] != finding:
            doubt = self._doubts[exchange] = (finding, self._clock())
        left = doubt[1] + self._settle - self._clock()
        if left > 0:
            raise Settling(left)


def _torn(exchange: str, title: str, detail: str) -> Refusal:
    """An agent wrote its marker whole and can write it again; another requester can't know how."""
    outcome = Outcome.FAILED if ulid_of(exchange) is None else Outcome.RESEND
    return Refusal(outcome, Problem("marker", title, detail, exchange))


def _refusal(exchange: str, kind: str, title: str, detail: object) -> Refusal:
    return Refusal(Outcome.FAILED, Problem(kind, title, str(detail), exchange))
