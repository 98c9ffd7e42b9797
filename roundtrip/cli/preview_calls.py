"""What would be sent for a payload's first records, found out without sending anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import httpx

from roundtrip.cli.preview_shown import Shown, shown, shown_together, shown_whole
from roundtrip.enrich.compiled import Compiled, Link
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.formats import Record
from roundtrip.enrich.formats.opening import detect, opened
from roundtrip.enrich.graph import named_fields
from roundtrip.enrich.limits import Governor
from roundtrip.enrich.settings import HostSettings, LookupSettings, Pipeline, StepSettings
from roundtrip.enrich.steps import Call, Step
from roundtrip.enrich.steps.make import made
from roundtrip.enrich.store.memory import MemoryStore
from roundtrip.errors import InputError

NO_FIELDS = LookupSettings(file="", key="")  # what a step does, when only its `when` matters


@dataclass(frozen=True, slots=True)
class Entry:
    """What becomes of a step for some records, by their numbers from 1.

    `what` is `call`; `batched`, part of a call that follows; `same`, a call made already, for the
    record `first`; or a reason why nothing is known to be sent: `skipped`, `unknown` or `error`.
    `note` says more.
    """

    records: tuple[int, ...]
    step: str
    what: str
    note: str = ""
    shown: Shown | None = None
    first: int | None = None


@dataclass(slots=True)
class Preview:
    """All that was found out about one payload."""

    name: str
    pipeline: str
    format: str
    records: int = 0
    more: bool = False  # the payload has more records than were looked at
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """A batch being gathered; `note` if all of it is sent only under a condition."""

    step: Step
    size: int
    note: str
    records: list[int] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


class NoNetwork(httpx.AsyncBaseTransport):
    """A transport that is never used, because nothing is sent."""


def preview(
    file: Path, source: BinaryIO, pipeline: Pipeline, hosts: Mapping[str, HostSettings], most: int
) -> Preview:
    """What would be sent for the first `most` records.

    Raises InputError when the pipeline can't be used, PayloadFault when the file can't be read.
    """
    governor = Governor(hosts, MemoryStore().counters)
    try:
        compiled = Compiled(pipeline, lambda step: made(pipeline.name, step, NoNetwork(), governor))
    except ValueError as error:
        raise InputError(f"pipeline {pipeline.name} can't be used: {error}") from None
    kind = detect(file.name, source) if pipeline.format == "auto" else pipeline.format
    found = Preview(file.name, pipeline.name, kind)
    if kind == "raw":
        found.records = 1
        found.entries += _whole(compiled, file.name, source.seek(0, 2))
        return found
    records = opened(kind, source, compiled.columns(), pipeline.formats).records()
    looking = _Looking(compiled)
    for record in islice(records, most):
        found.records += 1
        found.entries += looking.at(found.records, record)
    found.entries += looking.rest()
    found.more = next(records, None) is not None
    records.close()
    return found


class _Looking:
    """Goes through records as the engine would, and stops before each call."""

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._seen: dict[tuple[str, bytes], int] = {}
        self._gathered: dict[str, _Batch] = {}

    def at(self, number: int, record: Record) -> Iterator[Entry]:
        """The entries of one record, and of the batches that it fills."""
        if record.unreadable is not None:
            yield Entry((number,), "", "error", f"{record.unreadable}; no step runs for it")
            return
        for first in self._compiled.firsts:
            settings = first.step.settings
            other = self._unanswered(first, replace(settings, action=NO_FIELDS, batch=None))
            if settings.when is not None and other:
                note = f"needs the answer of {other}, which says whether this step runs"
                yield Entry((number,), settings.name, "unknown", note)
            elif first.skips(record.fields):
                note = f"when says no: {settings.when}"
                yield Entry((number,), settings.name, "skipped", note)
            else:
                yield from self._tried(number, first, record)
        for name, batch in list(self._gathered.items()):
            if len(batch.calls) >= batch.size:
                yield self._batch(name)

    def rest(self) -> Iterator[Entry]:
        """The batches that no further record fills."""
        for name in list(self._gathered):
            yield self._batch(name)

    def _tried(self, number: int, first: Link, record: Record) -> Iterator[Entry]:
        """The link's call, and its fallbacks', which are made if the one before fails."""
        link: Link | None = first
        note = ""
        while link is not None:
            found = self._called(number, first, link, record, note)
            yield replace(found, note="; ".join(filter(None, [note, found.note])))
            if found.what != "error":
                note = f"only if {link.step.name} fails"
            link = link.fallback

    def _called(self, number: int, first: Link, link: Link, record: Record, note: str) -> Entry:
        step = link.step
        other = self._unanswered(first, replace(step.settings, when=None))
        if link.sends_all and link.sees:
            other = link.sees[0]
        if other:
            why = f"needs the answer of {other}, unknown before it is sent"
            return Entry((number,), step.name, "unknown", why)
        try:
            call = step.call(record.fields)
        except RecordFault as fault:
            return Entry((number,), step.name, "error", f"{fault.title}: {fault.detail}")
        earlier = self._seen.setdefault((step.name, call.key), number)
        if earlier != number:
            return Entry((number,), step.name, "same", first=earlier)
        if step.settings.batch is None:
            return Entry((number,), step.name, "call", shown=shown(step, call))
        batch = self._gathered.setdefault(step.name, _Batch(step, step.settings.batch.size, note))
        batch.records.append(number)
        batch.calls.append(call)
        batch.note = batch.note and note
        return Entry((number,), step.name, "batched", "goes in a batch")

    def _batch(self, name: str) -> Entry:
        batch = self._gathered.pop(name)
        together = shown_together(batch.step, batch.calls)
        return Entry(tuple(batch.records), name, "call", batch.note, together)

    def _unanswered(self, first: Link, settings: StepSettings) -> str | None:
        """The step whose answer a step's templates name, if they name one's."""
        names = named_fields(settings) | set(settings.send or ())
        for other in self._compiled.firsts:
            into = other.into
            if other is not first and any(f"{name}.".startswith(f"{into}.") for name in names):
                return other.step.name
        return None


def _whole(compiled: Compiled, name: str, size: int) -> Iterator[Entry]:
    """Format raw: the first step gets the file, each other one the answer before."""
    for before, step in zip([None, *compiled.steps], compiled.steps, strict=False):
        if before is None:
            yield Entry((1,), step.name, "call", shown=shown_whole(step, name, size))
        else:
            note = f"needs the answer of {before.name}, unknown before it is sent"
            yield Entry((1,), step.name, "unknown", note)
