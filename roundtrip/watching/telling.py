"""What a watch tells: results on stdout, one to a line; troubles on stderr, one to a line."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

from roundtrip.errors import ShareError
from roundtrip.protocol.documents import is_unicode, printable
from roundtrip.protocol.markers import timestamp

_STDOUT, _STDERR = 1, 2
_AGAIN = 600.0  # seconds until the same trouble is told again


class Teller:
    """Writes to stdout and stderr; `form` is `lines`, `nul` or `json`.

    What can't be written to stdout raises ShareError; if the reader has gone, BrokenPipeError.
    """

    def __init__(self, form: str, top: str, shown: str) -> None:
        self.form = form
        self._top = top
        self._shown = shown  # the folder as the user wrote it

    def file(self, path: str) -> None:
        """A file is complete, and no command is run for it."""
        end = b"\0" if self.form == "nul" else b"\n"
        _write(os.fsencode(os.path.join(self._shown, path)) + end)

    def record(self, path: str, event: str, size: int | None, **fields: Any) -> None:
        """The same, or how a run ended, as one JSON object to a line."""
        if self.form != "json":
            return
        found = {
            "time": timestamp(time.time()),
            **named("path", os.path.join(self._top, path)),
            **named("name", os.path.basename(path)),
            "event": event,
            "size": size,
            **{key: value for key, value in fields.items() if value is not None},
        }
        _write(json.dumps(found).encode() + b"\n")

    def trouble(self, text: str) -> None:
        """One line for people."""
        # Nobody reads it, or the disk is full: no reason to stop the work.
        with contextlib.suppress(OSError):
            os.write(_STDERR, f"roundtrip: {printable(text)}\n".encode())

    def shown(self, path: str) -> str:
        """A file as people are told of it."""
        return os.path.join(self._shown, path)


def named(key: str, text: str) -> dict[str, str]:
    """A name in JSON; one that isn't UTF-8 is there to be read, and as base64 of its bytes."""
    if is_unicode(text):
        return {key: text}
    raw = os.fsencode(text)
    return {
        key: raw.decode(errors="replace"),
        f"{key}_base64": base64.b64encode(raw).decode(),
    }


def _write(content: bytes) -> None:
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(_STDOUT, view) :]
        except BlockingIOError:  # Whoever shares it with us has made it so.
            select.select([], [_STDOUT], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ShareError(f"standard output: {error.strerror}") from None


class Reader:
    """Calls `gone` on the running loop as soon as nobody reads stdout any more.

    A pipe whose reader has gone is told as an error by poll(2) (POLLERR), for which nothing need be
    asked; asyncio asks for more, so an epoll of our own stands between.
    """

    def __init__(self, gone: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll: select.epoll | None = select.epoll()
        try:
            self._epoll.register(_STDOUT, 0)
        except OSError:  # EPERM: a plain file, which has no reader.
            self._epoll.close()
            self._epoll = None
            return
        self._gone = gone
        self._loop.add_reader(self._epoll.fileno(), self._call)

    def has_gone(self) -> bool:
        """Whether nobody reads it now, told or not yet."""
        return self._epoll is not None and bool(self._epoll.poll(0))

    def _call(self) -> None:
        self.close()
        self._gone()

    def close(self) -> None:
        """Look no more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None


class _Troubles(logging.Handler):
    """What the watch warns of, as a line for people; that the folder is away, events tell."""

    def __init__(self, teller: Teller) -> None:
        super().__init__(logging.WARNING)
        self._teller = teller
        self._told: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        event, fields = record.getMessage(), vars(record)
        told = [event, fields.get("folder"), fields.get("reason")]
        line = ": ".join(str(each) for each in told if each)
        if event == "watch lost" or time.monotonic() - self._told.get(line, -_AGAIN) < _AGAIN:
            return  # A folder that may not be read would be told of with each listing.
        self._told[line] = time.monotonic()
        self._teller.trouble(line)


@contextlib.contextmanager
def told_troubles(teller: Teller) -> Iterator[None]:
    """Tell of what the watch's log warns of, meanwhile."""
    log, handler = logging.getLogger("roundtrip.watch"), _Troubles(teller)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
