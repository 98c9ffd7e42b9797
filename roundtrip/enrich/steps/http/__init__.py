"""The `http` step: compiled once, then a request for each record, and its answer taken apart."""

from roundtrip.enrich.steps.http.step import Http

__all__ = ["Http"]
