"""The hosts that role b calls: each is connected to, and hung up on before any request.

Names are resolved and connections made in threads that nobody waits for longer than their time: a
resolver can't be told to give up.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from yarl import URL

from roundtrip.config import Settings
from roundtrip.config.named import written
from roundtrip.doctor.findings import ERROR, OK, WARNING, Finding, Verdict, finding
from roundtrip.enrich import tls
from roundtrip.enrich.egress import Guard, Place, Refused, not_public, place, sent
from roundtrip.enrich.settings import HostSettings, HttpSettings
from roundtrip.template import Url

PATIENCE = 5.0
"""Seconds for one host, all in all."""

_SOON = 14 * 86400.0  # seconds before a certificate's end that somebody should know
_STATUS_LINE = 4096  # bytes of a proxy's answer


class Target(NamedTuple):
    """A host to connect to; `secure` with TLS."""

    where: Place
    secure: bool


@dataclass
class _Visit:
    """One host under way: what is done at the moment, and what was found."""

    target: Target
    doing: str = "resolving its name"
    findings: list[Finding] = field(default_factory=list)

    def found(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; it names the host."""
        text = f"{self.target.where}: {verdict.text}"
        self.findings.append(finding(key, "apis", verdict._replace(text=text)))


class Trouble(Exception):
    """Why a host can't be reached: the check's key, and words for it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class Visits:
    """Connects to every host of the pipelines at once."""

    def __init__(self, settings: Settings) -> None:
        self._guard = Guard(settings.pipelines, settings.hosts)
        self._limit = time.monotonic() + PATIENCE
        self._visits = [_Visit(target) for target in targets(settings)]
        self._threads = [
            threading.Thread(target=self._visit, args=(visit,), daemon=True)
            for visit in self._visits
        ]
        for thread in self._threads:
            thread.start()

    def findings(self) -> list[Finding]:
        """What was found, in the pipelines' order; waits until their time is up."""
        for thread in self._threads:
            thread.join(max(0.0, self._limit - time.monotonic()))
        found = []
        for thread, visit in zip(self._threads, self._visits, strict=True):
            if thread.is_alive():
                key = "api-name" if visit.doing == "resolving its name" else "api-connection"
                text = f"{visit.target.where}: no answer within {PATIENCE:g} s ({visit.doing})"
                found.append(finding(key, "apis", Verdict(ERROR, text)))
            else:
                found += visit.findings
        return found

    def _visit(self, visit: _Visit) -> None:
        settings = self._guard.settings(visit.target.where)
        try:
            self._connect(visit, settings)
        except (Trouble, Refused) as error:
            key = error.key if isinstance(error, Trouble) else "api-certificate"
            visit.found(key, Verdict(ERROR, str(error)))
        except OSError as error:
            text = f"{visit.doing} failed: {error.strerror or error}"
            visit.found("api-connection", Verdict(ERROR, text))

    def _connect(self, visit: _Visit, settings: HostSettings | None) -> None:
        target = visit.target
        proxy = URL(settings.proxy) if settings is not None and settings.proxy else None
        with closing(self._opened(visit, proxy)) as opened:
            how = "connected"
            if proxy is not None:
                how = f"connected through the proxy {proxy.host}"
                if target.secure:
                    visit.doing = "asking the proxy for a tunnel"
                    _tunnel(opened, target.where, proxy)
            if not target.secure:
                visit.found("api-connection", Verdict(OK, how))
                return
            visit.doing = "the TLS handshake"
            self._shake(visit, opened, settings, how)

    def _opened(self, visit: _Visit, proxy: URL | None) -> socket.socket:
        where = visit.target.where
        if proxy is not None:
            where = Place(proxy.host or "", proxy.port or 80)
        addresses = _resolved(where)
        if where.host not in addresses:  # an address written in a step is allowed by that
            forbidden = [self._guard.forbidden(where, address) for address in addresses]
            pairs = zip(addresses, forbidden, strict=True)
            addresses = [address for address, sort in pairs if sort is None]
            if not addresses:
                raise Trouble("api-address", not_public(where, forbidden[0] or "an unknown"))
        visit.doing = "connecting"
        return _first(addresses, where.port, self._limit)

    def _shake(
        self, visit: _Visit, opened: socket.socket, settings: HostSettings | None, how: str
    ) -> None:
        context = tls.context(settings) if settings is not None else None
        context = context or ssl.create_default_context()
        try:
            with context.wrap_socket(opened, server_hostname=visit.target.where.host) as secured:
                certificate, version = secured.getpeercert() or {}, secured.version()
        except ssl.SSLCertVerificationError as error:
            raise Trouble("api-certificate", certificate_fault(error.verify_message)) from None
        except ssl.SSLError as error:
            reason = (error.reason or "unknown").lower().replace("_", " ")
            raise Trouble("api-connection", f"TLS failed: {reason}") from None
        visit.found("api-connection", Verdict(OK, f"{how}, {version}"))
        ends = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        visit.found("api-certificate", expiry(ends, time.time()))


def targets(settings: Settings) -> list[Target]:
    """The hosts that the pipelines call, each once; without those whose names are secrets."""
    found: dict[Target, None] = {}
    for pipeline in settings.pipelines:
        for step in pipeline.steps:
            if isinstance(step.action, HttpSettings):
                found.update(dict.fromkeys(_targets(_urls(step.action))))
    return list(found)


def _urls(http: HttpSettings) -> Iterator[str]:
    yield http.url
    if http.auth is not None:
        yield http.auth.token_url
    if http.job is not None:
        yield from filter(None, (http.job.url, http.job.result))


def _targets(urls: Iterable[str]) -> Iterator[Target]:
    for text in urls:
        try:
            origin = sent(Url(text, {}).origin)
            where = place(origin)
        except ValueError:
            continue  # relative to another one
        if written(str(origin)) == str(origin):
            yield Target(where, origin.scheme == "https")


def expiry(ends: float, now: float) -> Verdict:
    """Judge when a certificate ends; both in seconds since 1970."""
    day = time.strftime("%Y-%m-%d", time.gmtime(ends))
    if ends - now < _SOON:
        return Verdict(WARNING, f"its certificate ends soon, on {day}; its owner must renew it")
    return Verdict(OK, f"its certificate is good until {day}")


def certificate_fault(reason: str) -> str:
    """Why a certificate isn't believed, and what to do."""
    text = f"its certificate can't be trusted: {reason.rstrip('.')}"
    if "expired" in reason:
        return f"{text}; its owner must renew it"
    if "not yet valid" in reason:
        return f"{text}; is this host's clock right?"
    if "issuer" in reason or "self-signed" in reason or "self signed" in reason:
        return f"{text}; name the right authority: `ca` in hosts"
    return text


def _resolved(where: Place) -> list[str]:
    try:
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host's name"
        text = f"the name {where.host} can't be resolved: {reason}"
        raise Trouble("api-name", text) from None
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _first(addresses: list[str], port: int, limit: float) -> socket.socket:
    """A connection to the first address that takes one; OSError of the last if none does."""
    failure: OSError = TimeoutError("timed out")
    for number, address in enumerate(addresses):
        left = max(0.1, limit - time.monotonic())
        try:
            # A part of the time for each, so that an address that swallows everything hides none.
            opened = socket.create_connection((address, port), left / (len(addresses) - number))
        except OSError as error:
            failure = error
        else:
            opened.settimeout(max(0.1, limit - time.monotonic()))
            return opened
    raise failure


def _tunnel(opened: socket.socket, where: Place, proxy: URL) -> None:
    """Ask an HTTP proxy for a tunnel (RFC 9110 section 9.3.6)."""
    host = f"[{where.host}]" if ":" in where.host else where.host
    lines = [f"CONNECT {host}:{where.port} HTTP/1.1", f"Host: {host}:{where.port}"]
    if proxy.user is not None:
        pair = f"{unquote(proxy.user)}:{unquote(proxy.password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair).decode()}")
    opened.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _STATUS_LINE:
        piece = opened.recv(1)  # not one byte of what follows: that is TLS
        if not piece:
            break
        answer += piece
    words = answer.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) < 2 or not words[1].startswith("2"):
        status = words[1][:3] if len(words) > 1 and words[1][:3].isdigit() else "nothing of use"
        raise Trouble("api-connection", f"the proxy {proxy.host} answered {status}")
