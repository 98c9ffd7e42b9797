"""The `python` step: an async function of an installed package, found by its entry point."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import EntryPoint
from typing import BinaryIO, NoReturn

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PassingFault, Postponed, RecordFault, StepFault, Transient
from roundtrip.enrich.limits import Governor
from roundtrip.enrich.run import Run
from roundtrip.enrich.selecting import Selection
from roundtrip.enrich.settings import PythonSettings, StepSettings
from roundtrip.enrich.steps import Answered, Call
from roundtrip.enrich.steps.sent import Sent
from roundtrip.offers import entry_point, package_of
from roundtrip.programs import printable
from roundtrip.template import Fields

GROUP = "roundtrip.steps"

Function = Callable[..., Awaitable[object]]

log = logging.getLogger("roundtrip.enrich")


class PluginCall:
    """One record for the function, as JSON text: so that each attempt gets a fresh copy."""

    __slots__ = ("key", "record", "step")

    def __init__(self, step: Plugin, record: bytes) -> None:
        self.step = step
        self.record = record
        self.key = blake2b(record, digest_size=16, key=step.identity).digest()

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        """See `Call.make`."""

        async def attempt() -> object:
            run.stats.calls += 1
            return await self.step.answer(self.record)

        return Answered(await self.step.gate.call(attempt, run))


class Plugin:
    """A `python` step ready to run; implements `Step`."""

    local = False

    def __init__(
        self, pipeline: str, settings: StepSettings, python: PythonSettings, governor: Governor
    ) -> None:
        """ValueError, in one line, when the function can't be had or the options don't fit it."""
        self.settings = settings
        self.name = settings.name
        self.into = settings.into or settings.name
        self.selection = Selection(settings.select)
        self.selected = self.selection.names
        self.gate = governor.gate(pipeline, settings)
        self.where = f"step {settings.name}: {python.use}"
        self._sent = Sent(settings)
        found = _entry_point(python.use)
        self._options = dict(python.options)
        self._function = _function(found, self._options)
        self.identity = _identity(settings, found, self._options, self.selection)

    def call(self, fields: Fields) -> PluginCall:
        """See `Step.call`."""
        return PluginCall(self, self._sent.text(fields))

    async def together(self, calls: Sequence[Call], run: Run) -> list[Answered | RecordFault]:
        """See `Step.together`; such a step can't be made with `batch`."""
        raise NotImplementedError

    async def whole(self, name: str, source: BinaryIO, sink: BinaryIO, run: Run) -> str | None:
        """See `Step.whole`; there is no record for the function."""
        raise StepFault("Unusable step", f"{self.where}: format raw has no records")

    async def answer(self, record: bytes) -> object:
        """What is selected from the function's answer. RecordFault, Transient or Postponed."""
        # floats: the function expects what json.loads would give it
        fields = json_text.decode(record, floats=True)
        try:
            found = await self._called(fields)
        except (RecordFault, Transient, Postponed) as told:
            raise self._placed(told) from None
        except (Exception, SystemExit) as error:
            self._refused(error)
        try:
            text = json_text.encode(found)
        except (*json_text.UNREADABLE, TypeError, NotImplementedError) as error:
            raise RecordFault("Unusable answer", f"{self.where}: {_line(error)}") from None
        return self.selection.read(text, self.where)

    async def _called(self, fields: object) -> object:
        deadline = asyncio.timeout(self.settings.timeout)
        try:
            async with deadline:
                return await self._function(fields, **self._options)
        except TimeoutError:
            if not deadline.expired():
                raise
            detail = f"no answer within {self.settings.timeout:g} s"
            raise PassingFault("No answer in time", detail) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise PassingFault("Plugin failed", "it cancelled itself") from None

    def _placed(self, told: RecordFault | Transient | Postponed) -> Exception:
        """The fault that the function raised, saying where it comes from."""
        if isinstance(told, Transient):
            return Transient(self._at(told.fault))
        if isinstance(told, Postponed):
            return Postponed(self._at(told.fault), told.after)
        return self._at(told)

    def _at(self, fault: RecordFault) -> RecordFault:
        kinds = (StepFault, PassingFault)
        kind = next((kind for kind in kinds if isinstance(fault, kind)), RecordFault)
        return kind(fault.title, f"{self.where}: {fault.detail}", fault.status)

    def _refused(self, error: BaseException) -> NoReturn:
        log.debug("plugin failed", exc_info=error, extra={"step": self.name})
        detail = f"{self.where}: {type(error).__name__}: {_line(error)}"
        raise RecordFault("Plugin failed", detail) from None


def _entry_point(use: str) -> EntryPoint:
    try:
        return entry_point(GROUP, use)
    except ValueError as error:
        raise ValueError(f"python.use: {error}") from None


def _function(point: EntryPoint, options: Mapping[str, object]) -> Function:
    where = f"python.use: {point.name} ({point.value})"
    try:
        function: Function = point.load()
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        log.debug("plugin not loaded", exc_info=error)
        reason = f"{type(error).__name__}: {_line(error)}"
        raise ValueError(f"{where} can't be loaded: {reason}") from None
    if not inspect.iscoroutinefunction(function):
        raise ValueError(f"{where} is no async function")
    try:
        inspect.signature(function).bind({}, **options)
    except TypeError as error:
        raise ValueError(f"{where} can't be called with these options: {_line(error)}") from None
    return function


def _identity(
    settings: StepSettings, point: EntryPoint, options: Mapping[str, object], selection: Selection
) -> bytes:
    version = point.dist.version if point.dist else ""
    parts = (settings.name, point.value, package_of(point), version)
    digest = blake2b(repr(parts).encode(), digest_size=32)
    digest.update(json_text.encode(options))
    digest.update(selection.identity)
    return digest.digest()


def _line(error: BaseException) -> str:
    return printable(str(error).encode(errors="replace"))
