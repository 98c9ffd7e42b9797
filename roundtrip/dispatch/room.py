"""The queue's folder as a path that may lead nowhere: each look goes there anew, in a thread.

It may be a mount that workers on other hosts share. An unmounted mount point is an empty folder, in
which every job would seem to be cancelled; so nothing is believed or written where `queue.json` is
missing or says another id than before.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from roundtrip.protocol.documents import read_object
from roundtrip.protocol.names import is_part, part_of
from roundtrip.shares import files, writing
from roundtrip.shares.entry import NotAFile

T = TypeVar("T")

JOBS, RESULTS, WORKERS, QUOTA = "jobs", "results", "workers", "quota"
IDENTITY = "queue.json"
_THREADS = 4
_LEFT = 86400.0  # seconds after which nobody is still writing an in-flight file
_MAX_IDENTITY = 4096  # bytes


class FolderAway(OSError):
    """The queue's folder can't be used now: not mounted, not made, or it doesn't answer."""


class Room:
    """The folder's rooms `jobs`, `results`, `workers` and `quota`, by blocking calls in threads."""

    def __init__(self, path: Path, *, patience: float = 20.0) -> None:
        """A small thing that takes longer than `patience` seconds raises FolderAway."""
        self.path = path
        self._patience = patience
        self._id: str | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="queue")

    async def do(self, work: Callable[[], T], *, patient: bool = False) -> T:
        """Do something in the folder; with `patient` it may take its time, as copies do.

        Raises:
            FolderAway: the folder can't be used.
            OSError: any other trouble with what is in it.
        """
        call = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            async with asyncio.timeout(None if patient else self._patience):
                return await call
        except TimeoutError:
            raise FolderAway(
                errno.ETIMEDOUT, f"no answer in {self._patience:g} s", str(self.path)
            ) from None

    async def identity(self) -> str:
        """Which queue's folder it is. Raises FolderAway."""
        if self._id is None:
            await self.do(self._look)
        assert self._id is not None
        return self._id

    def _look(self) -> None:
        with self.opened(JOBS):
            return

    def make(self) -> None:
        """Make what is missing, and remove what was left half written a day ago; for the agent,
        whose folder it is. Blocks."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (JOBS, RESULTS, WORKERS, QUOTA):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)
        opened = files.open_folder(self.path)
        try:
            content = b'{"v": 1, "id": "%s"}\n' % secrets.token_hex(8).encode()
            with suppress(FileExistsError):
                put_new(opened, IDENTITY, content, durable=True)
        finally:
            os.close(opened)
        for name in (JOBS, RESULTS, WORKERS, QUOTA):
            with self.opened(name) as folder:
                _sweep(folder)

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """A descriptor of one of the rooms, verified. Blocks."""
        try:
            above = files.open_folder(self.path)
        except OSError as error:
            raise self._away(error.strerror or "") from None
        try:
            self._verify(above)
            inside = files.open_folder(name, above)
        except FileNotFoundError:
            raise self._away(f"no folder {name} in it") from None
        finally:
            os.close(above)
        try:
            yield inside
        finally:
            os.close(inside)

    def _verify(self, above: int) -> None:
        try:
            found = read_object(files.read(above, IDENTITY, _MAX_IDENTITY, str(self.path)))
        except FileNotFoundError:
            raise self._away(
                f"no {IDENTITY} in it; is it mounted? The agent makes it when it starts"
            ) from None
        except (ValueError, NotAFile) as error:
            raise self._away(f"{IDENTITY} is {error}") from None
        identity = str(found.get("id"))
        if self._id is None:
            self._id = identity
        elif identity != self._id:
            raise self._away("another folder than before is there; restart to use it")

    def _away(self, reason: str) -> FolderAway:
        return FolderAway(errno.ENOENT, reason, str(self.path))

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _sweep(folder: int) -> None:
    oldest = (time.time() - _LEFT) * 1e9
    for name in files.names(folder):
        entry = files.look(folder, name) if is_part(name) else None
        if entry is not None and entry.changed < oldest:
            writing.remove(folder, name)


def put_new(folder: int, name: str, content: bytes, *, durable: bool = False) -> None:
    """Make a whole file of a name that nobody has taken, whoever else tries: link(2) decides.

    A rename that doesn't replace is no help: over NFS there is none.

    Raises:
        FileExistsError: somebody else has made it.
    """
    part = part_of(name)
    with writing.new_part(folder, part) as opened:
        writing.write_all(opened, content)
        if durable:
            os.fsync(opened)
    try:
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        # Or ours after all, if the answer was lost and the call was made again (NFS).
        if os.stat(part, dir_fd=folder).st_nlink != 2:
            raise
    finally:
        os.unlink(part, dir_fd=folder)
    if durable:
        os.fsync(folder)


def maybe_read(folder: int, name: str, limit: int) -> bytes | None:
    """The content of a small file; None if it isn't there."""
    try:
        return files.read(folder, name, limit, "the queue's folder")
    except FileNotFoundError:
        return None
