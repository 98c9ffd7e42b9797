"""Puts an agent's deliveries together: folders below state/deliveries, runners, lanes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roundtrip.config import Settings
from roundtrip.deliver.engine import Deliveries
from roundtrip.deliver.entry import DEAD, file_of
from roundtrip.deliver.make import maker
from roundtrip.deliver.notes import Disk
from roundtrip.deliver.runner import Runner
from roundtrip.deliver.settings import DeliverySettings
from roundtrip.deliver.shelf import Shelf
from roundtrip.errors import ShareError
from roundtrip.places import Places
from roundtrip.roles.health import Health, Severity
from roundtrip.roles.outgoing import Lane
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder

Open = Callable[[Path], PosixFolder]
"""Opens a folder that is closed with the agent."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """What the agent gets: its runners, and the lanes that its requester writes to."""

    deliveries: Deliveries
    lanes: list[Lane]
    folders: list[Folder]
    """Where a killed life may have left in-flight files."""


def outbound(
    settings: Settings, places: Places, open_: Open, health: Health, disk: Disk
) -> Outbound:
    """Make and open the folders of all configured deliveries; without any, nothing.

    `disk` is told when there is no room for their entries.

    Raises:
        ShareError: one can't be made or opened.
    """
    lanes, runners = [], []
    folders: list[Folder] = []

    def opened(path: Path) -> PosixFolder:
        folders.append(found := open_(path))
        return found

    for each in settings.deliveries:
        lane, runner = _lane(each, places, opened, health, disk)
        lanes.append(lane)
        runners.append(runner)
    wishes = opened(places.deliveries) if lanes else None
    return Outbound(Deliveries(runners, wishes), lanes, folders)


def _lane(
    each: DeliverySettings, places: Places, open_: Open, health: Health, disk: Disk
) -> tuple[Lane, Runner]:
    folder = places.deliveries / each.name
    try:
        (folder / DEAD).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ShareError(f"{folder}: can't make this folder: {error.strerror}") from error
    due, dead = open_(folder), open_(folder / DEAD)
    shelf = Shelf(due, dead)

    def trouble(text: str | None) -> None:
        if text is None:
            health.clear(f"deliver.{each.name}")
        else:
            words = f"delivery {each.name} is held up: {text}"
            health.report(f"deliver.{each.name}", words, Severity.WARNING)

    runner = Runner(each, shelf, folder, maker(each), trouble=trouble, disk=disk)
    return Lane(each, due, shelf, runner.push), runner


def is_owed(places: Places, exchange: str) -> bool:
    """Whether something of this exchange is still to be delivered, or is dead and may be again."""
    file = file_of(exchange)
    try:
        folders = list(places.deliveries.iterdir())
    except FileNotFoundError:  # Nothing was ever to be delivered.
        return False
    return any((folder / file).exists() or (folder / DEAD / file).exists() for folder in folders)
