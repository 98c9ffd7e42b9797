"""What B's reports say: a finding, with its evidence, for each matter of the quarantine."""

from __future__ import annotations

from roundtrip.protocol.names import MARKER_SUFFIX
from roundtrip.protocol.states import Names
from roundtrip.roles import evidence
from roundtrip.roles.kept import Kept
from roundtrip.roles.quarantine import Finding, Kind
from roundtrip.roles.request import Request
from roundtrip.shares.port import Folder


async def strange(unenriched: Folder, name: str) -> Finding:
    """A marker called `name`, which can't name an exchange."""
    payload = name.removesuffix(MARKER_SUFFIX)
    found = {
        "request marker": await evidence.file(unenriched, name, evidence.MARKER_HEAD),
        "request": await evidence.file(unenriched, payload, evidence.PAYLOAD_HEAD),
    }
    reason = "its name can't name an exchange, so it can't be answered"
    files = {key: value for key, value in found.items() if value is not None}
    return Finding(Kind.NAME, reason, {"files": files})


async def broken(unenriched: Folder, exchange: str, names: Names, seconds: float) -> Finding:
    """Names that have made no sense for so many seconds."""
    reason = "its marker has had no payload for longer than the grace period"
    files = await evidence.exchange_files(unenriched, exchange, "request")
    found = {"names": names._asdict(), "seconds": round(seconds, 3), "files": files}
    return Finding(Kind.BROKEN, reason, found)


async def held(
    unenriched: Folder, exchange: str, request: Request, kept: Kept, limit: int
) -> Finding:
    """A request that was answered `limit` times."""
    marker = kept.marker
    found = {
        "given": kept.given,
        "limit": limit,
        "attempt": request.marker.attempt,
        "asked": evidence.digest(request.asked),
        "answered": {
            "outcome": marker.outcome,
            "created": marker.created,
            **evidence.digest(marker.digest),
        },
        "sender": request.marker.sender,
        "responder": marker.responder,
        "files": await evidence.exchange_files(unenriched, exchange, "request"),
    }
    return Finding(Kind.HELD, f"answered {kept.given} times, and asked again", found)
