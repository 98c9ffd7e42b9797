"""Tickets: what A must remember of an exchange beyond its name and its original.

A plain file from the outbox needs none, since its name says everything. One is written, durably,
before the original leaves the outbox, when the name can't say it all: another original name, a
pipeline, a caller that waits, or a repeated attempt.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from roundtrip.addresses import is_address as is_address
from roundtrip.protocol.documents import MAX_BYTES, read_object, shown
from roundtrip.protocol.names import CANARY, is_canary, is_exchange, ulid_of
from roundtrip.shares.port import Folder, NotAFile

_IN_NO_NAME = re.compile("[/\0]")
_LONGEST_PAUSE = 86_400.0 * 7  # seconds
_SHORT = 200  # characters of a problem's title
_LONGEST = 4096  # characters; what is longer than a name may be is shortened, at a quadratic price


@dataclass(frozen=True, slots=True)
class Restarts:
    """How often an exchange that failed is started again: `left` times, after `pause` seconds.

    The pause doubles each time, up to a week. `until` is when the present one ends (Unix time),
    `used` how many there were, and `why` in short what the last failure was.
    """

    left: int
    pause: float
    used: int = 0
    until: float | None = None
    why: str | None = None

    @property
    def attempts(self) -> int:
        """How many there are, the first and the last included."""
        return self.used + self.left + 1

    def begun(self, now: float, why: str | None = None) -> Restarts:
        """One more, which waits first."""
        short = None if why is None else why[:_SHORT]
        return Restarts(self.left - 1, min(self.pause * 2, _LONGEST_PAUSE), self.used + 1,
                        now + self.pause, short)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ticket:
    """`original_name` may hold surrogates for bytes that are not UTF-8 (PEP 383).

    `reply` asks for an outcome record, which a waiting `send` or `Client` reads; `mail` is the
    address that the exchange's end is mailed to.
    """

    original_name: str
    pipeline: str | None = None
    deadline: str | None = None
    attempt: int = 1
    reply: bool = False
    mail: str | None = None
    again: Restarts | None = None

    def encode(self) -> bytes:
        """The ticket as JSON; surrogates survive as escapes."""
        return json.dumps({"v": 1, **asdict(self)}).encode()


def implied(exchange: str) -> Ticket:
    """The ticket that an exchange's name stands for."""
    if is_canary(exchange):
        return Ticket(CANARY, CANARY)
    ulid = ulid_of(exchange)
    return Ticket(exchange.removeprefix(f"{ulid}-") if ulid else exchange)


def file_of(exchange: str) -> str:
    """The name of an exchange's ticket file."""
    return f"{exchange}.json"


def exchange_of(file: str) -> str | None:
    """The exchange whose ticket file this is; None for another file."""
    exchange = file.removesuffix(".json")
    return exchange if exchange != file and is_exchange(exchange) else None


async def read(tickets: Folder, exchange: str) -> Ticket:
    """The exchange's ticket; the implied one if there is no file, or none that can be read."""
    try:
        return decode(await tickets.read(file_of(exchange), MAX_BYTES))
    except (FileNotFoundError, NotAFile, ValueError):
        return implied(exchange)


def decode(content: bytes) -> Ticket:
    """Read a ticket.

    Raises:
        ValueError: it is none, or its original name can't be a file's.
    """
    found = read_object(content)
    name, attempt = found.get("original_name"), found.get("attempt", 1)
    if not isinstance(name, str) or not is_file_name(name):
        raise ValueError(f"its original name is {shown(name)}")
    if type(attempt) is not int or not 0 < attempt < 1 << 31:
        raise ValueError(f"its attempt is {shown(attempt)}")
    return Ticket(
        original_name=name,
        pipeline=_text(found.get("pipeline")),
        deadline=_text(found.get("deadline")),
        attempt=attempt,
        reply=found.get("reply") is True,
        mail=_text(found.get("mail")),
        again=_restarts(found.get("again")),
    )


def restarts_in(ticket: Path) -> Restarts | None:
    """What the file of a ticket says of attempts that have failed; None if none has."""
    try:
        again = decode(ticket.read_bytes()).again
    except (OSError, ValueError):
        return None  # The exchange is over, or the ticket somebody else's.
    return again if again is not None and again.used else None


def _restarts(found: object) -> Restarts | None:
    """Half of it is none: then a failure is the end, which is told."""
    if not isinstance(found, dict):
        return None
    left, pause, used, until = (found.get(key) for key in ("left", "pause", "used", "until"))
    if type(left) is not int or type(used) is not int or not isinstance(pause, int | float):
        return None
    until = until if isinstance(until, int | float) else None
    return Restarts(left, pause, used, until, _text(found.get("why")))


def is_file_name(name: str) -> bool:
    """Whether a folder can hold a file of this name: results get their original's name."""
    if name in ("", ".", "..") or len(name) > _LONGEST or _IN_NO_NAME.search(name):
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False  # A surrogate that stands for no byte.
    return True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


class Tickets:
    """The tickets of the exchanges that A wants; some are kept in mind."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[str, Ticket] = {}

    async def of(self, exchange: str) -> Ticket:
        """The exchange's ticket; see `read`."""
        return self._known.get(exchange) or await read(self._folder, exchange)

    def keep(self, exchange: str, ticket: Ticket) -> None:
        """Spare reading a ticket that is known."""
        self._known[exchange] = ticket

    async def replace(self, exchange: str, ticket: Ticket) -> None:
        """Write another ticket, durably."""
        await self._folder.replace(file_of(exchange), ticket.encode())
        self.keep(exchange, ticket)

    def forget(self, exchange: str) -> None:
        """Nobody will ask for it soon."""
        self._known.pop(exchange, None)

    async def remove(self, exchange: str) -> None:
        """The exchange is over."""
        self.forget(exchange)
        await self._folder.remove(file_of(exchange))

    async def written(self) -> set[str]:
        """The exchanges whose tickets are files; those of all others are implied."""
        found = map(exchange_of, await self._folder.names())
        return {exchange for exchange in found if exchange is not None}
