"""Steps: what can be done for one record. The port here, one kind of step in each module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.run import Run
from roundtrip.enrich.settings import StepSettings
from roundtrip.template import Fields


@dataclass(frozen=True, slots=True)
class Answered:
    """A call's answer as JSON values.

    `keep` is False when its source forbids keeping it for others (Cache-Control: no-store). `etag`
    names this version of it. `unchanged`: the version asked about is still the right one, and
    `value` says nothing.
    """

    value: object
    keep: bool = True
    etag: str | None = None
    unchanged: bool = False


class Call(Protocol):
    """One thing to do for one record, completely prepared. Equal keys mean equal answers."""

    @property
    def key(self) -> bytes:
        """A digest of the step and of all that is sent, credentials included."""

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        """Do it, within the limits and with the retries of its step; count it in `run.stats.calls`.

        `etag`: an earlier answer's, to ask whether that is still right. Raises RecordFault.
        """


class LocalCall(Call, Protocol):
    """A call of a step that is `local`."""

    def at_once(self) -> Answered | None:
        """The answer, if it can be had without waiting; else None. Raises RecordFault."""


class Step(Protocol):
    """One enrichment of a pipeline, ready to run; shared by all payloads of the process."""

    @property
    def local(self) -> bool:
        """Whether its answers cost next to nothing: they are neither recorded nor shared.

        Its calls are `LocalCall`s.
        """

    @property
    def settings(self) -> StepSettings:
        """What the configuration says."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def into(self) -> str:
        """The record's field that its answer goes to."""

    @property
    def selected(self) -> Sequence[str]:
        """The names of the answer's members, when they are known beforehand."""

    def call(self, fields: Fields) -> Call:
        """What is to be done for a record. Raises RecordFault when the record lacks something."""

    async def together(self, calls: Sequence[Call], run: Run) -> list[Answered | RecordFault]:
        """Make calls of this step, with different keys, as one batch; outcomes in their order.

        Only called when the settings have `batch`, with at most its `size` calls.
        """

    async def whole(self, name: str, source: BinaryIO, sink: BinaryIO, run: Run) -> str | None:
        """Format raw: send `source` (seekable), append the answer to `sink`; its media type.

        Raises RecordFault. Only called when `check` accepts the step for format raw.
        """
