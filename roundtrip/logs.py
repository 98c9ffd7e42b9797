"""The agents' log: one JSON object a line on stderr, naming the exchange wherever there is one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import warnings
from contextlib import nullcontext
from typing import Any, TextIO

from roundtrip.protocol.markers import timestamp

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


_encode = json.JSONEncoder(default=str).encode


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, event, then its own fields.

    Everything outside ASCII is escaped, so that no name can forge a line or talk to a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        for key, value in vars(record).items():
            if key not in _STANDARD and value is not None:
                fields[key] = value
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return _encode(fields)


class LoopHandler(logging.Handler):
    """Writes the records of one turn of the event loop together, after what they are about.

    So a line is off the way of the exchange that it reports, and a busy turn costs one write. What
    is a warning or worse, or comes from outside the loop, is written at once.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record now or at the end of this turn."""
        self._waiting.append(record)
        if record.levelno >= logging.WARNING:
            self.flush()
        elif len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:
                self.flush()

    def flush(self) -> None:
        """Write what is waiting; called at exit, too (logging.shutdown)."""
        with self.lock or nullcontext():
            records, self._waiting = self._waiting, []
            if records:
                self._write("".join(self.format(record) + "\n" for record in records))

    def _write(self, lines: str) -> None:
        try:
            self._stream.write(lines)
            self._stream.flush()
        except BrokenPipeError:
            # Whoever read the log has gone. The work is worth more: go on without a log.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        except OSError:
            pass  # A full disk, say. What could not be written is tried again with the next lines.


def _tell_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """What a library warns of (warnings.showwarning) is a line of the log like any other."""
    fields = {"error": f"{category.__name__}: {message}", "file": f"{filename}:{lineno}"}
    logging.getLogger("roundtrip").warning("python warning", extra=fields)


def configure(level: str) -> None:
    """Send the log of `level` (debug, info, warning, error) and above to stderr."""
    warnings.showwarning = _tell_warning
    handler = LoopHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("roundtrip").setLevel(level.upper())
    # Nobody reads these fields, and finding them out is half of a record's cost (see "Optimization"
    # in the documentation of logging).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
