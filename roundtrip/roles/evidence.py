"""Evidence: what a report or a problem document shows of the files that it is about.

Made when something is given up, for people who look later. All of it is hostile: bytes are kept as
base64, and whoever shows them makes them fit for a terminal.
"""

from __future__ import annotations

import base64
from typing import Any

from roundtrip.protocol.markers import Digest, timestamp
from roundtrip.protocol.names import marker_of
from roundtrip.shares.port import Kind, NotAFile, SharedFolder

MARKER_HEAD = 4096  # bytes of a marker that are kept
PAYLOAD_HEAD = 256  # bytes of a payload: enough to see what it is, not what is in it

Evidence = dict[str, Any]
"""JSON: keys are words, `files` has what `file` found, by what the file is."""


async def file(folder: SharedFolder, name: str, most: int) -> Evidence | None:
    """How a file looks and begins; None if it isn't there."""
    try:
        entry = await folder.stat(name)
        if entry is None:
            return None
        found: Evidence = {"name": name, "size": entry.size, "changed": _moment(entry.changed)}
        if entry.kind is not Kind.FILE:
            return found | {"trouble": "not a regular file"}
        head = (await folder.read(name, most))[:most]
    except FileNotFoundError:
        return None
    except (OSError, NotAFile) as error:  # Evidence is no reason for a report to fail.
        return {"name": name, "trouble": str(error)}
    return found | {"head_base64": base64.b64encode(head).decode()}


async def exchange_files(folder: SharedFolder, exchange: str, what: str) -> dict[str, Evidence]:
    """An exchange's payload and marker on one share; `what` is `request` or `answer`."""
    found = {
        f"{what} marker": await file(folder, marker_of(exchange), MARKER_HEAD),
        what: await file(folder, exchange, PAYLOAD_HEAD),
    }
    return {key: value for key, value in found.items() if value is not None}


def digest(found: Digest) -> Evidence:
    """A digest as evidence shows it."""
    return {"size": found.size, "sha256": found.sha256}


def _moment(nanoseconds: int) -> str | None:
    try:
        return timestamp(nanoseconds / 1e9)
    except (ValueError, OverflowError, OSError):
        return None  # A time that no calendar has: whoever wrote the file may set any.
