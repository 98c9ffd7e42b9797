"""A folder of a mounted share whose calls are made by a helper process."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO

from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import part_of
from roundtrip.shares import wire, writing
from roundtrip.shares.calls import Helper
from roundtrip.shares.entry import Entry, Kind, Space
from roundtrip.shares.threads import Check, in_thread

SHARE, INTERNAL = 0, 1
"""The folders that a helper has open, by its own numbers."""


class AssistedFolder:
    """One of the helper's folders."""

    def __init__(self, helper: Helper, number: int, label: str, durable: bool) -> None:
        self.label = label
        self._helper = helper
        self._number = number
        self._durable = durable

    async def names(self) -> list[str]:
        found = await self._helper.call("names", self._number)
        return [os.fsdecode(name) for name in found.split(b"\0") if name]

    async def stat(self, name: str) -> Entry | None:
        found = await self._helper.call("stat", self._number, name)
        return found and Entry(Kind(found[0]), *found[1:])

    async def read(self, name: str, limit: int) -> bytes:
        content: bytes = await self._helper.call("read", self._number, name, limit, self.label)
        return content

    async def remove(self, name: str) -> bool:
        return bool(await self._helper.call("remove", self._number, name))

    async def space(self) -> Space:
        return Space(*await self._helper.call("space", self._number))

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        durable = durable or self._durable
        if isinstance(source, bytes) and len(source) <= wire.INLINE:
            await self._put(name, durable, source)
            return Digest(len(source), hashlib.sha256(source).hexdigest())
        if not isinstance(source, bytes) and (there := writing.length_of(source)) is not None:
            # A file on this host's own disk: the helper reads it itself.
            start = source.tell()
            place = start, max(there - start, 0)
            return await self._put_from(name, durable, source.fileno(), place)
        memory, length = await in_thread(lambda check: _in_memory(source, check))
        try:
            return await self._put_from(name, durable, memory, (0, length))
        finally:
            os.close(memory)

    async def _put_from(
        self, name: str, durable: bool, descriptor: int, place: tuple[int, int]
    ) -> Digest:
        size = place[1]
        found = await self._put(name, durable, place, descriptor=descriptor, size=size)
        return Digest(*found)

    async def _put(
        self,
        name: str,
        durable: bool,
        content: bytes | tuple[int, int],
        descriptor: int | None = None,
        size: int | None = None,
    ) -> tuple[int, str]:
        found: tuple[int, str] = await self._helper.call(
            "put",
            self._number,
            part_of(name),
            name,
            durable,
            content,
            descriptor=descriptor,
            size=size,
        )
        return found


def _in_memory(source: bytes | BinaryIO, check: Check) -> tuple[int, int]:
    """The descriptor of a file in memory that holds what `source` gives, and its length."""
    content = source if isinstance(source, bytes) else b"".join(_checked(source, check))
    return wire.in_memory(content), len(content)


def _checked(source: BinaryIO, check: Check) -> list[bytes]:
    pieces = []
    for piece in writing.pieces_of(source):
        check()
        pieces.append(piece)
    return pieces
