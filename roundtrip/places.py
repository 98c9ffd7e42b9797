"""Where everything lies below an agent's root: what `init` makes and agents expect."""

from __future__ import annotations

from pathlib import Path

from roundtrip.config import Settings
from roundtrip.errors import ShareError
from roundtrip.protocol.states import Role
from roundtrip.roles.desk import Desk
from roundtrip.shares.group_sync import GroupSync
from roundtrip.shares.posix import PosixFolder


class Places:
    """The folders of one agent as paths."""

    def __init__(self, settings: Settings) -> None:
        self.role = Role(settings.role)
        state = settings.state
        self.state = state
        self.pins = state / f"pins-{settings.role}"
        self.lock = state / f"agent-{settings.role}.lock"
        self.unenriched = settings.shares.unenriched
        self.enriched = settings.shares.enriched
        self.outbox = settings.outbox.path
        self.inbox, self.failed = settings.inbox, settings.failed.path
        self.archive = settings.archive.path if settings.archive else None
        self.submit, self.pending = state / "submit", state / "pending"
        self.collected, self.closing = state / "collected", state / "closing"
        self.tickets, self.outcomes = state / "tickets", state / "outcomes"
        self.deliveries = state / "deliveries"  # made when there is something to deliver
        self.kept = state / "kept"
        self.ledger = state / "ledger.sqlite"
        self.workers = state / "workers"  # a folder for each worker of this host
        self.wishes = state / "cache-purge"  # what `cache purge` asks the agent for
        self.retries = state / "retry"  # what `quarantine retry` asks the agent for
        self.cancels = state / "cancel"  # what `cancel` asks the agent for
        self.health = state / f"health-{settings.role}.json"  # what the agent says of itself
        self.quarantine = settings.quarantine.path

    @property
    def home(self) -> Path:
        """The share that lives on this host's disk."""
        return self.enriched if self.role is Role.REQUESTER else self.unenriched

    @property
    def away(self) -> Path:
        """The share that lives on the other host's disk."""
        return self.unenriched if self.role is Role.REQUESTER else self.enriched

    def own(self) -> list[Path]:
        """The folders that `init` makes on this host, beside the share."""
        if self.role is Role.RESPONDER:
            return [self.state, self.pins, self.kept, self.quarantine]
        archive = [self.archive] if self.archive else []
        one_file_system = [self.outbox, self.inbox, self.failed, self.state, self.submit]
        one_file_system += [self.pending, self.collected, self.closing, *archive]
        return [*one_file_system, self.pins, self.tickets, self.outcomes]

    def make(self) -> list[Path]:
        """Make the missing folders; returns those it made.

        Role b's are its user's alone: they hold what APIs answered, whatever the umask.

        Raises:
            ShareError: one can't be made.
        """
        made = []
        for path in self.own():
            if path.is_dir():
                continue
            try:
                path.mkdir(self._mode, parents=True, exist_ok=True)
            except OSError as error:
                raise ShareError(f"{path}: can't make this folder: {error.strerror}") from error
            made.append(path)
        return made

    @property
    def _mode(self) -> int:
        return 0o700 if self.role is Role.RESPONDER else 0o777

    def check(self) -> None:
        """Raise ShareError where an own folder is missing, or a rename between two can't work."""
        missing = [str(path) for path in self.own() if not path.is_dir()]
        if missing:
            raise ShareError(
                f"{missing[0]}: no such folder; run: roundtrip init --role {self.role.value}"
            )
        if self.role is Role.REQUESTER:
            self._check_one_file_system()

    def _check_one_file_system(self) -> None:
        movable = [self.outbox, self.inbox, self.failed, self.pending, self.archive or self.pending]
        for path in movable:
            if path.stat().st_dev != self.pending.stat().st_dev:
                raise ShareError(
                    f"{path}: on another file system than {self.pending}; outbox, inbox, failed, "
                    "archive and state must be on one, so that files move between them whole"
                )

    def desk(self, *, durable: bool) -> Desk:
        """Open the requester's folders."""

        group = GroupSync()

        def folder(path: Path) -> PosixFolder:
            return PosixFolder(path, durable=durable, group=group)

        return Desk(
            submit=folder(self.submit),
            pending=folder(self.pending),
            collected=folder(self.collected),
            closing=folder(self.closing),
            tickets=folder(self.tickets),
            outcomes=folder(self.outcomes),
            inbox=folder(self.inbox),
            failed=folder(self.failed),
            archive=folder(self.archive) if self.archive else None,
        )
