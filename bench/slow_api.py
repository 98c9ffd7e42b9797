"""An API that takes its time: answers each request after a pause, any number at once.

`python -m bench.slow_api PORT MILLISECONDS`. No HTTP library: it must not be what is measured.
"""

from __future__ import annotations

import asyncio
import sys

from bench.workload import ANSWER

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
WHOLE = HEAD % len(ANSWER) + ANSWER


class Slow(asyncio.Protocol):
    """One connection; requests have no body and come one after the other."""

    pause = 0.1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            asyncio.get_running_loop().call_later(self.pause, self._answer)

    def _answer(self) -> None:
        assert isinstance(self._transport, asyncio.WriteTransport)
        if not self._transport.is_closing():
            self._transport.write(WHOLE)


async def main(port: int, milliseconds: int) -> None:
    """Serve until killed."""
    Slow.pause = milliseconds / 1000
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Slow, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
