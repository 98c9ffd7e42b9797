"""What all calls of an `http` step share: its settings compiled, its key, its way to the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import httpx

from roundtrip.enrich.check import sends_content
from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.limits import Gate, Governor
from roundtrip.enrich.outcomes import is_idempotent
from roundtrip.enrich.settings import HttpSettings, StepSettings
from roundtrip.enrich.steps import Answered
from roundtrip.enrich.steps.http.answers import Answers
from roundtrip.enrich.steps.http.auth import auth_headers, auth_query, digest, own_query
from roundtrip.enrich.steps.http.rendering import Body, HeaderTemplates
from roundtrip.enrich.steps.http.target import Origin
from roundtrip.enrich.steps.http.tokens import shared_tokens
from roundtrip.enrich.steps.http.wire import Answer, Wire
from roundtrip.enrich.steps.sent import Sent
from roundtrip.template import Field, Fields, Url


class Compiled:
    """One step's settings, looked at once; shared by all its calls."""

    def __init__(
        self,
        pipeline: str,
        settings: StepSettings,
        http: HttpSettings,
        transport: httpx.AsyncBaseTransport,
        governor: Governor,
    ) -> None:
        """ValueError (one line) when the settings can't be used."""
        self.settings = settings
        self.http = http
        self.auth = http.auth
        self.name = settings.name
        self.into = settings.into or settings.name
        self.selected = tuple(settings.select)
        self.method = http.method.upper()
        self.idempotent = is_idempotent(self.method, http.idempotent)
        self.url = _url(http)
        self.origin = Origin(self.url.origin)
        # a literal path may have dots that httpx takes out
        fixed = self.url.constant and httpx.URL(self.url.constant).raw_path.decode("ascii")
        self.fixed_target = fixed or None
        self.sent = Sent(settings)
        self.body = Body(http, None if settings.send is None or settings.batch else self.sent)
        self.headers = self._headers()
        self.repeat_header = self._repeat_header()
        credential = digest(http, self.url.userinfo)
        self.wire = self._wire(credential, transport)
        self.answers = Answers(self.wire.where, settings.select, tuple(_expressions(settings)))
        self.gate: Gate = governor.gate(pipeline, settings, self.url.host, credential)
        self.sleep = governor.sleep
        self._caches = settings.cache is not None
        self._carried = auth_query(http.auth)
        self._own_query = {**own_query(http), **self._carried}
        # a certificate is a credential, too, though not one with limits of its own
        self._keys = self._key_of_all(credential + governor.certificate(self.url.host).encode())

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields that the request's templates name."""
        return self.url.fields + self.headers.fields + self.body.fields

    def rendered(self, fields: Fields) -> httpx.Headers:
        """The headers of a record's request, which asks for JSON."""
        return self.headers.render(fields, "application/json", "gzip, deflate")

    def key(self, target: str, headers: httpx.Headers, content: bytes | None) -> bytes:
        """The digest of one rendered request, and of all that says what becomes of its answer."""
        found = self._keys.copy()
        found.update(target.encode())
        if self.headers.fields:
            for name, value in headers.raw:
                found.update(b"\n%b:%b" % (name, value))
        if content is not None:
            found.update(b"\n\n" + content)
        return found.digest()

    def ticket_key(self, target: str, headers: httpx.Headers, content: bytes | None) -> bytes:
        """The digest of what makes a job the same job.

        A new selection, pause or credential must not submit again what was paid for.
        """
        found = blake2b(repr((self.name, self.method)).encode(), digest_size=16)
        found.update(self.url.origin.encode() + target.encode())
        if self.headers.fields:
            found.update(repr(headers.raw).encode())
        found.update(b"\n" + (content or b""))
        return found.digest()

    def value(self, answer: Answer) -> object:
        """The answer's JSON value; RecordFault when it has none."""
        return self.answers.value(answer.body, answer.media_type)

    def answered(self, answer: Answer) -> Answered:
        """What an answer says, and how long it may be kept."""
        value = self.answers.selected(self.value(answer))
        if not self._caches:
            return Answered(value)
        return Answered(value, self.keeps(answer), answer.headers.get("etag"))

    def keeps(self, answer: Answer) -> bool:
        """Whether the answer may be kept for others (RFC 9111 section 5.2.2.5)."""
        directives = answer.headers.get("cache-control", "").lower().split(",")
        return not any(directive.strip() == "no-store" for directive in directives)

    def elsewhere(self, reference: str, base: httpx.URL) -> httpx.URL:
        """A URL that an answer names, with the step's key if that goes into the query.

        RecordFault unless it is on the step's own host.
        """
        return self.carrying(self.origin.resolved(reference, base, self.wire.where))

    def carrying(self, url: httpx.URL) -> httpx.URL:
        """The URL with the step's key, if that goes into the query."""
        return self._with(url, self._carried)

    def uncarried(self, url: httpx.URL) -> tuple[str, list[str]]:
        """The URL to be written down, and the names of the parameters that were taken out of it.

        Those that are the step's own, which an API may echo, as they may be secrets.
        """
        there = url.params
        names = [
            name
            for name, text in self._own_query.items()
            if name in there and (name in self._carried or there[name] == text)
        ]
        for name in names:
            url = url.copy_remove_param(name)
        return str(url), names

    def recarried(self, written: str, names: Sequence[str]) -> httpx.URL:
        """The URL that was written down, the step's own parameters in it again.

        RecordFault unless it is on the step's own host.
        """
        url = self.elsewhere(written, self.origin.url("/"))
        own = {name: text for name, text in self._own_query.items() if name in names}
        return self._with(url, own)

    def _with(self, url: httpx.URL, parameters: Mapping[str, str]) -> httpx.URL:
        try:
            for name, text in parameters.items():
                if name not in url.params:
                    url = url.copy_set_param(name, text)
        except httpx.InvalidURL:  # too long
            raise self.fault("Unusable answer", "its answer names no usable URL") from None
        return url

    def fault(self, title: str, text: str) -> RecordFault:
        """The fault that says so."""
        return RecordFault(title, f"{self.wire.where}: {text}")

    def _headers(self) -> HeaderTemplates:
        headers = HeaderTemplates(
            self.http.headers, auth_headers(self.http.auth, self.url.userinfo)
        )
        media_type = self.body.media_type
        if self.settings.batch and not self.body.given and sends_content(self.http):
            media_type = "application/json"
        if media_type:
            headers.default("content-type", media_type)
        headers.default("user-agent", "roundtrip")
        return headers

    def _wire(self, credential: bytes, transport: httpx.AsyncBaseTransport) -> Wire:
        auth = self.http.auth
        tokens = None
        if auth is not None and auth.kind == "oauth2":
            tokens = shared_tokens(auth, credential, transport)
        return Wire(
            self.name,
            self.url.host,
            transport,
            timeout=self.settings.timeout,
            max_response=self.http.max_response,
            tokens=tokens,
        )

    def _repeat_header(self) -> str | None:
        wanted = self.http.idempotency_key
        if wanted is None or is_idempotent(self.method, None) or wanted in self.headers:
            return None
        return wanted

    def _key_of_all(self, credential: bytes) -> blake2b:
        settings, http = self.settings, self.http
        parts = (
            self.name,
            self.method,
            sorted(settings.select.items()),
            http.pages,
            http.job,
            settings.batch and (settings.batch.by, settings.batch.key, settings.batch.results),
        )
        found = blake2b(repr(parts).encode(errors="surrogatepass"), digest_size=16)
        found.update(credential)
        found.update(self.url.origin.encode())
        if not self.headers.fields:
            for name, value in self.rendered({}).raw:
                found.update(b"\n%b:%b" % (name, value))
        found.update(b"\n")
        return found


def _url(http: HttpSettings) -> Url:
    carried = auth_query(http.auth)
    if twice := carried.keys() & http.query.keys():
        raise ValueError(f"the parameter {twice.pop()} is given twice: by auth, and in query")
    return Url(http.url, http.query, carried)


def _expressions(settings: StepSettings) -> list[str]:
    """The JMESPaths that look into answers, besides `select`."""
    http, batch = settings.action, settings.batch
    assert isinstance(http, HttpSettings)  # this module serves no other
    pages, job = http.pages, http.job
    found: list[str | None] = [batch.results, batch.by] if batch else []
    found += [pages.items, pages.next, pages.cursor] if pages else []
    found += [job.status] if job else []
    return [text for text in found if text is not None]
