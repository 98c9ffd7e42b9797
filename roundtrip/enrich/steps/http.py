"""The `http` step: compiled once, then a request for each record, and its answer taken apart."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from hashlib import blake2b
from html import escape
from http.client import responses
from urllib.parse import quote_plus

import httpx
import jmespath

from roundtrip.enrich import json_text
from roundtrip.enrich.check import sends_content
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.limits import Limits
from roundtrip.enrich.results import Stats
from roundtrip.enrich.retry import Sleep, Transient, Verdict, classify, is_idempotent, persist
from roundtrip.enrich.retry import retry_after as asked_pause
from roundtrip.enrich.settings import HttpStep
from roundtrip.enrich.template import Fields, Template, Url, header_text, structure

CONNECT_SHARE = 0.5  # of the timeout: what passes it can't be told from an executed request
CONNECT_MAX = 10.0  # seconds
DRAIN = 64 * 1024  # bytes of a refused answer read so that its connection can be kept

Content = bytes | AsyncIterable[bytes] | None


class HttpCall:
    """One rendered request."""

    __slots__ = ("content", "headers", "key", "step", "url")

    def __init__(
        self, step: Http, url: httpx.URL, headers: httpx.Headers, content: bytes | None
    ) -> None:
        self.step = step
        self.url = url
        self.headers = headers
        self.content = content
        self.key = step.key(url, headers, content)

    async def make(self, stats: Stats) -> object:
        """See `Call.make`."""
        step = self.step
        answer = await persist(lambda: self._attempt(stats), step.settings.retry, step.sleep)
        return step.taken(answer)

    async def _attempt(self, stats: Stats) -> bytes:
        step = self.step
        async with step.limits:
            stats.calls += 1
            request = httpx.Request(
                step.method,
                self.url,
                headers=self.headers,
                content=self.content,
                extensions=step.patience,
            )
            try:
                response = await step.transport.handle_async_request(request)
                try:
                    await step.judge(response)
                    return await _whole(response, step.settings.max_response)
                finally:
                    await response.aclose()
            except (httpx.TransportError, httpx.DecodingError, OverflowError) as error:
                raise step.broken(error) from None


class Http:
    """A compiled `http` step; implements `Step`."""

    def __init__(
        self, settings: HttpStep, transport: httpx.AsyncBaseTransport, sleep: Sleep
    ) -> None:
        """ValueError (one line) when the URL or a selector can't be used."""
        self.settings = settings
        self.transport = transport
        self.sleep = sleep
        self.name = settings.name
        self.into = settings.into or settings.name
        self.on_error = settings.on_error
        self.cache = settings.cache
        self.selected = tuple(settings.select)
        self.method = settings.method.upper()
        self.limits = Limits(settings)
        self.idempotent = is_idempotent(self.method, settings.idempotent)
        connect = min(settings.timeout * CONNECT_SHARE, CONNECT_MAX)
        self.connect_patience = {"timeout": {"connect": connect}}
        self.patience = {"timeout": {"connect": connect, "total": settings.timeout}}
        self._url = Url(settings.url, settings.query)
        self._fixed_url = httpx.URL(self._url.constant) if self._url.constant else None
        self._selectors = {name: jmespath.compile(text) for name, text in settings.select.items()}
        # a selector's functions want ordinary floats; without any, numbers stay as written
        self._floats = any("(" in text for text in settings.select.values())
        self._headers = _HeaderTemplates(settings.headers)
        self._content, content_type = _content(settings)
        if content_type:
            self._headers.default("content-type", content_type)
        self._headers.default("user-agent", "roundtrip")
        self._identity = repr((self.name, self.method, sorted(settings.select.items()))).encode()

    def call(self, fields: Fields) -> HttpCall:
        """See `Step.call`."""
        headers = self._headers.render(fields, "application/json", "gzip, deflate")
        return HttpCall(self, self.url(fields), headers, self._content(fields))

    def url(self, fields: Fields) -> httpx.URL:
        """The record's URL."""
        return self._fixed_url or httpx.URL(self._url.render(fields))

    def raw_headers(self, fields: Fields) -> httpx.Headers:
        """Headers for a whole payload: any kind of answer, and as it is."""
        return self._headers.render(fields, "*/*", "identity")

    @property
    def template_content(self) -> Callable[[Fields], bytes | None] | None:
        """What makes the body, when the step says what it is; None when the payload itself is."""
        given = self.settings.json is not None or self.settings.body is not None
        return self._content if given or not sends_content(self.settings) else None

    def key(self, url: httpx.URL, headers: httpx.Headers, content: bytes | None) -> bytes:
        """The digest of one rendered request."""
        digest = blake2b(self._identity, digest_size=16)
        digest.update(str(url).encode())
        for name, value in headers.raw:
            digest.update(b"\n%b:%b" % (name, value))
        digest.update(b"\n\n" + (content or b""))
        return digest.digest()

    async def judge(self, response: httpx.Response) -> None:
        """Return if the status means success; else raise Transient or RecordFault."""
        status = response.status_code
        verdict = classify(status, idempotent=self.idempotent)
        if verdict is Verdict.ACCEPT:
            return
        await _drain(response)
        title = f"{status} {responses.get(status, 'Unknown status')}"
        fault = RecordFault(title, f"step {self.name}: {self._url.host} answered {status}", status)
        if verdict is Verdict.RETRY:
            raise Transient(fault, asked_pause(response.headers.get("retry-after")))
        raise fault

    def broken(self, error: Exception) -> Transient | RecordFault:
        """What a call that brought no whole answer means: an exception to raise."""
        fault = RecordFault(_title(error), f"step {self.name}: {self._url.host}: {error}")
        if not isinstance(error, httpx.TransportError):
            return fault
        verdict = classify(error, idempotent=self.idempotent)
        return Transient(fault) if verdict is Verdict.RETRY else fault

    def taken(self, answer: bytes) -> object:
        """The selected members of an answer, or all of it; RecordFault when it isn't JSON."""
        where = f"step {self.name}: {self._url.host}"
        try:
            body = answer.removeprefix(json_text.BOM)
            found = json_text.decode(body, floats=self._floats) if body.strip() else None
        except json_text.UNREADABLE:
            raise RecordFault("Unusable answer", f"{where} answered with no valid JSON") from None
        if not self._selectors:
            return found
        try:
            return {name: selector.search(found) for name, selector in self._selectors.items()}
        except (jmespath.exceptions.JMESPathError, ArithmeticError, *json_text.UNREADABLE):
            raise RecordFault("Unusable answer", f"{where}: select doesn't fit it") from None


class _HeaderTemplates:
    """A step's headers; made once when no field is in them."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._templates = {name.lower(): (name, Template(text)) for name, text in headers.items()}
        self._constant: dict[str, httpx.Headers] = {}

    def default(self, name: str, value: str) -> None:
        """Add a header unless the step has it."""
        self._templates.setdefault(name, (name, Template(value)))

    def render(self, fields: Fields, accept: str, encoding: str) -> httpx.Headers:
        """The headers for one record, `accept` and `accept-encoding` added unless given."""
        if accept in self._constant:
            return self._constant[accept]
        made = [(name, t.render(fields, header_text)) for name, t in self._templates.values()]
        for name, value in (("accept", accept), ("accept-encoding", encoding)):
            if name not in self._templates:
                made.append((name, value))
        headers = httpx.Headers([(name.encode("ascii"), value.encode()) for name, value in made])
        if not any(template.fields for _, template in self._templates.values()):
            self._constant[accept] = headers
        return headers


def _content(settings: HttpStep) -> tuple[Callable[[Fields], bytes | None], str | None]:
    """How a record's request body is made, and its media type."""
    if settings.json is not None:
        make, _ = structure(settings.json)
        return (lambda fields: _json(make(fields))), "application/json"
    if settings.body is not None:
        template = Template(settings.body)
        headers = {name.lower(): value for name, value in settings.headers.items()}
        escaped = _escape(headers.get("content-type", ""))
        text = "text/plain; charset=utf-8"
        return (lambda fields: _text(template.render(fields, escaped, empty=True))), text
    if sends_content(settings):
        return _json, "application/json"
    return (lambda fields: None), None


def _json(value: object) -> bytes:
    try:
        return json_text.encode(value)
    except json_text.UNREADABLE:
        raise RecordFault("Unusable field", "the record can't be written as JSON") from None


def _text(body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeEncodeError:
        raise RecordFault("Unusable field", "a field is not valid text") from None


def _escape(content_type: str) -> Callable[[str], str]:
    """How a value must be written inside a text body of this type, so that it stays a value."""
    if "json" in content_type:
        return lambda text: _json(text).decode()[1:-1]
    if "x-www-form-urlencoded" in content_type:
        return quote_plus
    if "xml" in content_type:
        return escape
    return str


def chunks(response: httpx.Response) -> AsyncIterable[bytes]:
    """The body as it comes, decoded if it was sent encoded."""
    if "content-encoding" in response.headers:
        return response.aiter_bytes()
    stream = response.stream
    assert isinstance(stream, AsyncIterable)  # what an asynchronous transport returns
    return stream


async def _whole(response: httpx.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in chunks(response):
        if len(body) + len(chunk) > limit:
            raise OverflowError(f"the answer is larger than {limit} bytes")
        body += chunk
    return bytes(body)


async def _drain(response: httpx.Response) -> None:
    seen = 0
    stream = response.stream
    assert isinstance(stream, AsyncIterable)  # what an asynchronous transport returns
    try:
        async for chunk in stream:
            seen += len(chunk)
            if seen > DRAIN:
                return
    except httpx.TransportError:
        return  # the status is already known, and it is what counts


def _title(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "No connection"
    if isinstance(error, httpx.TimeoutException):
        return "No answer in time"
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return "Connection lost"
    return "Unusable answer" if isinstance(error, httpx.DecodingError) else "Call impossible"
