"""A prepared call of an `http` step: one request, rendered, with its key."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from secrets import token_hex
from typing import NamedTuple
from uuid import UUID

import httpx

from roundtrip.enrich.run import Run
from roundtrip.enrich.steps import Answered
from roundtrip.enrich.steps.http.compiled import Compiled
from roundtrip.enrich.steps.http.wire import NOT_MODIFIED, Answer, plus

REPEATED = "<the same for each try of this call>"

_PROCESS = token_hex(16)


class Shown(NamedTuple):
    """A request as it would leave."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes | None


class HttpCall:
    """One rendered request."""

    __slots__ = ("content", "headers", "key", "step", "target")

    def __init__(
        self, step: Compiled, target: str, headers: httpx.Headers, content: bytes | None
    ) -> None:
        self.step = step
        self.target = target
        self.headers = headers
        self.content = content
        self.key = step.key(target, headers, content)

    async def make(self, run: Run, etag: str | None = None) -> Answered:
        """See `Call.make`."""
        step = self.step
        headers = self.headers
        if step.repeat_header is not None:
            headers = self.repeatable(run)
        also = 0
        if etag is not None:
            headers, also = plus(headers, "if-none-match", etag), NOT_MODIFIED
        answer = await self.sent(run, step.origin.url(self.target), headers, also)
        if answer.status == NOT_MODIFIED:
            return Answered(None, etag=etag, unchanged=True)
        return step.answered(answer)

    def repeatable(self, run: Run, part: str = "") -> httpx.Headers:
        """The headers for a try that may be one of several; `part`: of a call of many requests."""
        header = self.step.repeat_header
        if header is None:
            return self.headers
        return plus(self.headers, header, repeat_key(run, self.key + part.encode()))

    async def sent(self, run: Run, url: httpx.URL, headers: httpx.Headers, also: int = 0) -> Answer:
        """The request's answer, 2xx or `also`, made within the limits and with retries."""
        step = self.step
        attempt = partial(
            step.wire.attempt, run, step.method, url, headers, self.content, step.idempotent, also
        )
        return await step.gate.call(attempt, run)

    def shown(self) -> Shown:
        """What would be sent first."""
        return shown(self.step, self.step.origin.url(self.target), self.headers, self.content)


def repeat_key(run: Run, key: bytes) -> str:
    """What an API can tell a repeated call by: the same after a crash, a UUID to look at.

    Without an exchange nothing is resumed, and each run is one of its own.
    """
    scope = run.exchange or f"{_PROCESS} {id(run)}"
    digest = blake2b(key, key=blake2b(scope.encode(), digest_size=32).digest(), digest_size=16)
    return str(UUID(bytes=digest.digest(), version=5))


def shown(step: Compiled, url: httpx.URL, headers: httpx.Headers, content: bytes | None) -> Shown:
    """The request as it would leave; a token's place is held by its description."""
    found = [("Host", url.netloc.decode("ascii"))]
    found += [(name.decode("ascii"), value.decode()) for name, value in headers.raw]
    if step.auth is not None and step.auth.kind == "oauth2":
        found.append(("Authorization", f"Bearer <token of {step.auth.token_url}>"))
    if step.repeat_header is not None:
        found.append((step.repeat_header, REPEATED))
    if content is not None:
        found.append(("Content-Length", str(len(content))))
    return Shown(step.method, str(url), found, content)
