"""A shaky mount as a test holds it: mounted, hung, cut, crashed, mounted again, always ended."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.e2e.world import REPOSITORY, wait_until

_numbers = itertools.count()


class ShakyMount:
    """`backing`, mounted at `point` by a process of its own (tests/mounts/shaky_fs.py).

    `scratch` is a folder for its socket and log.
    """

    def __init__(self, backing: Path, point: Path, scratch: Path) -> None:
        self.backing = backing
        self.point = point
        self._scratch = scratch
        self._socket = scratch
        self._server: subprocess.Popen[bytes] | None = None
        for folder in (point, scratch):
            folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> ShakyMount:
        self.mount()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def mount(self, backing: Path | None = None) -> None:
        """Mount the backing folder, or another one in its place."""
        assert self._server is None, "mounted already"
        before = _mounts_at(self.point)
        self._socket = self._scratch / f"{next(_numbers)}.sock"
        source = str(backing or self.backing)
        with (self._scratch / "shaky.log").open("ab") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "tests.mounts.shaky_fs",
                 source, str(self.point), str(self._socket)],
                cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        server = self._server
        try:
            wait_until(
                lambda: _mounts_at(self.point) > before or server.poll() is not None, "mounted"
            )
            assert server.poll() is None, (self._scratch / "shaky.log").read_text()
            os.stat(self.point)
        except BaseException:
            self.close()
            raise

    def fault(self, op: str, **how: Any) -> None:
        """Add a fault: see `tests.mounts.shaky_fs.Fault`."""
        self._tell({"fault": {"op": op, **how}})

    def heal(self) -> None:
        """No faults from now on, and no delay any more."""
        self._tell({"clear": True})

    def state(self) -> dict[str, Any]:
        """The calls made so far, and the faults with their hits."""
        return self._tell({})

    def hits(self) -> list[int]:
        """How often each fault has hit, in the order in which they were given."""
        return [fault["hits"] for fault in self.state()["faults"]]

    def _tell(self, what: dict[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            # The address of a socket is short, a test's folder is not.
            folder = os.open(self._socket.parent, os.O_PATH)
            try:
                client.connect(f"/proc/self/fd/{folder}/{self._socket.name}")
            finally:
                os.close(folder)
            with client.makefile("rw") as stream:
                stream.write(json.dumps(what) + "\n")
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
        return answer

    def freeze(self) -> None:
        """Hang: no call on the mount returns until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on where it stopped."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._server is not None
        os.kill(self._server.pid, number)

    def crash(self) -> None:
        """SIGKILL the server: calls fail with ENOTCONN until it is unmounted."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        self._server = None

    def detach(self) -> None:
        """Unmount lazily: the mount point is an empty folder; opened files go on working."""
        subprocess.run(["umount", "-l", self.point], check=True)

    def close(self) -> None:
        """End the server and unmount, whatever state it is in."""
        if self._server is not None:
            # A stopped process dies of SIGKILL, too; who hangs in a call is released by that.
            self.crash()
        while _mounts_at(self.point):
            subprocess.run(["umount", "-l", self.point], check=True)
        for path in self._scratch.glob("*.sock"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _mounts_at(point: Path) -> int:
    """How many mounts are stacked at a path; never touches the path itself."""
    text = Path("/proc/self/mountinfo").read_text()
    return sum(line.split(" ")[4] == str(point) for line in text.splitlines())
