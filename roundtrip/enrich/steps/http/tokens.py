"""OAuth2 client credentials (RFC 6749 section 4.4): one token for all calls."""

from __future__ import annotations

import asyncio
import re
import time
from urllib.parse import quote_plus, urlencode
from weakref import WeakValueDictionary

import httpx

from roundtrip.enrich import json_text
from roundtrip.enrich.faults import PassingFault, Postponed, StepFault, Transient
from roundtrip.enrich.outcomes import Verdict, classify, retry_after
from roundtrip.enrich.settings import Auth
from roundtrip.enrich.steps.http.auth import basic
from roundtrip.enrich.steps.http.reading import close, drain, whole
from roundtrip.template import Url

MAX_ANSWER = 1024 * 1024  # bytes
EARLY = 30.0  # seconds before its end a token is replaced, or a tenth of its life if that is less
TIMEOUT = {"timeout": {"connect": 10.0, "total": 30.0}}

_TOKEN = re.compile(r"[\x21-\x7e]+")


class Tokens:
    """The token of one credential. It is in memory only, and in no error's text."""

    def __init__(self, auth: Auth, transport: httpx.AsyncBaseTransport) -> None:
        """ValueError when the token's URL can't be used."""
        try:
            url = Url(auth.token_url, {})
            self._url = httpx.URL(url.constant or "")
        except (ValueError, httpx.InvalidURL):
            raise ValueError("auth.token_url must be an absolute URL without fields") from None
        self._where = f"the token endpoint {url.host}"
        self._auth = auth
        self._transport = transport
        self._token: str | None = None
        self._until = 0.0
        self._fetching: asyncio.Task[str] | None = None
        self._in_body = False

    async def token(self) -> str:
        """The token; fetched once, however many calls wait for it.

        Raises StepFault, or Transient or Postponed when another attempt may succeed.
        """
        if self._token is not None and time.monotonic() < self._until:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetched())
            self._fetching.add_done_callback(self._over)
        # shielded: a call that is withdrawn must not end what others wait for
        return await asyncio.shield(self._fetching)

    def refused(self, token: str) -> None:
        """The API didn't take this token: the next one is fetched."""
        if token == self._token:
            self._token = None

    def _over(self, task: asyncio.Task[str]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # looked at: nobody may be waiting any more

    async def _fetched(self) -> str:
        status, body = await self._asked()
        if status in (400, 401) and not self._in_body:
            # section 2.3.1: some servers take the credentials only in the body
            self._in_body = True
            status, body = await self._asked()
        if not 200 <= status < 300:
            self._in_body = False
            raise StepFault("No token", f"{self._where} answered {status}", status)
        return self._taken(body)

    async def _asked(self) -> tuple[int, bytes]:
        request = self._request()
        try:
            response = await self._transport.handle_async_request(request)
            try:
                await self._judge(response)
                body, _ = await whole(response, MAX_ANSWER)
                return response.status_code, body
            finally:
                await close(response)
        except (httpx.TransportError, httpx.DecodingError, OverflowError) as error:
            raise self._broken(error) from None

    def _request(self) -> httpx.Request:
        auth = self._auth
        form = {"grant_type": "client_credentials", "scope": auth.scope, "audience": auth.audience}
        headers = {"accept": "application/json", "user-agent": "roundtrip"}
        if self._in_body:
            form |= {"client_id": str(auth.user), "client_secret": str(auth.secret)}
        else:
            headers["authorization"] = basic(quote_plus(auth.user), quote_plus(auth.secret))
        headers["content-type"] = "application/x-www-form-urlencoded"
        content = urlencode({name: text for name, text in form.items() if text}).encode()
        return httpx.Request(
            "POST", self._url, headers=headers, content=content, extensions=TIMEOUT
        )

    async def _judge(self, response: httpx.Response) -> None:
        """Raise when another attempt may succeed."""
        status = response.status_code
        asked = retry_after(response.headers.get("retry-after"))
        verdict = classify(status, idempotent=True, retry_after=asked)
        if verdict not in (Verdict.RETRY, Verdict.POSTPONE):
            return
        await drain(response)
        fault = PassingFault("No token", f"{self._where} answered {status}", status)
        raise Transient(fault) if asked is None else Postponed(fault, asked)

    def _broken(self, error: Exception) -> Exception:
        detail = f"{self._where}: {error}"
        verdict = classify(error, idempotent=True)
        if verdict is Verdict.RETRY:
            return Transient(PassingFault("No token", detail))
        return OSError(detail) if verdict is Verdict.STOP else StepFault("No token", detail)

    def _taken(self, body: bytes) -> str:
        try:
            answer = json_text.decode(body, floats=True)
        except json_text.UNREADABLE:
            answer = None
        found = answer if isinstance(answer, dict) else {}
        token, kind = found.get("access_token"), found.get("token_type", "bearer")
        if (
            not isinstance(token, str)
            or not _TOKEN.fullmatch(token)
            or str(kind).lower() != "bearer"
        ):
            raise StepFault("No token", f"{self._where} answered without a usable bearer token")
        life = found.get("expires_in")
        seconds = _seconds(life)
        self._token = token
        self._until = time.monotonic() + seconds - min(EARLY, seconds / 10)
        return token


def _seconds(life: object) -> float:
    """A token's life; without any (section 5.1), until the API refuses it."""
    try:
        return max(0.0, float(life)) if isinstance(life, int | float | str) else float("inf")
    except (ValueError, OverflowError):
        return float("inf")


# Weak: a step's tokens go with it. A transport's id is its own as long as its tokens are there.
_shared: WeakValueDictionary[tuple[int, bytes], Tokens] = WeakValueDictionary()


def shared_tokens(auth: Auth, credential: bytes, transport: httpx.AsyncBaseTransport) -> Tokens:
    """The tokens of a credential: the same for all steps that have it. ValueError as for Tokens."""
    at = (id(transport), credential)
    found = _shared.get(at)
    if found is None:
        found = _shared[at] = Tokens(auth, transport)
    return found
