"""Life signs: each agent's small file in the share it writes, for the other side to read.

Each renewal is a new name and the older ones go: no file on a share is ever replaced, since SMB and
some SFTP servers refuse that or lose the target.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from roundtrip.protocol.markers import MAX_BYTES
from roundtrip.protocol.names import Namer, ulid_of
from roundtrip.protocol.states import Role
from roundtrip.shares.port import NotAFile, SharedFolder

_ALIVE = re.compile(r"alive-([ab])-([0-9A-Z]{26})\.json")


class Heartbeat(NamedTuple):
    """A life sign as it was found: when its writer made it, by its own clock, and what it says."""

    time: str
    fields: dict[str, Any]


async def beat(internal: SharedFolder, role: Role, namer: Namer, fields: dict[str, Any]) -> None:
    """Renew `role`'s life sign in a share's internal folder."""
    fresh = f"alive-{role.value}-{ulid_of(namer('x'))}.json"
    await internal.put(fresh, json.dumps({"v": 1, **fields}).encode())
    for name in await _signs_of(internal, role):
        if name != fresh:
            await internal.remove(name)


async def last_beat(internal: SharedFolder, role: Role) -> Heartbeat | None:
    """The newest life sign of `role`; None if there is none that can be read."""
    for name in reversed(await _signs_of(internal, role)):
        try:
            fields = json.loads(await internal.read(name, MAX_BYTES))
        except (FileNotFoundError, NotAFile, ValueError, RecursionError):
            continue  # Just replaced by a newer one, or not written by an agent.
        if isinstance(fields, dict) and isinstance(fields.get("time"), str):
            return Heartbeat(fields["time"], fields)
    return None


async def _signs_of(internal: SharedFolder, role: Role) -> list[str]:
    names = await internal.names()
    return sorted(
        name for name in names if (found := _ALIVE.fullmatch(name)) and found[1] == role.value
    )
