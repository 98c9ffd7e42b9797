"""The agents' log: one JSON object a line on stderr, with the exchange's name in each that has one."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from roundtrip.protocol.markers import timestamp

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, event, then its own fields.

    Everything outside ASCII is escaped, so that no name can forge a line or talk to a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
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
        return json.dumps(fields, default=str)


def configure(level: str) -> None:
    """Send the log of `level` (debug, info, warning, error) and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("roundtrip").setLevel(level.upper())
    # Nobody reads these; without them a record costs less (logging's own optimisation notes).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
