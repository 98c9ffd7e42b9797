"""Steps: what can be done for one record. The port here, one kind of step in each module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from roundtrip.enrich.results import Stats
from roundtrip.enrich.template import Fields


class Call(Protocol):
    """One thing to do for one record, completely prepared. Equal keys mean equal answers."""

    @property
    def key(self) -> bytes:
        """A digest of the step and of all that is sent, secrets included."""

    async def make(self, stats: Stats) -> object:
        """Do it, and count it in `stats.calls`; the answer as JSON values. Raises RecordFault."""


class Step(Protocol):
    """One enrichment of a pipeline, ready to run; shared by all payloads of the process."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def into(self) -> str:
        """The record's field that its answer goes to."""

    @property
    def on_error(self) -> str:
        """annotate, drop or fail."""

    @property
    def cache(self) -> float | None:
        """Seconds its answers may be used for other payloads; None: for this one only."""

    @property
    def selected(self) -> Sequence[str]:
        """The names of the answer's members, when they are known beforehand."""

    def call(self, fields: Fields) -> Call:
        """What is to be done for a record. Raises RecordFault when the record lacks something."""
