"""Redirects: followed on the same host only, and a few at most."""

from __future__ import annotations

import time

import httpx

from roundtrip.enrich.egress import Place, place, sent

MOST = 5
_FOLLOWED = frozenset({301, 302, 303, 307, 308})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_CONTENT = ("content-type", "content-length", "content-encoding", "transfer-encoding")


class Unfollowed(httpx.TransportError):
    """A redirect that isn't followed. Its text names hosts and methods, no path or secret."""


class Redirects(httpx.AsyncBaseTransport):
    """Follows redirects on behalf of whoever calls; the last answer counts.

    `timeout.total` of a request bounds it with all that follows. A request whose extension `as_is`
    is a status gets answers of that status as they are.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The first answer that is no redirect. Raises Unfollowed for one that isn't followed."""
        began = time.monotonic()
        response = await self._transport.handle_async_request(request)
        followed = 0
        while _leads_on(request, response):
            await response.aclose()
            if followed == MOST:
                raise Unfollowed(f"it redirects more than {MOST} times")
            request = following(request, response)
            _shorten(request, time.monotonic() - began)
            began = time.monotonic()
            response = await self._transport.handle_async_request(request)
            followed += 1
        return response

    async def aclose(self) -> None:
        """Close the transport below."""
        await self._transport.aclose()


def following(request: httpx.Request, response: httpx.Response) -> httpx.Request:
    """The request that a redirect asks for (RFC 9110 section 15.4). Raises Unfollowed."""
    target = _target(request.url, response.headers["location"])
    status, method = response.status_code, request.method
    headers = request.headers.copy()
    content: bytes | None = None
    if status == 303 and method != "HEAD":
        method = "GET"
        for name in _OF_CONTENT:
            headers.pop(name, None)
    elif status in (301, 302) and method not in _SAFE:
        raise Unfollowed(f"it redirects a {method} ({status}); put the new address into the url")
    else:
        content = _again(request)
    return httpx.Request(
        method, target, headers=headers, content=content, extensions=dict(request.extensions)
    )


def _leads_on(request: httpx.Request, response: httpx.Response) -> bool:
    return (
        response.status_code in _FOLLOWED
        and "location" in response.headers
        and response.status_code != request.extensions.get("as_is")
    )


def _target(old: httpx.URL, location: str) -> httpx.URL:
    try:
        joined = old.join(location).copy_with(fragment=None)
        before, after = place(sent(old)), place(sent(joined))
    except (httpx.InvalidURL, ValueError):
        raise Unfollowed("it redirects to something that can't be called") from None
    if old.scheme == "https" and joined.scheme == "http":
        raise Unfollowed("it redirects from https to http")
    if not _same(before, after, upgraded=old.scheme != joined.scheme):
        raise Unfollowed(
            f"it redirects to {after}, and a redirect is followed on the same host only; "
            "if that host is right, put it into the url"
        )
    # the server can't choose credentials, and those of the step's URL stay
    return joined.copy_with(userinfo=old.userinfo)


def _same(before: Place, after: Place, *, upgraded: bool) -> bool:
    return before == after or (
        upgraded and before.host == after.host and (before.port, after.port) == (80, 443)
    )


def _again(request: httpx.Request) -> bytes | None:
    try:
        return request.content or None
    except httpx.RequestNotRead:
        raise Unfollowed("it redirects, and a streamed payload is not sent twice") from None


def _shorten(request: httpx.Request, elapsed: float) -> None:
    limits = request.extensions.get("timeout", {})
    total = limits.get("total")
    if total is None:
        return
    if elapsed >= total:
        raise httpx.ReadTimeout("no complete answer in time")
    request.extensions["timeout"] = {**limits, "total": total - elapsed}
