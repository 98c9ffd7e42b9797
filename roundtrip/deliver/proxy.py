"""Connections to a receiver that are made by an HTTP proxy (RFC 9110 sections 7.3.2 and 9.3.6).

https: CONNECT host:port --> a tunnel; TLS is with the receiver, and the proxy sees its name only
http:  POST http://host/path --> the proxy asks the receiver itself

The receiver's name is resolved by the proxy. http.client's own `set_tunnel` is not used: in Python
3.11 it asks for an IPv6 address without brackets, for a name beyond ASCII not at all, and its
errors don't say whether the proxy or the receiver refused.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

AUTHENTICATION_REQUIRED = 407
_ANSWER = 16 * 1024  # bytes of a proxy's answer to CONNECT, headers included


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `credentials` is what `Proxy-Authorization` says (RFC 7617), if it says anything."""

    host: str
    port: int
    credentials: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Proxy:
        """The proxy of an http:// URL, whose name and password may be percent-encoded."""
        parts = urlsplit(url)
        credentials = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            credentials = f"Basic {base64.b64encode(pair).decode()}"
        return cls(parts.hostname or "", parts.port or 80, credentials)

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy itself has to be told."""
        return {} if self.credentials is None else {"Proxy-Authorization": self.credentials}

    def connected(self, timeout: float) -> socket.socket:
        """A connection to the proxy; OSError, which names it, if there is none."""
        try:
            return socket.create_connection((self.host, self.port), timeout)
        except (OSError, UnicodeError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise OSError(f"no connection to the proxy {self.host}: {words}") from None

    def refusal(self, status: object) -> str:
        """What to say of an answer that is the proxy's own."""
        return f"the proxy {self.host} answered {status}"


class PlainByProxy(http.client.HTTPConnection):
    """To a host over http; requests need the whole URL as their target."""

    def __init__(self, proxy: Proxy, host: str, port: int | None, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._proxy = proxy
        self._patience = timeout

    def connect(self) -> None:
        """Connect to the proxy; raises OSError."""
        self.sock = self._proxy.connected(self._patience)


class TunnelByProxy(http.client.HTTPSConnection):
    """To a host over https, through a tunnel."""

    def __init__(
        self, proxy: Proxy, host: str, port: int | None, timeout: float, context: ssl.SSLContext
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._proxy = proxy
        self._patience = timeout
        self._tls = context

    def connect(self) -> None:
        """Connect to the proxy, then through it; raises OSError."""
        self.sock = self._proxy.connected(self._patience)
        _open_tunnel(self.sock, self.host, self.port, self._proxy)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def _open_tunnel(opened: socket.socket, host: str, port: int, proxy: Proxy) -> None:
    name = f"[{host}]" if ":" in host else host.encode("idna").decode()
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
    lines += [f"{key}: {value}" for key, value in proxy.headers.items()]
    opened.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _ANSWER:
        piece = opened.recv(1)  # Not one byte of what follows: that is TLS.
        if not piece:
            break
        answer += piece
    words = answer.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    is_status = len(words) > 1 and words[1].isascii() and words[1].isdecimal()
    if not is_status or not 200 <= int(words[1][:3]) < 300:
        raise OSError(proxy.refusal(words[1][:3] if is_status else "nothing of use"))
