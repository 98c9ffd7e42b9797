"""B's quarantine: a report, with evidence, for each thing that it can't or won't answer.

A report is a file `<label>.json`: `v`, `name`, `kind`, `reason`, `time`, `evidence`. It goes when
what it is about has gone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from enum import StrEnum
from typing import NamedTuple

from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import is_exchange, is_internal, slug
from roundtrip.roles.evidence import Evidence
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import Folder

log = logging.getLogger("roundtrip.roles")

SUFFIX = ".json"
MOST = 10_000
"""Reports that a quarantine holds: whoever can write requests must not fill B's disk with them."""


class Kind(StrEnum):
    """What a report is about; docs/how-to/quarantine.md says what each means."""

    HELD = "held"
    """The same request was answered as often as B answers, and asks again."""
    BROKEN = "broken"
    """A request's marker without its payload, for longer than the grace period."""
    NAME = "unusable-name"
    """A marker whose name can't name an exchange, so that no answer could have that name."""


class Finding(NamedTuple):
    """What a report says: `reason` is one sentence for people."""

    kind: Kind
    reason: str
    evidence: Evidence


def label_of(name: str) -> str:
    """The word that stands for `name` in file names and commands: an exchange's name itself."""
    return name if is_exchange(name) else f"{slug(name)[:80]}-{_short_hash(name)}"


class Reports:
    """The folder of reports."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._count = 0
        self._full = False

    async def labels(self) -> set[str]:
        """What there are reports of."""
        names = await self._folder.names()
        found = {
            name.removesuffix(SUFFIX)
            for name in names
            if name.endswith(SUFFIX) and not is_internal(name)
        }
        self._count, self._full = len(found), False
        return found

    async def sweep(self) -> None:
        """Remove what a killed life left in flight: for the start, when nobody else writes here."""
        await sweep_parts(self._folder)

    async def has(self, name: str) -> bool:
        """Whether there is a report about `name`."""
        return await self._folder.stat(label_of(name) + SUFFIX) is not None

    async def add(self, name: str, finding: Finding) -> None:
        """Write a report about `name`, once; names are hostile until proven otherwise."""
        if await self.has(name) or self._is_full():
            return
        document = {
            "v": 1,
            "name": name,
            "kind": finding.kind,
            "reason": finding.reason,
            "time": timestamp(time.time()),
            "evidence": finding.evidence,
        }
        file = label_of(name) + SUFFIX
        await self._folder.put(file, json.dumps(document, indent=2).encode() + b"\n", durable=True)
        self._count += 1
        fields = {"exchange": name, "kind": finding.kind, "reason": finding.reason}
        log.warning("quarantined", extra=fields)

    def _is_full(self) -> bool:
        if self._count < MOST:
            return False
        if not self._full:
            log.warning("quarantine full", extra={"folder": self._folder.label, "count": MOST})
            self._full = True
        return True

    async def lift(self, name: str) -> bool:
        """Remove the report about `name`, which may be its label; False if there was none."""
        was_there = await self._folder.remove(label_of(name) + SUFFIX)
        self._count -= was_there
        return was_there


def _short_hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
