"""The two shares as an agent holds them: opened, verified, and found again when they are back."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from roundtrip.errors import ShareAway, ShareError
from roundtrip.protocol.names import INTERNAL_FOLDER, Namer
from roundtrip.protocol.states import Role, other
from roundtrip.shares import heartbeat
from roundtrip.shares.identity import Identity, ShareName, identity_of, pinned_id, verify
from roundtrip.shares.lock import AgentLock
from roundtrip.shares.parts import sweep_parts
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder
from roundtrip.shares.remote import RemoteShare


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """How the mounted share is used: `access` is auto, direct or helper, `timeout` in seconds."""

    access: str = "auto"
    timeout: float = 10.0


class SharePair:
    """Both shares of one agent; `local` it reads, on its own disk; `remote` it writes."""

    def __init__(
        self,
        role: Role,
        unenriched: Path,
        enriched: Path,
        pins: Folder,
        *,
        durable: bool,
        remote: RemoteSettings,
    ) -> None:
        asks = role is Role.REQUESTER
        local, away = (enriched, unenriched) if asks else (unenriched, enriched)
        self.local = PosixFolder(local, durable=durable)
        self.remote = RemoteShare(
            away, access=remote.access, durable=durable, timeout=remote.timeout
        )
        self.local_name: ShareName = "enriched" if asks else "unenriched"
        self.remote_name: ShareName = "unenriched" if asks else "enriched"
        self._role = role
        self._pins = pins

    def lock(self) -> AgentLock:
        """The lock that keeps a second agent of this role away from these shares.

        It lies in the local share, so that the kernel that grants it is the one that runs us.
        """
        return AgentLock(self.local.path / INTERNAL_FOLDER / f"agent-{self._role.value}.lock")

    async def open(self) -> None:
        """Follow the paths; what is found there is used only once it has been verified.

        Raises:
            ShareError: a share isn't there, or isn't the one it should be.
        """
        await self.open_local()
        await self.open_remote()

    async def open_local(self) -> None:
        """Follow the local share's path.

        Raises:
            ShareError: it isn't there, or isn't the one it should be.
        """
        with closing(PosixFolder(self.local.path)) as fresh:
            try:
                found = await identity_of(fresh)
            except OSError as error:
                raise _trouble(self.local.label, error) from error
            await verify(found, self.local.label, self.local_name, self._role, self._pins)
            self.local.take_over(fresh)

    async def open_remote(self) -> None:
        """Follow the remote share's path.

        Raises:
            ShareAway: it isn't there, or doesn't answer.
            ShareError: it isn't the one it should be.
        """
        try:
            await self.remote.reopen(self._verify_remote)
        except OSError as error:
            raise _trouble(self.remote.label, error) from error

    async def _verify_remote(self, found: Identity | None) -> None:
        home = other(self._role)
        await verify(found, self.remote.label, self.remote_name, home, self._pins)

    async def was_here(self) -> bool:
        """Whether the remote share was ever found and pinned."""
        return await pinned_id(self._pins, self.remote_name) is not None

    async def are_current(self) -> bool:
        """Whether both paths still lead to the folders that were verified."""
        return self.local.is_current() and await self.remote.is_current()

    async def beat(self, namer: Namer, fields: dict[str, object]) -> None:
        """Renew this agent's life sign, in the share that the other side reads.

        Raises:
            ShareError: the share can't be written.
        """
        try:
            await heartbeat.beat(self.remote.internal, self._role, namer, fields)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ShareError:
        return ShareError(
            f"{self.remote.label}: can't be written: {_words(error)}; is it mounted read-write, "
            "and does it belong to this agent's user or group?"
        )

    async def sweep(self) -> None:
        """Remove what a killed agent of this role left in flight in the share it writes.

        Raises:
            ShareError: the share can't be written.
        """
        try:
            await sweep_parts(self.remote)
            await sweep_parts(self.remote.internal)
        except OSError as error:
            raise self._unwritable(error) from error

    async def close(self) -> None:
        """Give the descriptors back."""
        self.local.close()
        await self.remote.close()


def _trouble(share: str, error: OSError) -> ShareAway:
    return ShareAway(f"{share}: {_words(error)}")


def _words(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno or 0)
