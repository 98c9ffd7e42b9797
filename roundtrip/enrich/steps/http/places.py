"""Places that an answer helps to name: where a job is asked for, and where its result is."""

from __future__ import annotations

import httpx

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.steps.http.compiled import Compiled
from roundtrip.enrich.steps.http.target import Origin
from roundtrip.template import Fields, Template, Url


class Place:
    """A URL template over an answer: on the step's origin, or a field that names one there."""

    def __init__(self, text: str, step: Compiled) -> None:
        """ValueError, in one line, when it is neither."""
        template = Template(text)
        self._step = step
        self._field = template.fields[0] if len(template.parts) == 1 and template.fields else None
        if self._field is not None:
            self._fields = template.fields
            return
        self._url = Url(step.url.origin + text if text.startswith("/") else text, {})
        self._fields = self._url.fields
        if not step.origin.has(Origin(self._url.origin).url("/")):
            raise ValueError("job: its URLs must be on the same host as the step's")

    def url(self, fields: Fields, base: httpx.URL) -> httpx.URL:
        """The URL; RecordFault when a field is missing or leads to another host."""
        step = self._step
        if self._field is not None:
            return step.elsewhere(self._field.text(fields), base)
        return step.carrying(step.origin.url(self._url.target(fields)))

    @property
    def is_template(self) -> bool:
        """Whether it is a URL of ours, with fields in it, and not one that an answer gives."""
        return self._field is None

    def known(self, fields: Fields) -> dict[str, object]:
        """Those of the template's fields that are there already."""
        known: dict[str, object] = {}
        for field in self._fields:
            try:
                known[field.name] = field.text(fields)
            except RecordFault:
                continue  # a later answer may have it
        return known


def members(value: object) -> Fields:
    """An answer's members; none when it is no object."""
    return value if isinstance(value, dict) else {}
