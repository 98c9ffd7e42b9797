"""One attempt on the wire: a request sent, its outcome judged, its answer read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.client import responses
from typing import NamedTuple, TypeVar

import httpx

from roundtrip.enrich.faults import PassingFault, Postponed, RecordFault, StepFault, Transient
from roundtrip.enrich.outcomes import Verdict, classify, retry_after
from roundtrip.enrich.run import Run
from roundtrip.enrich.steps.http.reading import close, drain, whole
from roundtrip.enrich.steps.http.tokens import Tokens

T = TypeVar("T")

CONNECT_SHARE = 0.5  # of the timeout: what passes it can't be told from an executed request
CONNECT_MAX = 10.0  # seconds
UNAUTHORIZED = 401
NOT_MODIFIED = 304


class Answer(NamedTuple):
    """An answer that was accepted, body and all; `url` is what was asked."""

    url: httpx.URL
    status: int
    headers: httpx.Headers
    media_type: str | None
    body: bytes


class Request(httpx.Request):
    """A request whose parts are ready: httpx's own constructor takes 13 us to look at them."""

    def __init__(
        self,
        method: str,
        url: httpx.URL,
        headers: httpx.Headers,
        content: bytes | None,
        extensions: dict[str, object],
    ) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.extensions = extensions
        self._content = content or b""


class Wire:
    """How one step reaches its host."""

    def __init__(
        self,
        name: str,
        host: str,
        transport: httpx.AsyncBaseTransport,
        *,
        timeout: float,
        max_response: int,
        tokens: Tokens | None,
    ) -> None:
        """`tokens`: where the token comes from that each request carries, if it does."""
        self.where = f"step {name}: {host}"
        self._name = name
        self.transport = transport
        self._max_response = max_response
        self._tokens = tokens
        connect = min(timeout * CONNECT_SHARE, CONNECT_MAX)
        self.connect_patience: dict[str, object] = {"timeout": {"connect": connect}}
        self._patience: dict[str, object] = {"timeout": {"connect": connect, "total": timeout}}

    async def attempt(
        self,
        run: Run,
        method: str,
        url: httpx.URL,
        headers: httpx.Headers,
        content: bytes | None = None,
        idempotent: bool = True,
        also: int = 0,
    ) -> Answer:
        """Make one attempt and count it; an answer of 2xx, or of the status `also`.

        Raises Transient, Postponed, RecordFault, StepFault; OSError when this host is the trouble.
        """
        if self._tokens is None:
            return await self._sent(run, method, url, headers, content, idempotent, also)

        async def send(headers: httpx.Headers) -> Answer:
            return await self._sent(run, method, url, headers, content, idempotent, also)

        return await self.with_token(send, headers)

    async def with_token(
        self, send: Callable[[httpx.Headers], Awaitable[T]], headers: httpx.Headers
    ) -> T:
        """Send with a token if the step has tokens; once more with a new one after a 401."""
        if self._tokens is None:
            return await send(headers)
        token = await self._token(self._tokens)
        try:
            return await send(plus(headers, "authorization", f"Bearer {token}"))
        except StepFault as fault:
            if fault.status != UNAUTHORIZED:
                raise
        self._tokens.refused(token)
        token = await self._token(self._tokens)
        return await send(plus(headers, "authorization", f"Bearer {token}"))

    async def _token(self, tokens: Tokens) -> str:
        try:
            return await tokens.token()
        except StepFault as fault:
            raise fault.of(self._name) from None
        except Transient as failure:
            raise Transient(failure.fault.of(self._name)) from None
        except Postponed as postponed:
            raise Postponed(postponed.fault.of(self._name), postponed.after) from None

    async def _sent(
        self,
        run: Run,
        method: str,
        url: httpx.URL,
        headers: httpx.Headers,
        content: bytes | None,
        idempotent: bool,
        also: int,
    ) -> Answer:
        run.stats.calls += 1
        extensions = self._patience if not also else {**self._patience, "as_is": also}
        request = Request(method, url, headers, content, extensions)
        try:
            response = await self.transport.handle_async_request(request)
            try:
                status = response.status_code
                if status != 200 and status != also:
                    await self.judge(response, idempotent)
                body, media_type = await whole(response, self._max_response)
            finally:
                await close(response)
        except (httpx.TransportError, httpx.DecodingError, OverflowError) as error:
            raise self.broken(error, idempotent) from None
        return Answer(url, status, response.headers, media_type, body)

    async def judge(self, response: httpx.Response, idempotent: bool) -> None:
        """Return if the status means success; else raise what it means."""
        status = response.status_code
        asked = retry_after(response.headers.get("retry-after"))
        verdict = classify(status, idempotent=idempotent, retry_after=asked)
        if verdict is Verdict.ACCEPT:
            return
        await drain(response)
        title = f"{status} {responses.get(status, 'Unknown status')}"
        raise _raised(verdict, title, f"{self.where} answered {status}", status, asked)

    def broken(self, error: Exception, idempotent: bool) -> Exception:
        """What a call that brought no whole answer means: an exception to raise."""
        detail = f"{self.where}: {error}"
        if not isinstance(error, httpx.TransportError):
            return RecordFault(_title(error), detail)
        verdict = classify(error, idempotent=idempotent)
        return _raised(verdict, _title(error), detail, None, None)


def plus(headers: httpx.Headers, name: str, value: str) -> httpx.Headers:
    """The headers and one more; the given ones are shared, and stay as they are."""
    return httpx.Headers([*headers.raw, (name.encode("ascii"), value.encode())])


def _raised(
    verdict: Verdict, title: str, detail: str, status: int | None, asked: float | None
) -> Exception:
    if verdict is Verdict.POSTPONE and asked is not None:
        return Postponed(PassingFault(title, detail, status), asked)
    if verdict is Verdict.RETRY:
        return Transient(PassingFault(title, detail, status))
    if verdict is Verdict.STEP:
        return StepFault(title, detail, status)
    if verdict is Verdict.STOP:
        return OSError(f"{title}: {detail}")
    return RecordFault(title, detail, status)


def _title(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "No connection"
    if isinstance(error, httpx.TimeoutException):
        return "No answer in time"
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return "Connection lost"
    return "Call impossible" if isinstance(error, httpx.TransportError) else "Unusable answer"
