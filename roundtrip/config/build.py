"""From a valid file to Settings: paths made absolute, secrets filled in, keys checked together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from roundtrip.config import build_deliver, build_queue
from roundtrip.config.build_steps import host, pipeline
from roundtrip.config.document import Problem
from roundtrip.config.filling import Filling
from roundtrip.config.models import ArchiveModel, FailedModel, FileModel, QuarantineModel
from roundtrip.config.names import check_look_token
from roundtrip.config.settings import (
    KeptFolder,
    LimitsSettings,
    OutboxSettings,
    Settings,
    SharesSettings,
    TimingSettings,
)


class Builder(Filling):
    """Builds the Settings of one file for one role; what it finds wrong gathers in `problems`."""

    def __init__(self, model: FileModel, file: Path, role: str, *, named: bool = False) -> None:
        """With `named`, secrets are not looked up: stand-ins for their names are filled in."""
        super().__init__(file.parent, model.root, role)
        self.model = model
        self.file_name = file
        if not named:
            self.look_up(model.secrets)

    def settings(self) -> Settings:
        """Return the settings; they are of use only if `problems` is still empty."""
        model = self.model
        archive = model.archive
        settings = Settings(
            role=self.role,
            root=self.root,
            file=self.file_name,
            shares=self.shares(),
            outbox=self.outbox(),
            inbox=self.path(("inbox",), model.inbox),
            failed=self.kept_folder("failed", model.failed),
            archive=self.kept_folder("archive", archive) if archive else None,
            state=self.path(("state",), model.state),
            quarantine=self.kept_folder("quarantine", model.quarantine),
            canary=model.canary,
            watch_backend=model.watch.backend,
            watch_interval=model.watch.interval,
            limits=self.limits(),
            timing=TimingSettings(**model.timing.model_dump()),
            durability=model.durability,
            log_level=model.log.level,
            pipelines=tuple(pipeline(self, *item) for item in model.pipelines.items()),
            hosts={name: host(self, name, found) for name, found in model.hosts.items()},
            cache_size=model.cache.size,
            metrics_listen=model.metrics.listen,
            look=self.look(),
            mail=build_deliver.server(self, model.mail) if model.mail else None,
            deliveries=tuple(build_deliver.deliveries(self, model.deliver, model.mail)),
            queue=build_queue.queue(self, model.dispatch, model.queue),
        )
        self.problems += collisions(settings)
        return settings

    def shares(self) -> SharesSettings:
        """Return where the two shares are."""
        shares = self.model.shares
        return SharesSettings(
            unenriched=self.path(("shares", "unenriched"), shares.unenriched.path),
            enriched=self.path(("shares", "enriched"), shares.enriched.path),
            empty_marker=shares.unenriched.empty_marker,
            unenriched_access=shares.unenriched.access,
            enriched_access=shares.enriched.access,
        )

    def look(self) -> tuple[str, str] | None:
        """Return where the agent can be asked to look, and by whom."""
        look = self.model.look
        if look is None:
            return None
        token = self.both_checked(("look", "token"), look.token, check_look_token)
        return look.listen, token

    def kept_folder(
        self, key: str, model: ArchiveModel | FailedModel | QuarantineModel
    ) -> KeptFolder:
        """Return where a folder of old files is and how long they stay."""
        return KeptFolder(self.path((key,), model.path), model.keep, model.size)

    def limits(self) -> LimitsSettings:
        """Return what the agent takes on."""
        limits = self.model.limits
        return LimitsSettings(
            **limits.model_dump(exclude={"in_flight"}),
            in_flight_exchanges=limits.in_flight.exchanges,
            in_flight_bytes=limits.in_flight.bytes,
        )

    def outbox(self) -> OutboxSettings:
        """Return where the outbox is and how it is read."""
        outbox = self.model.outbox
        return OutboxSettings(
            path=self.path(("outbox",), outbox.path),
            complete=outbox.complete,
            settle=outbox.settle,
            ignore=tuple(outbox.ignore),
        )


def folders(settings: Settings) -> dict[str, Path]:
    """Return the folders that the role works in, by their key."""
    both = {
        "shares.unenriched": settings.shares.unenriched,
        "shares.enriched": settings.shares.enriched,
        "state": settings.state,
    }
    if settings.role == "b":
        return {**both, "quarantine": settings.quarantine.path}
    own = {"outbox": settings.outbox.path, "inbox": settings.inbox, "failed": settings.failed.path}
    return {**both, **own, **({"archive": settings.archive.path} if settings.archive else {})}


def collisions(settings: Settings) -> Iterator[Problem]:
    """Yield a problem for each two folders that are one, or of which one holds the other."""
    for (key, path), (other, other_path) in combinations(folders(settings).items(), 2):
        if path == other_path:
            yield Problem(tuple(other.split(".")), f"is the same folder as {key}; they must differ")
        elif path in other_path.parents:
            yield Problem(tuple(other.split(".")), f"lies inside {key}; put it outside")
        elif other_path in path.parents:
            yield Problem(tuple(key.split(".")), f"lies inside {other}; put it outside")
