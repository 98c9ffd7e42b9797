"""B's quarantine: a report, with evidence, for what it can't or won't answer."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import time

from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import is_exchange, slug
from roundtrip.shares.port import Folder

log = logging.getLogger("roundtrip.roles")

_EVIDENCE = 4096  # bytes of a marker or payload that a report shows


async def report(quarantine: Folder, name: str, reason: str, evidence: bytes = b"") -> None:
    """Write a report about `name`, once; names are hostile until proven otherwise."""
    label = name if is_exchange(name) else f"{slug(name)[:80]}-{_short_hash(name)}"
    file = f"{label}.json"
    if await quarantine.stat(file) is not None:
        return
    document = {
        "v": 1,
        "name": name,
        "reason": reason,
        "time": timestamp(time.time()),
        "evidence_base64": base64.b64encode(evidence[:_EVIDENCE]).decode(),
    }
    await quarantine.put(file, json.dumps(document, indent=2).encode() + b"\n", durable=True)
    log.warning("quarantined", extra={"exchange": name, "reason": reason})


async def lift(quarantine: Folder, exchange: str) -> None:
    """The exchange is over: its report is of no more use."""
    await quarantine.remove(f"{exchange}.json")


def _short_hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
