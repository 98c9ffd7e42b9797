"""A small CSV file as a table: the row of a key, read again when the file has changed."""

from __future__ import annotations

import asyncio
import csv
import os
from pathlib import Path

from roundtrip.deliver.port import Undelivered

LARGEST = 64 * 1024 * 1024  # bytes; all of it is kept in memory


class Table:
    """Rows by the value in one column; of several with one value, the first."""

    def __init__(self, file: Path, column: str) -> None:
        self._file = file
        self._column = column
        self._rows: dict[str, dict[str, str]] = {}
        self._seen: tuple[int, int, int] | None = None

    async def row(self, key: str) -> dict[str, str]:
        """The row whose column equals `key`.

        Raises:
            Undelivered: passing, since somebody may write the row, or the file, later.
        """
        try:
            await self._refresh()
        except OSError as error:
            raise Undelivered(True, f"{self._file}: {error.strerror}", away=True) from None
        except (ValueError, csv.Error) as error:
            raise Undelivered(True, f"{self._file}: {error}", away=True) from None
        if key not in self._rows:
            raise Undelivered(True, f"{self._file}: no row has {key!r:.80} as its {self._column}")
        return self._rows[key]

    async def _refresh(self) -> None:
        found = os.stat(self._file)
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if seen != self._seen:
            if found.st_size > LARGEST:
                raise ValueError(f"it is larger than {LARGEST} bytes")
            self._rows = await asyncio.to_thread(self._read)
            self._seen = seen

    def _read(self) -> dict[str, dict[str, str]]:
        rows: dict[str, dict[str, str]] = {}
        with open(self._file, newline="", encoding="utf-8-sig") as source:
            reader = csv.DictReader(source, restval="")
            if self._column not in (reader.fieldnames or ()):
                raise ValueError(f"its first line names no column {self._column!r}")
            for row in reader:
                row.pop(None, None)  # cells beyond the last column
                rows.setdefault(row[self._column], row)
        return rows
