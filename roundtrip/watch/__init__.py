"""Wake-ups for folders: who changed what, as hints, from the kernel or by looking."""

from roundtrip.watch.port import Event, Kind
from roundtrip.watch.settings import WatchSettings
from roundtrip.watch.watch import Watch

__all__ = ["Event", "Kind", "Watch", "WatchSettings"]
