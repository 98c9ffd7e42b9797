"""Two hosts as folders, each other's share mounted through a shaky file system."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from tests.e2e.world import Host, World
from tests.mounts.shaky import ShakyMount


class MountedWorld(World):
    """A world whose agents see the other one's share as a mount, which the test can break.

    `requests` is host B's Unenriched as A mounts it, `responses` host A's Enriched as B mounts it.
    What `unenriched` and `enriched` lead to are the real folders, on the other side of the mounts.
    """

    def __init__(
        self,
        folder: Path,
        api: str,
        *,
        a: dict[str, Any] | None = None,
        b: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(folder, api, a=a, b=b)
        # Outside of the world's folder: whoever looks for leftovers must not look through a mount.
        mounts = folder.with_name(f"{folder.name}.mounts")
        self.requests = ShakyMount(self.unenriched, mounts / "a", mounts / "server-a")
        self.responses = ShakyMount(self.enriched, mounts / "b", mounts / "server-b")
        shares_a = {"unenriched": str(self.requests.point), "enriched": "Enriched"}
        shares_b = {"unenriched": "Unenriched", "enriched": str(self.responses.point)}
        self.a.configure({"shares": shares_a, **(a or {})})
        self.settings_b |= {"shares": shares_b}
        self.b.configure(self.settings_b)

    def mount_of(self, host: Host) -> ShakyMount:
        """The mount that a host's agent writes to."""
        return self.requests if host is self.a else self.responses

    def __enter__(self) -> MountedWorld:
        try:
            self.requests.mount()
            self.responses.mount()
        except BaseException:
            self._unmount()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The mounts first: a process that hangs in one can't be ended before.
        self._unmount()
        super().__exit__(kind, error, trace)

    def _unmount(self) -> None:
        for mount in (self.requests, self.responses):
            mount.close()
