"""This host: versions, limits of the kernel and of processes, and its clock."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roundtrip import __version__
from roundtrip.doctor import fanotify
from roundtrip.doctor.findings import ERROR, NOTICE, OK, WARNING, Finding, Verdict, finding

_INOTIFY = Path("/proc/sys/fs/inotify")
_USUAL_QUEUE = 16384  # the kernel's default of max_queued_events
_BASE_FILES = 64  # descriptors that an agent has open without any exchange
_FILES_EACH = 4  # of one exchange under way: both payloads, a private copy, a marker
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)


@dataclass(frozen=True, slots=True)
class Need:
    """What an agent needs of this host; `role` is None if the configuration can't be used."""

    role: str | None = None
    exchanges: int = 64  # at once
    calls: int = 0  # to APIs, at once
    watches: int = 8  # folders
    backend: str = "auto"  # of the watch, as configured
    pid: int | None = None  # of the running agent
    user: int | None = None  # whose limits count; None: who runs this


def look(need: Need) -> tuple[list[Finding], dict[str, Any]]:
    """Findings and facts about this host."""
    facts = _facts(need)
    return list(_findings(need, facts)), facts


def _findings(need: Need, facts: dict[str, Any]) -> Iterator[Finding]:
    version = f"Python {facts['python']}, roundtrip {facts['roundtrip']}"
    yield finding("python", "host", Verdict(OK, version))
    if need.role != "a":
        yield finding("sqlite", "host", sqlite(sqlite3.sqlite_version_info))
    yield finding("open-files", "host", open_files(facts["open_files"], files_needed(need)))
    limits, used = facts["inotify"], facts["inotify_used"]
    for name, key, needed in (
        ("instances", "inotify-instances", 1),
        ("watches", "inotify-watches", need.watches),
    ):
        limit = limits[f"max_user_{name}"]
        if limit is not None:
            wanted = needed if need.pid is None else 0  # a running agent has what it needs
            yield finding(key, "host", inotify(name, limit, used[name], wanted))
    if limits["max_queued_events"] is not None:
        yield finding("inotify-queue", "host", queue(limits["max_queued_events"]))
    told = fanotify.verdict(facts["fanotify"], wanted=need.backend == "fanotify")
    yield finding("fanotify", "host", told)
    if facts["clock_synchronised"] is not None:
        yield finding("clock", "host", clock(synchronised=facts["clock_synchronised"]))


def _facts(need: Need) -> dict[str, Any]:
    names = ("max_user_instances", "max_user_watches", "max_queued_events")
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "roundtrip": __version__,
        "sqlite": sqlite3.sqlite_version,
        "open_files": _open_files(need.pid),
        "inotify": {name: _number(_INOTIFY / name) for name in names},
        "inotify_used": inotify_used(os.geteuid() if need.user is None else need.user),
        "fanotify": fanotify.facts(),
        "clock_synchronised": clock_synchronised(),
    }


# Decisions


def sqlite(version: tuple[int, ...]) -> Verdict:
    """Judge SQLite's version by the WAL-reset bug (https://sqlite.org/wal.html)."""
    text = "SQLite " + ".".join(map(str, version))
    if has_wal_reset_bug(version):
        return Verdict(
            NOTICE,
            f"{text} has the WAL-reset bug, which needs two writing connections; the agent keeps "
            "to one, so open state/ledger.sqlite with no other program while it runs",
        )
    return Verdict(OK, text)


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Fixed in 3.51.3, and in 3.50.7 and 3.44.6 of the older branches; WAL exists since 3.7."""
    branch, fixed = version[:2], {(3, 44): 6, (3, 50): 7, (3, 51): 3}
    if branch in fixed:
        return version[2] < fixed[branch]
    return (3, 7) <= branch < (3, 51)


def files_needed(need: Need) -> int:
    """How many descriptors an agent may have open at once."""
    return _BASE_FILES + _FILES_EACH * need.exchanges + need.calls


def open_files(limit: int, needed: int) -> Verdict:
    """Judge the limit of open files; in systemd it is `LimitNOFILE=`."""
    if limit >= needed:
        return Verdict(OK, f"{limit:,} files may be open at once, {needed:,} are enough")
    return Verdict(
        WARNING,
        f"only {limit:,} files may be open at once, and limits.exchanges and the hosts' "
        f"concurrency may need {needed:,}; raise it (systemd: LimitNOFILE=), or lower those",
        f"ulimit -n {needed}",
    )


def inotify(name: str, limit: int, used: int, needed: int) -> Verdict:
    """Judge `fs.inotify.max_user_<name>` for a user that has `used` of them already."""
    what = f"{used:,} of {limit:,} inotify {name} of this user are in use"
    larger = max(2 * limit, 8192 if name == "watches" else 512)
    mend = f"sudo sysctl fs.inotify.max_user_{name}={larger}"
    if limit - used < needed:
        return Verdict(ERROR, f"{what}; the agent needs {needed:,}", mend)
    if limit - used < 2 * needed or used > 0.9 * limit:
        return Verdict(WARNING, f"{what}: nearly all", mend)
    return Verdict(OK, what)


def queue(limit: int) -> Verdict:
    """Judge how many events the kernel keeps; what is lost costs a full listing, nothing more."""
    if limit >= _USUAL_QUEUE:
        return Verdict(OK, f"the kernel keeps {limit:,} inotify events")
    return Verdict(
        NOTICE,
        f"the kernel keeps only {limit:,} inotify events: bursts cost full listings",
        f"sudo sysctl fs.inotify.max_queued_events={_USUAL_QUEUE}",
    )


def clock(*, synchronised: bool) -> Verdict:
    """Judge the clock; nothing but deadlines and reports depends on it."""
    if synchronised:
        return Verdict(OK, "the clock is synchronised")
    return Verdict(NOTICE, "the clock is not synchronised", "sudo timedatectl set-ntp true")


# Facts


def _open_files(pid: int | None) -> int:
    """The soft limit of the running agent, else of this process."""
    if pid is not None:
        with suppress(OSError, ValueError, IndexError):  # it ended, or says "unlimited": ours then
            for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
                if line.startswith("Max open files"):
                    return int(line.split()[3])
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # a kernel without inotify, or a /proc that shows less


def inotify_used(user: int) -> dict[str, int]:
    """Inotify instances and watches of a user's processes (proc_pid_fdinfo(5)), as far as seen."""
    used = {"instances": 0, "watches": 0}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):  # it ended meanwhile, or we may not look into it
            if process.stat().st_uid == user:
                _count_inotify(process, used)
    return used


def _count_inotify(process: Path, used: dict[str, int]) -> None:
    for link in (process / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if os.readlink(link) == "anon_inode:inotify":
                used["instances"] += 1
                info = (process / "fdinfo" / link.name).read_text()
                used["watches"] += info.count("inotify wd:")


class _Timex(ctypes.Structure):
    """The beginning of struct timex (adjtimex(2)), and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock_synchronised() -> bool | None:
    """Whether the kernel takes its clock for synchronised; None if it can't be asked."""
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        return None
    return not timex.status & _UNSYNCHRONISED
