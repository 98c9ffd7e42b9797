"""What both roles are put together from: the settings, and the folders that are open for them."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from roundtrip import __version__
from roundtrip.agent.agent import Agent
from roundtrip.agent.shares import SharePair
from roundtrip.config import Settings
from roundtrip.config.settings import KeptFolder
from roundtrip.places import Places
from roundtrip.roles.retention import Bounds
from roundtrip.roles.room import Room
from roundtrip.roles.space import Disk
from roundtrip.shares.port import Folder, SharedFolder
from roundtrip.shares.posix import PosixFolder


class Opened:
    """The folders that one agent has open: another agent may follow it in the same process."""

    def __init__(self, *, durable: bool) -> None:
        self.durable = durable
        self._folders: list[PosixFolder] = []

    def folder(self, path: Path, *, durable: bool | None = None) -> PosixFolder:
        """Open a folder until `close`."""
        found = PosixFolder(path, durable=self.durable if durable is None else durable)
        self._folders.append(found)
        return found

    def own(self, path: Path) -> PosixFolder:
        """Open a folder that is synced only where that is asked for."""
        return self.folder(path, durable=False)

    def add(self, *folders: Folder | None) -> None:
        """Close these, too."""
        self._folders += [folder for folder in folders if isinstance(folder, PosixFolder)]

    def close(self) -> None:
        """Give all descriptors back."""
        for folder in self._folders:
            folder.close()


@dataclass(frozen=True, slots=True)
class Parts:
    """One agent's."""

    agent: Agent
    settings: Settings
    places: Places
    shares: SharePair
    opened: Opened

    def room(self, disk: Disk, folder: SharedFolder) -> Room:
        """The room on a disk, for those who wait for it."""
        reserve = self.settings.limits.reserve
        return Room(disk, folder, reserve, self.agent.health, self.agent.wake)

    def stamp(self) -> tuple[Folder, str]:
        """The file whose age says when this host was cleaned last."""
        return self.opened.folder(self.places.state), f"cleaned-{self.places.role.value}"


def whoami() -> tuple[tuple[str, str], ...]:
    """What markers say of this host."""
    return (("host", socket.gethostname()), ("version", __version__))


def bounds_of(kept: KeptFolder | None) -> Bounds:
    """How much is kept, and how long."""
    return Bounds() if kept is None else Bounds(kept.keep, kept.size)
