"""A loop whose clock jumps to the next timer: hours pass in no time, and a deadlock is an error."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from roundtrip.enrich.limits import Gate, Governor
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import HostSettings, HttpSettings, StepSettings
from roundtrip.enrich.store.memory import MemoryStore

T = TypeVar("T")

HOST = "api.example.org"
START = 1_767_225_540.0  # 2025-12-31T23:59:00Z, the last minute of a day, a month and a year


class _Jump(selectors.SelectSelector):
    """Never waits: what was to be waited is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen again")
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def virtually(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def clock() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def wall() -> float:
    """Unix time that goes with it."""
    return START + clock()


def step(name: str = "geo", **settings: Any) -> StepSettings:
    return StepSettings(name, HttpSettings(f"https://{HOST}/"), **settings)


def governor(store: MemoryStore | None = None, **host: Any) -> Governor:
    """A Governor that knows one host."""
    counters = (store or MemoryStore()).counters
    hosts: Mapping[str, HostSettings] = {HOST: HostSettings(HOST, **host)}
    return Governor(hosts, counters, now=wall)


def new_run(name: str = "x") -> Run:
    return Run(name, MemoryStore())


class Script:
    """An attempt that plays outcomes one after the other, then answers; notes when it was tried."""

    def __init__(self, *outcomes: Exception, takes: float = 0.0) -> None:
        self.outcomes = list(outcomes)
        self.takes = takes
        self.tried: list[float] = []

    async def __call__(self) -> str:
        self.tried.append(clock())
        if self.takes:
            await asyncio.sleep(self.takes)
        if self.outcomes:
            raise self.outcomes.pop(0)
        return "answer"


def calls(gate: Gate, run: Run, attempt: Any, number: int) -> list[asyncio.Task[Any]]:
    """So many calls, started in this order."""
    return [asyncio.ensure_future(gate.call(attempt, run)) for _ in range(number)]


async def settled() -> None:
    """Let everything happen that happens now."""
    for _ in range(10):
        await asyncio.sleep(0)
