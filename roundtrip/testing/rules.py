"""The rules of a folder that the protocol stands on, tried with real files again and again."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from roundtrip.shares.posix import PosixFolder
from roundtrip.testing.timing import Timings

VISIBLE_WITHIN = 60.0
"""Seconds that another descriptor may take to see a new name: the default of `grace`."""

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~@+-"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_POLL = 0.005  # seconds between two looks for a name


class Rules:
    """Tries one rule after the other in a folder of its own; `broken` counts what was broken."""

    def __init__(self, path: Path, dice: random.Random, timings: Timings) -> None:
        self.broken: Counter[str] = Counter()
        self.tried = 0
        self._path = path
        self._writer = PosixFolder(path)
        self._reader = PosixFolder(path)
        self._dice = dice
        self._timings = timings
        self._number = 0

    def close(self) -> None:
        """Give the descriptors back."""
        self._writer.close()
        self._reader.close()

    async def go_on(self, until: Callable[[], bool]) -> None:
        """Try rules until told to stop. An error is no answer: it is counted by the timings."""
        while not until():
            for rule in (self._whole, self._exclusive, self._not_replacing, self._gone):
                with suppress(OSError):
                    await rule()
                self.tried += 1
            await asyncio.sleep(0.02)

    def _name(self) -> str:
        """A name as the grammar allows it, of up to 200 characters."""
        self._number += 1
        length = self._dice.choice((1, 8, 40, 150))
        tail = "".join(self._dice.choice(_LETTERS) for _ in range(length))
        return f"n{self._number}-{tail.rstrip('.')}x"

    async def _put(self, name: str) -> bytes:
        content = self._dice.randbytes(self._dice.choice((0, 1, 700, 70_000)))
        with self._timings.measured("put"):
            await self._writer.put(name, content)
        return content

    async def _whole(self) -> None:
        """A name that was put is listed as it is, for another descriptor too, with its content."""
        name = self._name()
        content = await self._put(name)
        began = time.perf_counter()
        while name not in await self._reader.names():
            if time.perf_counter() - began > VISIBLE_WITHIN:
                self.broken["a name was not listed, or under another spelling"] += 1
                return
            await asyncio.sleep(_POLL)
        self._timings.add("visible", time.perf_counter() - began)
        if await self._reader.read(name, len(content)) != content:
            self.broken["a content was torn"] += 1
        await self._remove(name)

    async def _remove(self, name: str) -> None:
        with self._timings.measured("unlink"):
            await self._writer.remove(name)

    async def _exclusive(self) -> None:
        """O_EXCL makes a file only where there is none."""
        name = self._name()
        for is_first in (True, False):
            try:
                with self._timings.measured("create"):
                    os.close(os.open(name, _NEW, 0o600, dir_fd=self._writer.descriptor))
                if not is_first:
                    self.broken["O_EXCL was not honoured"] += 1
            except FileExistsError:
                if is_first:
                    raise
        await self._remove(name)

    async def _not_replacing(self) -> None:
        """Our rename never replaces."""
        one, other = self._name(), self._name()
        await self._put(one)
        content = await self._put(other)
        with suppress(FileExistsError), self._timings.measured("rename"):
            await self._writer.move(one, self._writer, other)
        if await self._reader.read(other, len(content)) != content:
            self.broken["a rename replaced an existing file"] += 1
        await self._remove(one)
        await self._remove(other)

    async def _gone(self) -> None:
        """A rename takes the old name away and keeps the content."""
        one, other = self._name(), self._name()
        content = await self._put(one)
        with self._timings.measured("rename"):
            await self._writer.move(one, self._writer, other)
        if await self._writer.stat(one) is not None:
            self.broken["a renamed file kept its old name, too"] += 1
        if await self._writer.read(other, len(content)) != content:
            self.broken["a rename changed a content"] += 1
        await self._remove(other)
