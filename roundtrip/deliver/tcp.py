"""The `tcp` delivery: a line of JSON for each file, to whoever is connected (`nc HOST PORT`).

    parcel --> line --> each client's buffer --> socket        a client that is slow is dropped
                 '--> the last lines, kept                      for `since ID`
    client --line--> the other clients                         never as a JSON object

A notification is delivered once it is said, whether anybody listens or not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections import deque
from contextlib import suppress
from itertools import dropwhile, islice

from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings, TcpSettings

log = logging.getLogger("roundtrip.deliver")

_END = b"\x04"  # end of transmission, what Ctrl-D sends where a terminal doesn't act on it
_LINE = re.compile(rb"[\n\x04]")
_PIECE = 4096  # bytes
_QUIT = b"quit"
_SINCE = b"since"
_BURST = 100  # lines of one client that are passed on in a second; the rest waits
_MOST_TOLD, _MINUTE = 20, 60.0  # drops that are logged in so many seconds
_LAST_WORDS = 1.0  # seconds that a client has to take what it is owed when the feed ends
_GOODBYE = 10.0  # seconds that it has when it goes itself; it keeps its place as long


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        host, port, *_ = writer.get_extra_info("peername") or ("?", 0)
        self.name = f"{host}:{port}"
        self._read = b""

    async def line(self, longest: int) -> bytes:
        """The next line, with what ends it: a line feed, `_END`, or the end of its side.

        One that is longer than so many bytes comes in part, one byte more than that at least.
        """
        while (found := _LINE.search(self._read)) is None and len(self._read) <= longest:
            piece = await self.reader.read(_PIECE)
            if not piece:
                rest, self._read = self._read, b""
                return rest
            self._read += piece
        end = len(self._read) if found is None else found.end()
        line, self._read = self._read[:end], self._read[end:]
        return line

    @property
    def waiting(self) -> int:
        """Bytes that it has not taken yet."""
        transport = self.writer.transport
        return transport.get_write_buffer_size()

    @property
    def is_there(self) -> bool:
        """Whether it may be written to; asyncio logs each line to one that has gone."""
        return not self.writer.is_closing()

    def say(self, line: bytes) -> None:
        """Send it a line, unless it has gone."""
        if self.is_there:
            self.writer.write(line)

    async def part(self, patience: float) -> None:
        """Close the connection; who doesn't take what it is owed in so many seconds is cut off."""
        with suppress(OSError):  # It has gone.
            self.writer.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    # Its end is one future for all that wait: a timeout must not cancel it.
                    await asyncio.shield(self.writer.wait_closed())
        self.drop()

    def drop(self) -> None:
        """Cut it off, with all that it has not taken."""
        self.writer.transport.abort()


class Feed:
    """Tells all that are connected; implements `Delivery` and `Listening`."""

    def __init__(self, settings: DeliverySettings, action: TcpSettings) -> None:
        self._name = settings.name
        self._settings = action
        self._server: asyncio.Server | None = None
        self._clients: set[Client] = set()
        self._said: deque[tuple[str, bytes]] = deque(maxlen=action.keep)
        self._told: deque[float] = deque(maxlen=_MOST_TOLD)  # when the last drops were logged

    @property
    def address(self) -> tuple[str, int]:
        """Host and port where it really listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def open(self) -> None:
        """See `Listening`."""
        if self._server is not None:
            return
        host, _, port = self._settings.listen.rpartition(":")
        try:
            self._server = await asyncio.start_server(self._serve, host.strip("[]"), int(port))
        except OSError as error:
            text = f"tcp.listen: {self._settings.listen}: {error.strerror or error}"
            raise Undelivered(True, text, away=True) from None
        log.info("feed opened", extra={"delivery": self._name, "address": self._settings.listen})

    async def deliver(self, parcel: Parcel) -> None:
        """Say it to all that are connected, and keep it for those that ask later."""
        line = json.dumps(parcel.event(), separators=(",", ":")).encode() + b"\n"
        self._said.append((parcel.id, line))
        for client in list(self._clients):
            self._tell(client, line)

    def _tell(self, client: Client, line: bytes) -> None:
        if client.waiting + len(line) > self._settings.buffer:
            self._drop(client, f"it has {client.waiting} bytes to read and doesn't")
        else:
            client.say(line)

    def _drop(self, client: Client, reason: str) -> None:
        self._clients.discard(client)
        client.drop()
        now = asyncio.get_running_loop().time()
        if len(self._told) == _MOST_TOLD and now - self._told[0] < _MINUTE:
            return  # Who connects again and again must not fill the log.
        self._told.append(now)
        extra = {"delivery": self._name, "address": client.name, "reason": reason}
        log.warning("feed client dropped", extra=extra)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(reader, writer)
        if len(self._clients) >= self._settings.clients:
            self._drop(client, f"there are {self._settings.clients} clients already")
            return
        _keep_alive(writer.get_extra_info("socket"))
        self._clients.add(client)
        try:
            await self._listen(client)
        except OSError:
            pass  # It has gone.
        finally:
            try:
                await client.part(_GOODBYE)
            finally:
                self._clients.discard(client)

    async def _listen(self, client: Client) -> None:
        """Take lines until it says that it goes, or goes, or says too much at once.

        The end of its side is how most clients go: nobody can tell it from one that only reads on.
        """
        loop = asyncio.get_running_loop()
        count, until = 0, 0.0
        while client.is_there:
            line = await client.line(self._settings.line)
            if len(line) > self._settings.line:
                self._drop(client, f"it sent a line of more than {self._settings.line} bytes")
                return
            if not (line and self._heed(client, line) and line.endswith(b"\n")):
                return
            if loop.time() > until:
                count, until = 0, loop.time() + 1.0
            count += 1
            if count >= _BURST:
                await asyncio.sleep(max(until - loop.time(), 0.0))

    def _heed(self, client: Client, line: bytes) -> bool:
        """Do what a line says; False if it says that the client goes."""
        before, end, _ = line.partition(_END)
        text = before.strip()
        if text == _QUIT:
            return False
        word, _, wanted = text.partition(b" ")
        if word == _SINCE:
            self._repeat(client, wanted.strip().decode(errors="replace"))
        elif text and self._settings.relay:
            self._pass_on(client, _never_an_event(before.rstrip(b"\r\n")) + b"\n")
        return not end

    def _repeat(self, client: Client, identity: str) -> None:
        """Say again what came after this one; all that is kept, if it isn't there any more."""
        is_there = any(said == identity for said, _ in self._said)
        later = dropwhile(lambda item: item[0] != identity, self._said) if is_there else self._said
        for _, line in islice(later, 1 if is_there else 0, None):
            if client in self._clients:
                self._tell(client, line)

    def _pass_on(self, sender: Client, line: bytes) -> None:
        """To the others, but to none that is behind: talk must not cost a client its events."""
        for client in self._clients:
            if client is not sender and client.waiting < self._settings.buffer // 2:
                client.say(line)

    async def aclose(self) -> None:
        """Close the port and, after their last lines, the connections."""
        if self._server is None:
            return
        self._server.close()
        await asyncio.gather(*(client.part(_LAST_WORDS) for client in list(self._clients)))


def _never_an_event(line: bytes) -> bytes:
    """What a client has sent, so that nobody can take it, or a part of it, for the agent's word.

    With a brace in it, it becomes a JSON string: what counts as the end of a line, or of a value,
    differs from reader to reader, so that it is not enough to look at how it begins.
    """
    return json.dumps(line.decode(errors="replace")).encode() if b"{" in line else line


def _keep_alive(connection: socket.socket) -> None:
    """One that has gone without a word must not keep its place for ever (tcp(7))."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
