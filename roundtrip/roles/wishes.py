"""Wishes: what commands ask of a running agent about a name, by files in a folder of its own.

    state/retry/<label>.json    `quarantine retry` asks B to look at that name afresh
    state/cancel/<label>.json   `cancel` asks A to give that exchange up

Each is {"v": 1, "name": ...}, renamed into place by the command, and removed by the agent once it
is done. A wish made while no agent runs is fulfilled by the next one.
"""

from __future__ import annotations

import json
import logging

from roundtrip.protocol.markers import MAX_BYTES
from roundtrip.protocol.names import is_exchange, is_internal
from roundtrip.roles.quarantine import SUFFIX, label_of
from roundtrip.roles.side import is_strange
from roundtrip.shares.port import Folder, NotAFile

log = logging.getLogger("roundtrip.roles")


async def wish(folder: Folder, name: str) -> str:
    """Put a wish about `name` into the folder; returns the file that goes when it was done."""
    file = label_of(name) + SUFFIX
    await folder.replace(file, json.dumps({"v": 1, "name": name}).encode())
    return file


class Wishes:
    """The folder of wishes, as the agent reads it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: dict[str, str] = {}

    async def names(self) -> list[str]:
        """The names that somebody has a wish about; what can't be read is removed."""
        for file in await self._folder.names():
            if is_internal(file):
                continue  # Being written just now.
            name = await self._read(file)
            if name is None:
                await self._reject(file)
            else:
                self._files[name] = file
        return list(self._files)

    async def _reject(self, file: str) -> None:
        fields = {"file": f"{self._folder.label}/{file}"}
        try:
            await self._folder.remove(file)
        except OSError as error:  # A folder, say: the share's listings must go on.
            fields["error"] = str(error)
        log.warning("not a wish", extra=fields)

    async def _read(self, file: str) -> str | None:
        try:
            name = json.loads(await self._folder.read(file, MAX_BYTES))["name"]
        except (FileNotFoundError, NotAFile, ValueError, KeyError, TypeError, RecursionError):
            return None
        usable = isinstance(name, str) and (is_exchange(name) or is_strange(name))
        return name if usable and not {"/", "\0"} & set(name) else None

    def wants(self, name: str) -> bool:
        """Whether somebody has a wish about `name`."""
        return name in self._files

    async def done(self, name: str) -> None:
        """It was fulfilled."""
        await self._folder.remove(self._files.pop(name))
