"""The configuration file's keys: their types, defaults and the checks of single values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from roundtrip.config.deliver_models import DeliverModel, LookModel, MailServerModel
from roundtrip.config.host_models import HostModel
from roundtrip.config.queue_models import QueueModel
from roundtrip.config.step_models import PipelineModel
from roundtrip.config.values import (
    Bytes,
    Count,
    Duration,
    Glob,
    Host,
    Listen,
    Model,
    Name,
    PathText,
    Pause,
    SecretName,
    Short,
    Size,
)

OrOff = BeforeValidator(lambda value: None if value is False or value == "off" else value)
Folder = Short("path", words="a path or a mapping")
FolderOrOff = Short("path", words="a path, a mapping or off", off=True)


class ShareModel(Model):
    """What both shares have."""

    access: Literal["auto", "direct", "helper"] = Field(
        default="auto",
        description="How the side that mounts it uses it.",
    )


class UnenrichedModel(ShareModel):
    """The share of requests."""

    path: PathText = Field(
        default="Unenriched", description="Folder of requests; its home is host B."
    )
    empty_marker: Literal["accept", "refuse"] = Field(
        default="accept", description="Whether an empty marker, one without a digest, is a request."
    )


class EnrichedModel(ShareModel):
    """The share of responses."""

    path: PathText = Field(
        default="Enriched", description="Folder of responses; its home is host A."
    )


class SharesModel(Model):
    """The two folders that both hosts see."""

    unenriched: Annotated[UnenrichedModel, Folder] = Field(default_factory=UnenrichedModel)
    enriched: Annotated[EnrichedModel, Folder] = Field(default_factory=EnrichedModel)


class OutboxModel(Model):
    """Where applications drop files."""

    path: PathText = Field(
        default="outbox", description="Folder that applications on host A write into."
    )
    complete: Literal["close_write", "moved_to", "done"] = Field(
        default="close_write", description="What says that a file in the outbox is complete."
    )
    settle: Duration = Field(default=0.0, description="How long a file must have been left alone.")
    ignore: list[Glob] = Field(
        default=[], description="Names to leave alone, besides the built-in ones."
    )


class KeptModel(Model):
    """How much of the past a folder holds."""

    keep: Pause | None = Field(
        default=None, description="How long its files are kept; without it, for ever."
    )
    size: Bytes | None = Field(
        default=None, description="The most bytes they take; the oldest go first. Else no limit."
    )


class ArchiveModel(KeptModel):
    """Where answered originals go."""

    path: PathText = Field(default="archive", description="Folder of originals that were answered.")


class FailedModel(KeptModel):
    """Where originals go that could not be enriched, each with its problem document."""

    path: PathText = Field(default="failed", description="Folder of originals that failed.")


class QuarantineModel(KeptModel):
    """Where B's reports go."""

    path: PathText = Field(
        default="quarantine", description="Folder of reports on what B can't answer."
    )


class WatchModel(Model):
    """How the agent learns that a folder has changed."""

    backend: Literal["auto", "inotify", "fanotify", "poll"] = Field(
        default="auto", description="What wakes the agent."
    )
    interval: Pause = Field(default=1.0, description="How often poll looks.")


class InFlightModel(Model):
    """How much A has on its way at once: published, and not yet answered."""

    exchanges: Count = Field(default=10_000, description="Exchanges.")
    bytes: Bytes = Field(default=10 * 1024**3, description="Bytes of their payloads.")


class LimitsModel(Model):
    """What an agent takes on, and how often it tries again."""

    exchanges: Count = Field(default=64, description="Exchanges handled at once.")
    attempts: Count = Field(default=5, description="Times A publishes one exchange.")
    answers: Count = Field(default=10, description="Times B answers the same request.")
    payload: Size | None = Field(
        default=None, description="Largest request payload that B accepts."
    )
    in_flight: InFlightModel = Field(default_factory=InFlightModel)
    pending: Bytes | None = Field(
        default=None,
        description="Bytes of originals that A takes in before they are answered; without it, no"
        " limit.",
    )
    reserve: Size = Field(
        default=100 * 1024**2,
        description="Bytes left free on each disk: below that, nothing new is begun.",
    )


class TimingModel(Model):
    """Pauses."""

    heartbeat: Pause = Field(default=30.0, description="How often a sign of life is renewed.")
    settle: Duration = Field(
        default=1.0, description="Wait before a marker made in place is believed."
    )
    grace: Duration = Field(default=60.0, description="Wait before a broken state is quarantined.")
    rescan: Pause = Field(default=300.0, description="How often a full listing is made.")
    share_timeout: Pause = Field(
        default=10.0, description="Wait for a mounted share before it counts as hung."
    )
    stop_timeout: Duration = Field(
        default=10.0, description="Time to finish what is in hand when the agent is told to stop."
    )
    deadline: Pause | None = Field(
        default=None, description="Wait for an answer before A gives up; without it, for ever."
    )


class LogModel(Model):
    """What the agent logs."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level."
    )


class CacheModel(Model):
    """What is kept of answers for later payloads."""

    size: Bytes = Field(default=1024**3, description="The most that cached answers take on disk.")


class MetricsModel(Model):
    """Figures for Prometheus."""

    listen: Listen | None = Field(
        default=None, description="HOST:PORT where they are served; without it, nowhere."
    )


class FileModel(Model):
    """The whole file."""

    role: Literal["a", "b"] | None = Field(
        default=None, description="This host's side; --role overrides."
    )
    root: PathText | None = Field(
        default=None, description="Where relative paths begin; without it, this file's folder."
    )
    shares: SharesModel = Field(default_factory=SharesModel)
    outbox: Annotated[OutboxModel, Folder] = Field(default_factory=OutboxModel)
    inbox: PathText = Field(default="inbox", description="Folder of results.")
    failed: Annotated[FailedModel, Folder] = Field(default_factory=FailedModel)
    archive: Annotated[ArchiveModel | None, FolderOrOff] = Field(default_factory=ArchiveModel)
    state: PathText = Field(default="state", description="The agent's own folder, on a local disk.")
    quarantine: Annotated[QuarantineModel, Folder] = Field(default_factory=QuarantineModel)
    canary: Annotated[Pause | None, OrOff] = Field(
        default=None,
        description="How often A sends a tiny exchange through the whole way; off without it.",
    )
    watch: WatchModel = Field(default_factory=WatchModel)
    limits: LimitsModel = Field(default_factory=LimitsModel)
    timing: TimingModel = Field(default_factory=TimingModel)
    durability: Literal["result", "full"] = Field(default="result", description="What is fsynced.")
    log: LogModel = Field(default_factory=LogModel)
    pipelines: dict[Name, PipelineModel] = Field(default={}, description="What B does, by name.")
    secrets: dict[SecretName, PathText] = Field(default={}, description="Name: file that holds it.")
    hosts: dict[Host, HostModel] = Field(
        default={}, description="What holds for all calls to a host, by its name."
    )
    dispatch: Literal["direct", "queue"] = Field(
        default="direct", description="Who enriches: the agent itself, or workers."
    )
    queue: QueueModel = Field(default_factory=QueueModel)
    cache: CacheModel = Field(default_factory=CacheModel)
    metrics: MetricsModel = Field(default_factory=MetricsModel)
    look: LookModel | None = None
    mail: MailServerModel | None = None
    deliver: dict[Name, DeliverModel] = Field(
        default={}, description="What A does with ends of exchanges beyond the inbox, by name."
    )
