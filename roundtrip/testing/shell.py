"""A requester without an agent: the ten-line shell script of the protocol, with its patience."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from roundtrip.errors import RoundtripError
from roundtrip.protocol.markers import MAX_BYTES, ResponseMarker
from roundtrip.protocol.names import marker_of
from roundtrip.testing.folder import FaultyFolder, digest_of

T = TypeVar("T")

_PAUSE = 2.0  # seconds between two looks


class Shell:
    """Asks for one payload with an empty marker, until its answer is right."""

    is_dead = False

    def __init__(self, exchange: str, content: bytes) -> None:
        self.exchange = exchange
        self.content = content
        self.answer: bytes | None = None

    def die(self, *, power: bool) -> None:
        """Nobody kills it: nobody would go on in its place."""

    async def run(
        self, unenriched: FaultyFolder, enriched: FaultyFolder, dice: random.Random
    ) -> None:
        """Ask, wait, take, tidy up."""
        await asyncio.sleep(dice.random() * 30)
        marker = marker_of(self.exchange)
        while self.answer is None:
            await _insist(lambda: unenriched.write(self.exchange, self.content))
            await _insist(lambda: unenriched.write(marker, b""))
            self.answer = await self._wait(enriched)
            await _insist(lambda: unenriched.remove(marker))
            await _insist(lambda: unenriched.remove(self.exchange))
            await _insist(lambda: self._see(enriched, self.exchange, there=False))

    async def _wait(self, enriched: FaultyFolder) -> bytes | None:
        """The answer; None if it can't be used."""
        marker = marker_of(self.exchange)
        await _insist(lambda: self._see(enriched, marker, there=True))
        for _ in range(3):
            try:
                content = await enriched.read(marker, MAX_BYTES)
                said = ResponseMarker.decode(content, self.exchange)
                answer = await enriched.read(self.exchange, MAX_BYTES)
                if said.digest == digest_of(answer) and said.request == digest_of(self.content):
                    return answer
            except (OSError, RoundtripError):
                pass  # Not all there yet, or not readable now: once more.
            await asyncio.sleep(_PAUSE)
        return None

    async def _see(self, folder: FaultyFolder, name: str, *, there: bool) -> None:
        if (await folder.stat(name) is not None) is not there:
            raise FileNotFoundError(name)


async def _insist(act: Callable[[], Awaitable[T]]) -> T:
    """Again and again, as `until ...; do sleep 2; done` does."""
    while True:
        try:
            return await act()
        except OSError:
            await asyncio.sleep(_PAUSE)
