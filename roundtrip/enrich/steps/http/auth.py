"""How a call shows who is calling: headers and parameters that are made once for a step."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from urllib.parse import parse_qsl, unquote, urlsplit

from roundtrip.enrich.settings import Auth, HttpSettings
from roundtrip.template import Template

_SECRET = re.compile(
    r"auth|key|token|secret|cookie|passw|pwd|session|signature|credential|subscription|app_?id",
    re.IGNORECASE,
)


def auth_headers(auth: Auth | None, userinfo: str = "") -> dict[str, str]:
    """The headers that carry the credentials; `userinfo` is what stands before the URL's host.

    ValueError when they can't be written so.
    """
    if auth is None and userinfo:
        user, _, secret = userinfo.partition(":")
        return {"Authorization": basic(unquote(user), unquote(secret))}
    if auth is None or auth.kind == "oauth2":
        return {}
    if auth.kind == "basic":
        return {"Authorization": basic(auth.user, auth.secret)}
    if auth.kind == "bearer":
        return {"Authorization": "Bearer " + auth.secret}
    return {auth.name: str(auth.secret)} if auth.place == "header" else {}


def auth_query(auth: Auth | None) -> dict[str, str]:
    """The query parameters that carry the credentials."""
    if auth is None or auth.kind != "key" or auth.place == "header":
        return {}
    return {auth.name: str(auth.secret)}


def own_query(http: HttpSettings) -> dict[str, str]:
    """The query parameters that are the same for all records: any of them may be a secret."""
    texts = {**dict(parse_qsl(urlsplit(http.url).query)), **http.query}
    return {name: str(text) for name, text in texts.items() if not Template(text).fields}


def basic(user: str, secret: str) -> str:
    """The value of an Authorization header (RFC 7617); ValueError when the user has a colon."""
    if ":" in user:  # the server would take what follows it for the password
        raise ValueError("auth: the user's name can't hold a colon")
    return "Basic " + b64encode(f"{user}:{secret}".encode()).decode("ascii")


def digest(http: HttpSettings, userinfo: str) -> bytes:
    """Tells one credential from another, and nothing else; empty when there is none.

    Headers and parameters count when their name is one that secrets have: calls that differ in
    anything else share the credential, and so its limits.
    """
    parts = list(_parts(http, userinfo))
    if not parts:
        return b""
    return blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()


def _parts(http: HttpSettings, userinfo: str) -> Iterator[str]:
    auth = http.auth
    if auth is not None:
        yield from (auth.kind, auth.user, auth.secret, auth.name, auth.place)
        yield from (auth.token_url, auth.scope, auth.audience)
    if userinfo:
        yield userinfo
    yield from _secrets(http.headers)
    yield from _secrets(http.query)
    yield from _secrets(dict(parse_qsl(urlsplit(http.url).query)))


def _secrets(texts: Mapping[str, str]) -> Iterator[str]:
    for name, text in sorted(texts.items()):
        if _SECRET.search(name) and not Template(text).fields:
            yield from (name.lower(), text)
