"""Steps that call no host, made and called without an Enricher around them."""

from __future__ import annotations

from typing import Any

from roundtrip.enrich.limits import Governor
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import (
    CommandSettings,
    LookupSettings,
    PythonSettings,
    Retry,
    StepSettings,
)
from roundtrip.enrich.steps.local import local_step
from roundtrip.enrich.store.memory import MemoryStore

KINDS: dict[str, type[CommandSettings | PythonSettings | LookupSettings]] = {
    "run": CommandSettings,
    "shell": CommandSettings,
    "use": PythonSettings,
    "file": LookupSettings,
}


def settings(name: str = "s", **given: Any) -> StepSettings:
    """Settings of the kind that `run`, `use` or `file` says; each goes where it belongs."""
    kind = next(kind for key, kind in KINDS.items() if key in given)
    own = {key: given.pop(key) for key in kind.__dataclass_fields__.keys() & given.keys()}
    return StepSettings(name, kind(**own), **given)


async def no_pause(seconds: float) -> None:
    """Stands for asyncio.sleep between attempts."""


def step(**given: Any) -> Any:
    """The step, ready to run; one attempt unless `retry` is given."""
    governor = Governor({}, MemoryStore().counters, sleep=no_pause)
    given.setdefault("retry", Retry(attempts=1))
    return local_step("p", settings(**given), governor)


def new_run() -> Run:
    return Run("x", MemoryStore())


async def answer(step: Any, record: dict[str, Any], run: Run | None = None) -> Any:
    """What the step answers for a record; raises its RecordFault."""
    return (await step.call(record).make(run or new_run())).value
