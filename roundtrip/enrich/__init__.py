"""The enrichment engine: a request payload in, an enriched payload out, through a pipeline's steps.

`Enricher` is loaded on first use: config/ needs the settings on both hosts, and a host that never
calls an API must not pay for an HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roundtrip.enrich.faults import PayloadFault, RecordFault, Transient, Withdrawn
from roundtrip.enrich.results import Result, Stats
from roundtrip.enrich.settings import HttpSettings, Pipeline, Rate, Retry, StepSettings

if TYPE_CHECKING:
    from roundtrip.enrich.engine import Enricher

__all__ = [
    "Enricher",
    "HttpSettings",
    "PayloadFault",
    "Pipeline",
    "Rate",
    "RecordFault",
    "Result",
    "Retry",
    "Stats",
    "StepSettings",
    "Transient",
    "Withdrawn",
]


def __getattr__(name: str) -> object:
    """Load the engine when it is first asked for (PEP 562)."""
    if name == "Enricher":
        from roundtrip.enrich.engine import Enricher

        return Enricher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
