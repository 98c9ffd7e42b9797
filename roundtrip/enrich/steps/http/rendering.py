"""What a step sends, made of a record's fields: headers and body."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from urllib.parse import quote_plus

import httpx

from roundtrip.enrich import json_text
from roundtrip.enrich.check import sends_content
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.settings import HttpSettings
from roundtrip.enrich.steps.sent import Sent
from roundtrip.template import Field, Fields, Template, header_text, structure

FORM = "application/x-www-form-urlencoded"


class HeaderTemplates:
    """A step's headers; made once when no field is in them."""

    def __init__(self, headers: Mapping[str, str], fixed: Mapping[str, str]) -> None:
        """`fixed` are not templates. ValueError when a header is in both."""
        self._templates = {name.lower(): (name, Template(text)) for name, text in headers.items()}
        self._fixed = list(fixed.items())
        self.fields = tuple(
            field for _, template in self._templates.values() for field in template.fields
        )
        self._constant: dict[str, httpx.Headers] = {}
        for name in fixed:
            if name.lower() in self._templates:
                raise ValueError(f"the header {name} is given twice: by auth, and in headers")

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._templates

    def default(self, name: str, value: str) -> None:
        """Add a header unless the step has it; `name` is in lower case."""
        self._templates.setdefault(name, (name, Template(value)))

    def render(self, fields: Fields, accept: str, encoding: str) -> httpx.Headers:
        """The headers for one record, `accept` and `accept-encoding` added unless given.

        They are shared when they are the same for all records: not to be changed.
        """
        if accept in self._constant:
            return self._constant[accept]
        made = [(name, t.render(fields, header_text)) for name, t in self._templates.values()]
        made += self._fixed
        for name, value in (("accept", accept), ("accept-encoding", encoding)):
            if name not in self._templates:
                made.append((name, value))
        headers = httpx.Headers([(name.encode("ascii"), value.encode()) for name, value in made])
        if not self.fields:
            self._constant[accept] = headers
        return headers


class Body:
    """How a request's body is made.

    `media_type` is its type unless the step's headers say another; `fields` are those that its
    template names; `given` is whether the step says at all what it is.
    """

    def __init__(self, http: HttpSettings, sent: Sent | None) -> None:
        """ValueError when the settings contradict each other."""
        there = {"json": http.json is not None, "form": http.form, "body": http.body is not None}
        given = [name for name, found in there.items() if found]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} exclude each other")
        self.given = bool(given)
        self.fields: tuple[Field, ...] = ()
        self.media_type: str | None = None
        self.make = self._maker(http, sent)

    def _maker(self, http: HttpSettings, sent: Sent | None) -> Callable[[Fields], bytes | None]:
        if http.json is not None:
            make, self.fields = structure(http.json)
            self.media_type = "application/json"
            return lambda fields: encoded(make(fields))
        if http.form:
            pairs = [
                (quote_plus(name), Template(text, quote_plus)) for name, text in http.form.items()
            ]
            self.fields = tuple(field for _, template in pairs for field in template.fields)
            self.media_type = FORM
            return lambda fields: _form(pairs, fields)
        if http.body is not None:
            template = Template(http.body)
            self.fields = template.fields
            self.media_type = "text/plain; charset=utf-8"
            escaped = _escape(http.headers)
            return lambda fields: _text(template.render(fields, escaped, empty=True))
        if sent is not None and sends_content(http):
            self.media_type = "application/json"
            return lambda fields: encoded(sent.some(fields))
        return lambda fields: None


def encoded(value: object) -> bytes:
    """JSON text; RecordFault when the value can't be written as that."""
    try:
        return json_text.encode(value)
    except json_text.UNREADABLE:
        raise RecordFault("Unusable field", "the record can't be written as JSON") from None


def _form(pairs: Sequence[tuple[str, Template]], fields: Fields) -> bytes:
    made = [f"{name}={t.render(fields, quote_plus, empty=True)}" for name, t in pairs]
    return _text("&".join(made))


def _text(body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise RecordFault("Unusable field", "a field is not valid text") from None


def _escape(headers: Mapping[str, str]) -> Callable[[str], str]:
    """How a value must be written inside a text body, so that it stays a value."""
    given = next((v for name, v in headers.items() if name.lower() == "content-type"), "")
    content_type = given.lower()  # RFC 9110 section 8.3.1
    if "json" in content_type:
        return lambda text: encoded(text).decode()[1:-1]
    if "x-www-form-urlencoded" in content_type:
        return quote_plus
    if "xml" in content_type:
        return escape
    return str
