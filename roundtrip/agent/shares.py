"""The two shares as an agent holds them: opened, verified, and found again when they are back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from roundtrip.errors import ShareError
from roundtrip.protocol.names import INTERNAL_FOLDER, Namer
from roundtrip.protocol.states import Role
from roundtrip.shares import heartbeat
from roundtrip.shares.identity import verify
from roundtrip.shares.lock import AgentLock
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder


class SharePair:
    """Both shares of one agent; `local` it reads, on its own disk; `remote` it writes."""

    def __init__(self, role: Role, unenriched: Path, enriched: Path, *, durable: bool) -> None:
        self.unenriched = PosixFolder(unenriched, durable=durable)
        self.enriched = PosixFolder(enriched, durable=durable)
        asks = role is Role.REQUESTER
        self.local = self.enriched if asks else self.unenriched
        self.remote = self.unenriched if asks else self.enriched
        self._role = role

    def lock(self) -> AgentLock:
        """The lock that keeps a second agent of this role away from these shares.

        It lies in the local share, so that the kernel that grants it is the one that runs us.
        """
        return AgentLock(self.local.path / INTERNAL_FOLDER / f"agent-{self._role.value}.lock")

    async def verify(self, pins: Folder) -> None:
        """Check that both are the shares they should be.

        Raises:
            ShareError: one isn't.
        """
        await _verify(self.unenriched, self.enriched, pins)

    async def reopen(self, pins: Folder) -> None:
        """Follow the paths again; what is found there is used only once it has been verified.

        Raises:
            ShareError: a share isn't back.
        """
        with (
            closing(PosixFolder(self.unenriched.path)) as unenriched,
            closing(PosixFolder(self.enriched.path)) as enriched,
        ):
            try:
                await _verify(unenriched, enriched, pins)
            except OSError as error:
                raise ShareError(f"{error.filename or 'a share'}: {error.strerror}") from error
            self.unenriched.take_over(unenriched)
            self.enriched.take_over(enriched)

    def are_current(self) -> bool:
        """Whether both paths still lead to the folders that were verified."""
        return self.unenriched.is_current() and self.enriched.is_current()

    async def beat(self, namer: Namer, fields: dict[str, object]) -> None:
        """Renew this agent's life sign, in the share that the other side reads.

        Raises:
            ShareError: the share can't be written.
        """
        with closing(self.remote.sub(INTERNAL_FOLDER)) as internal:
            try:
                await heartbeat.beat(internal, self._role, namer, fields)
            except OSError as error:
                raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ShareError:
        return ShareError(
            f"{self.remote.label}: can't be written: {error.strerror}; is it mounted read-write, "
            "and does it belong to this agent's user or group?"
        )

    async def sweep(self) -> None:
        """Remove what a killed agent of this role left in flight in the share it writes.

        Raises:
            ShareError: the share can't be written.
        """
        try:
            await sweep_parts(self.remote)
            with closing(self.remote.sub(INTERNAL_FOLDER)) as internal:
                await sweep_parts(internal)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Give the descriptors back."""
        self.unenriched.close()
        self.enriched.close()


async def _verify(unenriched: Folder, enriched: Folder, pins: Folder) -> None:
    await verify(unenriched, "unenriched", Role.RESPONDER, pins)
    await verify(enriched, "enriched", Role.REQUESTER, pins)
