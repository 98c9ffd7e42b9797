"""Where calls may go: only to hosts that the configuration names, and to addresses that are public.

Decisions only: the transport asks `Guard.check` about every request, and its resolver asks
`Guard.forbidden` about every address that a name has, right before one of them is connected to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import httpx
from yarl import URL

from roundtrip.enrich.settings import HostSettings, HttpSettings, Pipeline
from roundtrip.template import Url

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out for the Internet
# Listed here, since what ipaddress calls private differs between versions of Python.
_PRIVATE = tuple(  # RFC 1918 and RFC 4193
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)
# Not global, whatever this Python's ipaddress says: older ones lack newer registry entries.
_SPECIAL = (
    ipaddress.ip_network("192.0.0.0/24"),  # RFC 6890; Oracle's metadata service is 192.0.0.192
    ipaddress.ip_network("168.63.129.16/32"),  # public by number, but it is each Azure host itself
    ipaddress.ip_network("2001::/23"),  # RFC 2928, with Teredo, which may embed any address
    ipaddress.ip_network("2001:db8::/32"),
    ipaddress.ip_network("3fff::/20"),  # RFC 9637
)


class Refused(httpx.TransportError):
    """A call that this host doesn't make. Its text names hosts and keys, no path or secret."""


class Place(NamedTuple):
    """A host (lower case, no final dot, an address in its shortest form) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in _PORTS.values() else f"{host}:{self.port}"


def place(url: URL) -> Place:
    """Where a request to this very URL would go. ValueError when that can't be said."""
    if url.scheme not in _PORTS or not url.raw_host or url.port is None:
        raise ValueError("not an http:// or https:// URL with a host")
    return Place(plain(url.raw_host), url.port)


def sent(url: httpx.URL | str) -> URL:
    """The URL as the transport sends it. ValueError when it can't."""
    try:
        return URL(str(httpx.URL(url)), encoded=True)
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from None


def plain(host: str) -> str:
    """One spelling for each host. An odd spelling of an address (0x7f.1) stays a name."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.lower().rstrip(".")


def kind(address: str) -> str | None:
    """What sort of address it is, if it isn't on the public Internet (RFC 6890); else None.

    An IPv4 address within an IPv6 one (mapped, NAT64, 6to4) counts as what it is.
    """
    try:
        found = _inner(ipaddress.ip_address(address))
    except ValueError:
        return "an unknown"
    for sort, name in (
        (found.is_unspecified, "an unspecified"),
        (found.is_loopback, "a loopback"),
        (found.is_link_local, "a link-local"),
        (found.is_multicast, "a multicast"),
        (any(found in net for net in _PRIVATE if net.version == found.version), "a private"),
    ):
        if sort:
            return name
    return None if _public(found) else "a reserved"


class Guard:
    """Which hosts and addresses may be called: those that the operator wrote down.

    A step's `url`, `job.url`, `job.result` and `auth.token_url` name a host and its port; so does
    each entry of `hosts` (without a port: 80 and 443). Who names port 80 names 443, too.
    """

    def __init__(
        self, pipelines: Iterable[Pipeline] = (), hosts: Mapping[str, HostSettings] | None = None
    ) -> None:
        self._named: set[Place] = set()
        self._literal: set[str] = set()
        self._settings: dict[tuple[str, int | None], HostSettings] = {}
        self._proxies: set[Place] = set()
        for name, settings in (hosts or {}).items():
            self._add_host(name, settings)
        for pipeline in pipelines:
            self.admit(pipeline)

    def admit(self, pipeline: Pipeline) -> None:
        """Let the pipeline's own hosts be called. A URL that can't be used names none."""
        for step in pipeline.steps:
            if not isinstance(step.action, HttpSettings):
                continue
            for text in _urls(step.action):
                try:
                    named = place(sent(Url(text, {}).origin))
                except ValueError:
                    continue
                self._name(named)
                if _address(named.host) is not None:
                    self._literal.add(named.host)

    def settings(self, where: Place) -> HostSettings | None:
        """The host's settings; those for its port go before those for all its ports."""
        return self._settings.get(where) or self._settings.get((where.host, None))

    def check(self, where: Place) -> None:
        """Raise Refused unless the configuration names this host and port."""
        if where not in self._named:
            raise Refused(
                f"{where} is not a host that the configuration names; "
                f'to allow it, add "{where}" to hosts'
            )
        address = _address(where.host)
        if address is not None and where.host not in self._literal:
            found = self.forbidden(where, where.host)
            if found:
                raise Refused(not_public(where, found))

    def forbidden(self, where: Place, address: str) -> str | None:
        """What sort of address it is, if a name that has it may not be called there; else None."""
        settings = self.settings(where)
        if (settings is not None and settings.private) or where in self._proxies:
            return None
        return kind(address)

    def _add_host(self, name: str, settings: HostSettings) -> None:
        try:
            where, port = _host_and_port(name)
            if settings.proxy:
                self._proxies.add(place(sent(settings.proxy)))
        except ValueError:
            raise ValueError(
                f"hosts: {name}: it or its proxy is no address that can be called"
            ) from None
        self._settings[where, port] = settings
        for each in _PORTS.values() if port is None else (port,):
            self._name(Place(where, each))

    def _name(self, where: Place) -> None:
        self._named.add(where)
        if where.port == _PORTS["http"]:
            self._named.add(Place(where.host, _PORTS["https"]))


def not_public(where: Place, found: str) -> str:
    """Why a name isn't called, and what would allow it."""
    return (
        f"{where.host} is at {found} address, which needs leave; "
        f'to give it, set private: true for "{where}" in hosts'
    )


def _urls(http: HttpSettings) -> Iterator[str]:
    yield http.url
    if http.auth is not None:
        yield http.auth.token_url
    if http.job is not None:
        yield from filter(None, (http.job.url, http.job.result))


def _host_and_port(name: str) -> tuple[str, int | None]:
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"
    url = sent("http://" + name)
    has_port = name.rpartition(":")[2].isdigit() and not name.endswith("]")
    where = place(url)
    return where.host, where.port if has_port else None


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _inner(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    special = any(address in net for net in _SPECIAL if net.version == address.version)
    return address.is_global and not address.is_reserved and not special
