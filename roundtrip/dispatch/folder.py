"""The folder of jobs: what is asked, who is at it, and what came of it. All truth is here.

    jobs/J          the payload            written by the agent, removed by it when the exchange
    jobs/J.job      what is asked           is over: that is also how a job is cancelled
    jobs/J.try-1    who took it first      written by a worker; it goes if the worker gives it back
    results/J.X     the result's payload   written by a worker, durable
    results/J.json  what came of it        the same, after it: the job is done

J is the job's name, X a random number. Each name appears whole and is never replaced.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from roundtrip.dispatch.job import MAX_BYTES, Job, Result, Unreadable, exchange_of
from roundtrip.dispatch.room import JOBS, RESULTS, Room, maybe_read, put_new
from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import part_of
from roundtrip.shares import files, writing

_NAME = re.compile(r"(?P<job>.+\.[0-9a-f]{16})(?P<rest>\.job|\.json|\.try-\d+|\.[0-9a-f]{8})?")
_MAX_HOLDER = 200


class Torn(OSError):
    """A payload is not what its record says."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a job is. `tries` workers have taken it and not given it back, `holder` was the last."""

    job: Job | None = None
    answered: bool = False
    tries: int = 0
    holder: str | None = None


@dataclass(slots=True)
class Listing:
    """All jobs of which anything is there; those that can be done, and those that are done."""

    names: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)

    def exchanges(self) -> set[str]:
        """The exchanges they are for."""
        return {exchange_of(name) for name in self.names}


class JobFolder:
    """Jobs and results in a room. Every method raises OSError (see `Room.do`)."""

    def __init__(self, room: Room) -> None:
        self.room = room

    # -- the agent's side

    async def add(self, job: Job, source: BinaryIO) -> None:
        """Put a job there, durably, if it isn't there already; raises Torn if `source` changed."""
        await self.room.do(lambda: self._add(job, source), patient=True)

    def _add(self, job: Job, source: BinaryIO) -> None:
        with self.room.opened(JOBS) as folder:
            record = f"{job.name}.job"
            if files.look(folder, record) is not None:
                return
            source.seek(0)
            writing.remove(folder, job.name)
            pieces = writing.pieces_of(source)
            found = writing.put(folder, part_of(job.name), job.name, pieces, durable=True)
            if Digest(*found) != job.digest:
                writing.remove(folder, job.name)
                raise Torn(f"{job.exchange}: the payload changed while it was copied")
            with suppress(FileExistsError):
                put_new(folder, record, job.encode(), durable=True)

    async def result(self, name: str) -> Result | None:
        """What came of a job; None: nothing yet."""
        return await self.room.do(lambda: self._result(name))

    def _result(self, name: str) -> Result | None:
        with self.room.opened(RESULTS) as folder:
            record = maybe_read(folder, f"{name}.json", MAX_BYTES)
            if record is None:
                return None
            try:
                return Result.decode(record)
            except Unreadable:
                writing.remove(folder, f"{name}.json")  # A power cut's; the job is done again.
                return None

    async def collect(self, result: Result, sink: BinaryIO) -> None:
        """Copy a result's payload; raises Torn if that is not what the record says."""
        await self.room.do(lambda: self._collect(result, sink), patient=True)

    def _collect(self, result: Result, sink: BinaryIO) -> None:
        assert result.file is not None
        with self.room.opened(RESULTS) as folder:
            found = _NAME.fullmatch(result.file)
            if found is None or found["job"] != result.job:
                raise Torn(f"{result.job}: the result names a file that is not its own")
            _fetch(folder, result.file, sink, result.digest)

    async def spoil(self, name: str) -> None:
        """Forget a result that can't be used, so that the job is done again."""

        def work() -> None:
            with self.room.opened(RESULTS) as folder:
                writing.remove(folder, f"{name}.json")

        await self.room.do(work)

    async def listing(self) -> Listing:
        """All that is there."""
        return await self.room.do(self._listing)

    def _listing(self) -> Listing:
        found = Listing()
        for room in (JOBS, RESULTS):
            with self.room.opened(room) as folder:
                for name in files.names(folder):
                    parts = _NAME.fullmatch(name)
                    if parts is None:
                        continue
                    found.names.add(parts["job"])
                    if parts["rest"] == ".job":
                        found.asked.add(parts["job"])
                    elif parts["rest"] == ".json":
                        found.done.add(parts["job"])
        return found

    async def remove(self, exchanges: set[str]) -> None:
        """Remove everything about these exchanges: what is asked first, so that workers stop."""
        await self.room.do(lambda: self._remove(exchanges), patient=True)

    def _remove(self, exchanges: set[str]) -> None:
        for room in (JOBS, RESULTS):
            with self.room.opened(room) as folder:
                for name in sorted(_those_of(files.names(folder), exchanges), key=_asked_first):
                    writing.remove(folder, name)

    # -- the worker's side

    async def look(self, name: str) -> Look:
        """How a job is; a job that is gone was cancelled, or is over."""
        return await self.room.do(lambda: self._look(name))

    def _look(self, name: str) -> Look:
        with self.room.opened(RESULTS) as folder:
            if files.look(folder, f"{name}.json") is not None:
                return Look(answered=True)
        with self.room.opened(JOBS) as folder:
            record = maybe_read(folder, f"{name}.job", MAX_BYTES)
            if record is None:
                return Look()
            holders = list(_holders(folder, name))
        return Look(Job.decode(record), False, len(holders), holders[-1] if holders else None)

    async def is_wanted(self, names: set[str]) -> set[str]:
        """Those of the jobs that are still to be done."""

        def work() -> set[str]:
            with self.room.opened(JOBS) as folder:
                return {name for name in names if files.look(folder, f"{name}.job") is not None}

        return await self.room.do(work)

    async def claim(self, name: str, number: int, worker: str) -> bool:
        """Take a job for the `number`th time; False if somebody else has just done that."""

        def work() -> bool:
            with self.room.opened(JOBS) as folder:
                try:
                    put_new(folder, f"{name}.try-{number}", worker.encode())
                except FileExistsError:
                    return False
                return True

        return await self.room.do(work)

    async def give_back(self, name: str, number: int) -> None:
        """Undo a claim: this worker stops, and the job is none the worse for it."""

        def work() -> None:
            with self.room.opened(JOBS) as folder:
                if files.look(folder, f"{name}.try-{number + 1}") is None:
                    writing.remove(folder, f"{name}.try-{number}")

        await self.room.do(work)

    async def fetch(self, job: Job, sink: BinaryIO) -> None:
        """Copy a job's payload; raises Torn if it is not what the record says."""

        def work() -> None:
            with self.room.opened(JOBS) as folder:
                _fetch(folder, job.name, sink, job.digest)

        await self.room.do(work, patient=True)

    async def store(self, name: str, source: BinaryIO) -> tuple[str, Digest]:
        """Write a result's payload, durably; returns its file and digest."""

        def work() -> tuple[str, Digest]:
            file = f"{name}.{secrets.token_hex(4)}"
            with self.room.opened(RESULTS) as folder:
                source.seek(0)
                pieces = iter(lambda: source.read(writing.CHUNK), b"")
                found = writing.put(folder, part_of(file), file, pieces, durable=True)
                return file, Digest(*found)

        return await self.room.do(work, patient=True)

    async def answer(self, result: Result) -> bool:
        """Say what came of a job, durably.

        False: somebody has done that, or nobody wants it any more, and this is not kept.
        """
        return await self.room.do(lambda: self._answer(result), patient=True)

    def _answer(self, result: Result) -> bool:
        with self.room.opened(JOBS) as folder:
            is_wanted = files.look(folder, f"{result.job}.job") is not None
        with self.room.opened(RESULTS) as folder:
            if is_wanted and _made(folder, f"{result.job}.json", result.encode()):
                return True
            if result.file is not None:
                writing.remove(folder, result.file)
            return False


def _made(folder: int, name: str, content: bytes) -> bool:
    try:
        put_new(folder, name, content, durable=True)
    except FileExistsError:
        return False
    return True


def _fetch(folder: int, name: str, sink: BinaryIO, digest: Digest | None) -> None:
    import hashlib

    found, size = hashlib.sha256(), 0
    opened, _ = files.open_file(folder, name, "the queue's folder")
    with os.fdopen(opened, "rb", buffering=0) as source:
        while piece := source.read(writing.CHUNK):
            found.update(piece)
            size += len(piece)
            sink.write(piece)
    if Digest(size, found.hexdigest()) != digest:
        raise Torn(f"{name}: not what its record says")


def _holders(folder: int, name: str) -> Iterator[str]:
    number = 1
    while (holder := maybe_read(folder, f"{name}.try-{number}", _MAX_HOLDER)) is not None:
        yield holder.decode(errors="replace")
        number += 1


def _those_of(names: list[str], exchanges: set[str]) -> Iterator[str]:
    for name in names:
        parts = _NAME.fullmatch(name)
        if parts is not None and exchange_of(parts["job"]) in exchanges:
            yield name


def _asked_first(name: str) -> tuple[bool, str]:
    return not name.endswith((".job", ".json")), name
