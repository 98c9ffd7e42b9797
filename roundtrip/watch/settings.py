"""How folders are watched: plain, frozen values that config/ builds and watch/ obeys."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Which backend reports changes, and the seconds between two looks where one has to poll."""

    backend: str = "auto"  # auto | inotify | fanotify | poll
    interval: float = 1.0
