"""A local URL that asks the agent to look at once; it says nothing, and serves nothing else.

POST /look, with the token --> the agent lists its folders --> 204
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

from roundtrip.errors import ConfigError

log = logging.getLogger("roundtrip.agent")

PATH = "/look"
_LONGEST = 8192  # bytes of a request's head
_PATIENCE = 5.0  # seconds that a client has to send it
_CALLERS = 16  # at once

_WORDS = {
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
}
_HEADERS = {401: "WWW-Authenticate: Bearer\r\n", 405: "Allow: POST\r\n"}


class Doorbell:
    """Calls `ring` for each request that knows the `token`, from `start` to `stop`.

    `listen` is HOST:PORT; port 0 is any that is free.
    """

    def __init__(self, listen: str, token: str, ring: Callable[[], None]) -> None:
        self._listen = listen
        self._token = token
        self._ring = ring
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[asyncio.Server] | None = None
        self._callers = 0

    def start(self) -> None:
        """Begin, inside the running event loop.

        Raises:
            ConfigError: the address can't be listened at.
        """
        host, _, port = self._listen.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, int(port)), family=family)
        except OSError as error:
            raise ConfigError(
                [f"look.listen: {self._listen}: {error.strerror}; choose another address"]
            ) from None
        server = asyncio.start_server(self._serve, sock=self._socket, limit=_LONGEST)
        self._task = asyncio.get_running_loop().create_task(server)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port where it listens."""
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return host, port

    def stop(self) -> None:
        """End; harmless without a beginning."""
        if self._task is not None:
            if self._task.done():
                self._task.result().close()
            else:
                self._task.cancel()
        if self._socket is not None:
            self._socket.close()
        self._task = self._socket = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers += 1
        try:
            if self._callers > _CALLERS:
                return
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                status = self._answered(head)
                writer.write(_answer(status))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # It has gone, or is no client of ours.
        finally:
            self._callers -= 1
            with suppress(OSError):
                writer.close()

    def _answered(self, head: bytes) -> int:
        """Do what a request asks for, if it may; its status (RFC 9110 section 15)."""
        request, *lines = head.decode("latin-1").split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return 400
        if not _knows(lines, self._token):
            return 401
        if words[1].partition("?")[0] != PATH:
            return 404
        if words[0] != "POST":
            return 405
        log.debug("asked to look")
        self._ring()
        return 204


def _knows(lines: list[str], token: str) -> bool:
    """Whether the header Authorization holds the token (RFC 6750 section 2.1)."""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "authorization":
            scheme, _, given = value.strip().partition(" ")
            if scheme.lower() == "bearer":
                return hmac.compare_digest(given.strip().encode(), token.encode())
    return False


def _answer(status: int) -> bytes:
    length = "" if status == 204 else "Content-Length: 0\r\n"
    extra = _HEADERS.get(status, "")
    head = f"HTTP/1.1 {status} {_WORDS[status]}\r\n{extra}{length}Connection: close\r\n\r\n"
    return head.encode()
