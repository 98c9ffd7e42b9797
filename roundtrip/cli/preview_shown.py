"""One call as it would be made, in a form to be shown: no secret is in it, only their names."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from roundtrip.config.named import written, written_header
from roundtrip.enrich.settings import CommandSettings, HttpSettings, LookupSettings, PythonSettings
from roundtrip.enrich.steps import Call, Step


class Request(Protocol):
    """A request as it would leave."""

    @property
    def method(self) -> str:
        """The method."""

    @property
    def url(self) -> str:
        """The whole URL."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Names and values, in their order."""

    @property
    def body(self) -> bytes | None:
        """The content."""


@runtime_checkable
class ShowsRequest(Protocol):
    """A call that can say what request it would send first."""

    def shown(self) -> Request:
        """The request."""


@runtime_checkable
class ShowsBatch(Protocol):
    """A step that can say what request it would send for several calls together."""

    def shown_together(self, calls: Sequence[Call]) -> Request:
        """The request."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A call: its kind, a line that says it, header lines, and what is sent along.

    `host` is set for a request that leaves. `more` has the members of its JSON form.
    """

    kind: str
    line: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    host: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The call as JSON values; a body that is no text is in base64."""
        found: dict[str, Any] = {"kind": self.kind, **self.more}
        if self.headers:
            found["headers"] = [list(pair) for pair in self.headers]
        if self.body is not None:
            try:
                found["body"] = self.body.decode()
            except UnicodeDecodeError:
                found["body_base64"] = base64.b64encode(self.body).decode("ascii")
        return found


def shown(step: Step, call: Call) -> Shown:
    """One record's call."""
    action = step.settings.action
    if isinstance(call, ShowsRequest):
        return _request(call.shown())
    if isinstance(action, CommandSettings):
        return _command(action, getattr(call, "argv", ()), getattr(call, "stdin", b""))
    if isinstance(action, PythonSettings):
        record = getattr(call, "record", b"")
        more = {"use": action.use, "options": dict(action.options)}
        return Shown("python", f"calls {action.use}", body=record, more=more)
    if isinstance(action, LookupSettings):
        key = getattr(call, "text", "")
        line = f"looks {key!r} up in {action.file}"
        return Shown("lookup", line, more={"key": key, "file": action.file})
    raise TypeError(f"step {step.name}: a call that can't be shown")


def shown_together(step: Step, calls: Sequence[Call]) -> Shown:
    """A batch's call."""
    if isinstance(step, ShowsBatch):
        return _request(step.shown_together(calls))
    action = step.settings.action
    assert isinstance(action, CommandSettings)  # no other kind has batches
    stdin = b"".join(getattr(call, "stdin", b"") for call in calls)
    return _command(action, getattr(calls[0], "argv", ()), stdin)


def shown_whole(step: Step, name: str, size: int) -> Shown:
    """Format raw: the call that gets the whole file."""
    action = step.settings.action
    body = f"(the file itself, {size:,} bytes)".encode()
    if isinstance(action, CommandSettings):
        line = "runs " + " ".join(map(_word, action.run))
        return Shown("command", line, body=body, more={"argv": list(action.run)})
    assert isinstance(action, HttpSettings)  # the configuration's check allows no other
    call = step.call({"name": name})
    assert isinstance(call, ShowsRequest)
    found = _request(call.shown())
    headers = tuple(_raw_headers(action, found.headers))
    if action.json is not None or action.form or action.body is not None:
        return replace(found, headers=headers)
    return replace(found, headers=(*headers, ("Content-Length", str(size))), body=body)


def _raw_headers(
    action: HttpSettings, headers: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """The headers of a call that takes any answer, and takes it as it is."""
    given = {name.lower() for name in action.headers}
    raw = {"accept": "*/*", "accept-encoding": "identity"}
    for name, value in headers:
        yield name, value if name.lower() in given else raw.get(name.lower(), value)


def _request(request: Request) -> Shown:
    url = written(request.url)
    text = (request.body or b"").decode("latin-1")
    named = written(text) != text
    headers = tuple(
        (name, written_header(value))
        for name, value in request.headers
        # its length says nothing when a secret's name stands for the secret
        if not (named and name.lower() == "content-length")
    )
    body = None if request.body is None else written(text).encode("latin-1")
    host = written(urlsplit(request.url).netloc.rpartition("@")[2])
    more = {"method": request.method, "url": url}
    return Shown("http", f"{request.method} {url}", headers, body, host, more)


def _command(action: CommandSettings, argv: Sequence[bytes], stdin: bytes) -> Shown:
    words = [action.words[0], *(word.decode(errors="backslashreplace") for word in argv)]
    words += [] if action.shell is None else [action.shell]
    line = "runs " + " ".join(map(_word, words))
    return Shown("command", line, body=stdin, more={"argv": words})


def _word(text: str) -> str:
    plain = text and all(character.isalnum() or character in "_-./:=,@%+" for character in text)
    return text if plain else repr(text)
