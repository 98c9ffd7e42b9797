"""How a share's file system behaves, tried with real files in an internal folder of their own.

Nothing outside `.roundtrip/probe-<role>-<token>/` is touched, and everything is relative to an open
folder: a mount that goes away meanwhile can't send a probe elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from roundtrip.doctor.trials import SEEN_WITHIN, TRIALS, create
from roundtrip.errors import ShareError
from roundtrip.protocol.documents import MAX_BYTES
from roundtrip.shares.files import names
from roundtrip.shares.identity import decode
from roundtrip.watch import Event, Kind, Watch, WatchSettings

OLD = 3600.0
"""Seconds after which the folder of another doctor is one that was killed."""

IDENTITY = "share.json"
_PROBE = re.compile(r"probe-[ab]-[0-9a-f]{8}")
Tell = Callable[..., None]


async def probe(
    internal: Path, identity: str, role: str, watch: dict[str, Any] | None, tell: Tell
) -> None:
    """Try everything in a share's internal folder and tell what happened, call by call.

    `identity` is the share's id; if the path leads to another share now, nothing is tried. `watch`
    (`backend`, `interval`) is how this agent watches the share; None if it doesn't.
    """
    parent = os.open(internal, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _identity_in(parent) == identity:
            name = f"probe-{role}-{secrets.token_hex(4)}"
            await _probe_in(parent, internal, name, watch, tell)
    finally:
        os.close(parent)


def _identity_in(internal: int) -> str:
    opened = os.open(IDENTITY, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=internal)
    with os.fdopen(opened, "rb") as file:
        return decode(file.read(MAX_BYTES)).id


async def _probe_in(
    parent: int, internal: Path, name: str, watch: dict[str, Any] | None, tell: Tell
) -> None:
    tell(doing="making a folder for probes")
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except OSError as error:
        tell(unwritable=_words(error))
        return
    try:
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        try:
            tell(leftovers=_sweep(parent, os.fstat(folder).st_mtime, name))
            for key, doing, look in TRIALS:
                tell(doing=doing)
                tell(**{key: _tried(look, folder)})
            if watch is not None:
                tell(doing="waiting for an event")
                tell(event=await _event(internal / name, folder, watch))
        finally:
            # Nothing is told before: whoever listened may be gone, and the files must go.
            _empty(folder)
            os.close(folder)
    finally:
        _remove_folder(parent, name, tell)


def _tried(look: Callable[[int], Any], folder: int) -> Any:
    try:
        return look(folder)
    except OSError as error:
        return {"error": _words(error)}


def _words(error: OSError) -> str:
    return error.strerror or str(error)


def _sweep(parent: int, now: float, own: str) -> int:
    """Remove what a killed doctor left; `now` by the clock that dates those. Returns how many."""
    removed = 0
    for name in names(parent):
        if name == own or not _PROBE.fullmatch(name):
            continue
        with suppress(OSError):  # another doctor was faster, or it is not ours to remove
            if now - os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime > OLD:
                old = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
                _empty(old)
                os.close(old)
                os.rmdir(name, dir_fd=parent)
                removed += 1
    return removed


def _empty(folder: int) -> None:
    with suppress(OSError):  # what can't be removed is the next doctor's
        for name in names(folder):
            os.unlink(name, dir_fd=folder)


def _remove_folder(parent: int, name: str, tell: Tell) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        tell(left=f"{name}: {_words(error)}")


async def _event(path: Path, folder: int, watch: dict[str, Any]) -> dict[str, Any]:
    """Rename a file where the agent's own kind of watcher looks, and wait for what it says."""
    listed, came = asyncio.Event(), asyncio.Event()

    def deliver(events: list[Event]) -> None:
        for event in events:
            if event.kind is Kind.RESCAN:
                listed.set()
            elif event.name == "marker.done":
                came.set()

    backend, interval = "", watch["interval"]
    try:
        with closing(Watch(deliver, WatchSettings(watch["backend"], interval))) as watcher:
            watcher.add("probe", path, frozenset({Kind.APPEARED}))
            backend = watcher.backends()["probe"]
            if backend == "poll":  # What comes before its first look is not reported.
                await asyncio.wait_for(listed.wait(), SEEN_WITHIN)
            seconds = await _renamed(folder, came, _patience(backend, interval))
    except TimeoutError:
        seconds = None
    except ShareError as error:
        return {"error": str(error)}
    return {"backend": backend, "seconds": seconds}


def _patience(backend: str, interval: float) -> float:
    """Seconds to wait for an event; less than whoever waits for this process has patience."""
    return 1.0 if backend != "poll" else min(2 * interval + 1.0, SEEN_WITHIN)


async def _renamed(folder: int, came: asyncio.Event, patience: float) -> float:
    """How many seconds after a rename the event came; TimeoutError if it didn't."""
    create(folder, ".marker.part")
    began = time.monotonic()
    os.rename(".marker.part", "marker.done", src_dir_fd=folder, dst_dir_fd=folder)
    await asyncio.wait_for(came.wait(), patience)
    return time.monotonic() - began
