"""What a whole agent is told to do: frozen values with absolute paths, seconds and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from roundtrip.deliver.settings import DeliverySettings, Server
from roundtrip.dispatch.settings import QueueSettings
from roundtrip.enrich.settings import HostSettings, Pipeline


@dataclass(frozen=True, slots=True)
class SharesSettings:
    """The two shared folders, and whether an empty marker counts as a request."""

    unenriched: Path
    enriched: Path
    empty_marker: str = "accept"  # accept | refuse
    unenriched_access: str = "auto"  # auto | direct | helper
    enriched_access: str = "auto"


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """A folder whose old files go: after `keep` seconds, and once they take `size` bytes."""

    path: Path
    keep: float | None = None  # None: for ever
    size: int | None = None  # None: no limit


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Where applications on A drop files, and when such a file is complete."""

    path: Path
    complete: str = "close_write"  # close_write | moved_to | done
    settle: float = 0.0  # seconds a file must have been left alone
    ignore: tuple[str, ...] = ()  # globs on top of the built-in ones


@dataclass(frozen=True, slots=True)
class LimitsSettings:
    """What an agent takes on at once, and how often it tries again."""

    exchanges: int = 64  # handled at once
    attempts: int = 5  # times A publishes one exchange
    answers: int = 10  # times B answers the same request
    payload: int | None = None  # bytes of the largest request B accepts
    in_flight_exchanges: int = 10_000  # published and not yet answered
    in_flight_bytes: int = 10 * 1024**3  # of their payloads
    pending: int | None = None  # bytes of originals that A takes in; None: no limit
    reserve: int = 100 * 1024**2  # bytes left free on each disk


@dataclass(frozen=True, slots=True)
class TimingSettings:
    """Pauses, all in seconds."""

    heartbeat: float = 30.0
    settle: float = 1.0  # before a marker made in place is believed
    grace: float = 60.0  # before a broken state is quarantined
    rescan: float = 300.0
    share_timeout: float = 10.0  # before a mounted share counts as hung
    stop_timeout: float = 10.0
    deadline: float | None = None  # for an answer; None: for ever


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one agent; no text in its repr is a secret."""

    role: str  # a | b
    root: Path
    file: Path
    shares: SharesSettings
    outbox: OutboxSettings
    inbox: Path
    failed: KeptFolder
    archive: KeptFolder | None  # None: originals are not kept
    state: Path
    quarantine: KeptFolder
    canary: float | None  # seconds between two; None: none
    watch_backend: str  # auto | inotify | fanotify | poll
    watch_interval: float
    limits: LimitsSettings
    timing: TimingSettings
    durability: str  # result | full
    log_level: str  # debug | info | warning | error
    pipelines: tuple[Pipeline, ...]
    hosts: Mapping[str, HostSettings]  # by name, lower case
    cache_size: int  # bytes on disk
    metrics_listen: str | None  # HOST:PORT; None: no metrics
    look: tuple[str, str] | None = None  # HOST:PORT, and the token; None: nobody can ask
    mail: Server | None = None  # None: nobody can be mailed to
    deliveries: tuple[DeliverySettings, ...] = ()
    queue: QueueSettings | None = None  # None: the agent enriches itself
