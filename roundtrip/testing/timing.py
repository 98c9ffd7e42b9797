"""How long a real folder takes for each operation, and which errors it gives."""

from __future__ import annotations

import errno
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

from roundtrip.protocol.markers import Digest
from roundtrip.shares.port import Entry, SharedFolder, Space

T = TypeVar("T")


class Timings:
    """Durations in seconds by operation, and errors by operation and name (`put EIO`)."""

    def __init__(self) -> None:
        self._durations: dict[str, list[float]] = {}
        self.errors: Counter[str] = Counter()

    @contextmanager
    def measured(self, operation: str) -> Iterator[None]:
        """Measure the body of a `with`; that a name is there or not there is no error."""
        began = time.perf_counter()
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, str(error.errno))
            self.errors[f"{operation} {name}"] += 1
            raise
        finally:
            self._durations.setdefault(operation, []).append(time.perf_counter() - began)

    def add(self, operation: str, seconds: float) -> None:
        """Something took so long."""
        self._durations.setdefault(operation, []).append(seconds)

    def figures(self) -> dict[str, dict[str, float]]:
        """For each operation how often, and its median, 99th percentile and longest in ms."""
        return {
            operation: {
                "count": len(durations),
                "p50_ms": _percentile(durations, 0.5),
                "p99_ms": _percentile(durations, 0.99),
                "longest_ms": _percentile(durations, 1.0),
            }
            for operation, durations in sorted(self._durations.items())
        }


def _percentile(durations: list[float], part: float) -> float:
    place = max(math.ceil(part * len(durations)) - 1, 0)
    return round(sorted(durations)[place] * 1000, 3)


class TimedShare:
    """The share of the other host as a role uses it, measured."""

    def __init__(self, inner: SharedFolder, timings: Timings) -> None:
        self.label = inner.label
        self._inner = inner
        self._timings = timings

    async def _timed(self, operation: str, act: Callable[[], Awaitable[T]]) -> T:
        with self._timings.measured(operation):
            return await act()

    async def names(self) -> list[str]:
        return await self._timed("list", self._inner.names)

    async def stat(self, name: str) -> Entry | None:
        return await self._timed("stat", lambda: self._inner.stat(name))

    async def read(self, name: str, limit: int) -> bytes:
        return await self._timed("read", lambda: self._inner.read(name, limit))

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        return await self._timed("put", lambda: self._inner.put(name, source, durable=durable))

    async def remove(self, name: str) -> bool:
        return await self._timed("unlink", lambda: self._inner.remove(name))

    async def space(self) -> Space:
        return await self._timed("space", self._inner.space)
