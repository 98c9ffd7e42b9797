"""Tickets: what A must remember of an exchange beyond its name and its original.

A plain file from the outbox needs none, since its name says everything. One is written, durably,
before the original leaves the outbox, when the name can't say it all: another original name, a
pipeline, a caller that waits, or a repeated attempt.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from roundtrip.protocol.markers import MAX_BYTES
from roundtrip.protocol.names import is_exchange, ulid_of
from roundtrip.shares.port import Folder


@dataclass(frozen=True, slots=True)
class Ticket:
    """`original_name` may hold surrogates for bytes that are not UTF-8 (PEP 383).

    `reply` asks for an outcome record, which a waiting `send` or `Client` reads.
    """

    original_name: str
    pipeline: str | None = None
    deadline: str | None = None
    attempt: int = 1
    reply: bool = False

    def encode(self) -> bytes:
        """The ticket as JSON; surrogates survive as escapes."""
        return json.dumps({"v": 1, **asdict(self)}).encode()


def implied(exchange: str) -> Ticket:
    """The ticket that an exchange's name stands for."""
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
        found = json.loads(await tickets.read(file_of(exchange), MAX_BYTES))
        return Ticket(
            original_name=str(found["original_name"]),
            pipeline=found.get("pipeline"),
            deadline=found.get("deadline"),
            attempt=int(found.get("attempt", 1)),
            reply=bool(found.get("reply")),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return implied(exchange)
