"""Life signs: each agent's small file in the share it writes, for the other side to read.

Each renewal is a new name and the older ones go: no file on a share is ever replaced, since SMB and
some SFTP servers refuse that or lose the target.

A life sign holds two times. `time` in it is its writer's clock; the file's own time is the clock
of the host whose disk holds it, its reader's. So the reader tells a sign's age by its own clock
alone, and the difference of the two times is how far the other clock is off.
"""

from __future__ import annotations

import heapq
import json
import math
import re
from datetime import datetime
from typing import Any, NamedTuple

from roundtrip.protocol.documents import MAX_BYTES, printable, read_object
from roundtrip.protocol.names import Namer, ulid_of
from roundtrip.protocol.states import Role
from roundtrip.protocol.versions import own
from roundtrip.shares.port import NotAFile, SharedFolder

_LONGEST = 200  # characters of a text
_MOST_FIELDS = 100
_MOST_SIGNS = 64
"""Of a role's life signs that are looked at: an agent leaves one or two, so more are no agent's."""
_ALIVE = re.compile(r"alive-([ab])-([0-9A-Z]{26})\.json")


class Heartbeat(NamedTuple):
    """A life sign as it was found: when its writer made it, by its own clock, and what it says.

    `changed` is when the file was written, in seconds since 1970, by the clock of the host that
    holds it.
    """

    time: str
    fields: dict[str, Any]
    changed: float | None = None
    name: str = ""


async def beat(internal: SharedFolder, role: Role, namer: Namer, fields: dict[str, Any]) -> None:
    """Renew `role`'s life sign in a share's internal folder."""
    fresh = f"alive-{role.value}-{ulid_of(namer('x'))}.json"
    await internal.put(fresh, json.dumps({"v": 1, **own(), **fields}).encode())
    for name in await _signs_of(internal, role):
        if name != fresh:
            await internal.remove(name)


async def last_beat(internal: SharedFolder, role: Role) -> Heartbeat | None:
    """The newest life sign of `role`; None if there is none that can be read.

    The newest is the one that was written last. Its name would say so by its writer's clock, which
    may have been set back.
    """
    found = [(await internal.stat(name), name) for name in await _signs_of(internal, role)]
    signs = sorted((entry.changed, name) for entry, name in found if entry is not None)
    for changed, name in reversed(signs):
        try:
            fields = decode(await internal.read(name, MAX_BYTES), role)
        except (FileNotFoundError, NotAFile, ValueError):
            continue  # Just replaced by a newer one, or not written by an agent.
        return Heartbeat(fields["time"], fields, changed / 1e9, name)
    return None


def decode(content: bytes, role: Role) -> dict[str, Any]:
    """The fields of a life sign of `role`, cut down to what may be shown and written again.

    Another host wrote them: texts are short and fit for a terminal, numbers are those that JSON
    has, lists are short and hold just these.

    Raises:
        ValueError: it is no life sign.
    """
    found = read_object(content)
    if not isinstance(found.get("time"), str):
        raise ValueError("it has no time")
    fields = {_plain(key): _plain(value) for key, value in list(found.items())[:_MOST_FIELDS]}
    return {**fields, "time": _plain(found["time"]), "role": role.value}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value[:_LONGEST])
    if isinstance(value, list):
        return [_plain(each) for each in value[:_MOST_FIELDS] if not isinstance(each, list | dict)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return None
    return None if isinstance(value, dict) else value


def skew(sign: Heartbeat) -> float | None:
    """How many seconds the writer's clock is ahead of that of the host which holds the sign.

    None if that can't be told. It includes the time that the writing took, as if the writer's clock
    were behind by that, and it is 0 where the writer's host sets the times of files on the mount.
    """
    try:
        written = datetime.fromisoformat(sign.time)
        if written.tzinfo is None or sign.changed is None:
            return None
        return written.timestamp() - sign.changed
    except (ValueError, OverflowError):
        return None


def age(sign: Heartbeat, now: float) -> float | None:
    """How many seconds ago a sign was written, if `now` is the time of the host which holds it."""
    return None if sign.changed is None else max(now - sign.changed, 0.0)


async def _signs_of(internal: SharedFolder, role: Role) -> list[str]:
    names = await internal.names()
    signs = (name for name in names if (found := _ALIVE.fullmatch(name)) and found[1] == role.value)
    return sorted(heapq.nlargest(_MOST_SIGNS, signs))
