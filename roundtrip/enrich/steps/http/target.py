"""The one origin that a step calls, and URLs on it: made of texts, or named by answers."""

from __future__ import annotations

import httpx
from httpx._urlparse import ParseResult

from roundtrip.enrich.faults import RecordFault


class Origin:
    """Scheme, host and port; parsed once, since httpx takes 17 us to parse a whole URL."""

    def __init__(self, origin: str) -> None:
        """ValueError when the origin (`https://host:port`) can't be used."""
        try:
            self._url = httpx.URL(origin + "/")
        except httpx.InvalidURL:
            raise ValueError("url has no usable host or port") from None
        if not self._url.host or not 0 < (self._url.port or 80) < 65536:
            raise ValueError("url has no usable host or port")
        self._host, self._scheme, self._port = self._url.host, self._url.scheme, self._url.port
        self._parsed_host = self._url.raw_host.decode("ascii")
        self.netloc = self._url.netloc.decode("ascii")

    def url(self, target: str) -> httpx.URL:
        """The URL of `target`: a path, and perhaps a query, both percent-encoded already."""
        path, mark, query = target.partition("?")
        url = httpx.URL.__new__(httpx.URL)
        url._uri_reference = ParseResult(
            self._scheme, "", self._parsed_host, self._port, path, query if mark else None, None
        )
        return url

    def resolved(self, reference: str, base: httpx.URL, where: str) -> httpx.URL:
        """The URL that an answer names, perhaps relative to `base` (RFC 3986 section 5).

        RecordFault unless it is on this origin: the step's credentials go to no other.
        """
        try:
            found = base.join(reference).copy_with(fragment=None)
            is_here = self.has(found)  # may be the first to look at the host, and refuse it
        except (httpx.InvalidURL, ValueError):
            raise RecordFault(
                "Unusable answer", f"{where}: its answer names no usable URL"
            ) from None
        if not is_here:
            raise RecordFault(
                "Unusable answer",
                f"{where}: its answer leads to another host; that is not followed",
            )
        return found

    def has(self, url: httpx.URL) -> bool:
        """Whether a URL is on this origin, and brings no credentials of its own."""
        same = (url.scheme, url.host, url.port) == (self._scheme, self._host, self._port)
        return same and not url.userinfo
