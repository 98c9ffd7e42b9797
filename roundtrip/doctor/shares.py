"""One share: what its process told about it, made findings."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from roundtrip import mounts
from roundtrip.doctor import behaviour, mount_options, peer
from roundtrip.doctor.disposable import PATIENCE, Facts
from roundtrip.doctor.findings import (
    ERROR,
    NOTICE,
    OK,
    WARNING,
    About,
    Finding,
    Verdict,
    finding,
)
from roundtrip.doctor.identity import identity
from roundtrip.doctor.room import room
from roundtrip.mounts import Mount, is_remote


@dataclass(frozen=True, slots=True)
class Expected:
    """What a share should be for an agent of `role`; `home` is the role whose disk holds it."""

    name: About
    path: str
    role: str
    home: str
    pinned: str | None
    pin: str
    reserve: int  # bytes
    heartbeat: float  # seconds
    backend: str
    interval: float
    init: str  # the command that makes a share

    @property
    def is_home(self) -> bool:
        """Whether it should lie on this host's own disk."""
        return self.home == self.role

    @property
    def task(self) -> dict[str, Any]:
        """What the process is to look at."""
        other = "b" if self.role == "a" else "a"
        watch = {"backend": self.backend, "interval": self.interval}
        return {
            "what": "share",
            "path": self.path,
            "role": self.role,
            "home": self.home,
            "pinned": self.pinned,
            "reads": other if self.is_home else None,
            "watch": watch if self.is_home else None,
        }


def judge(expected: Expected, facts: Facts, mountinfo: str) -> list[Finding]:
    """Findings about a share."""
    mount = _mount(expected, facts, mountinfo)
    facts["mount"] = mount and mount._asdict()
    found = [*_reach(expected, facts, mount)]
    if "realpath" in facts:
        found += _type(expected, facts, mount)
    if "identity" in facts or "unidentified" in facts:
        found += _identity(expected, facts, mount)
    if "heartbeat" in facts or "heartbeat_error" in facts:
        found += _heartbeat(expected, facts)
    if "unwritable" in facts:
        found += _unwritable(expected, facts)
    return [*found, *_behaviour(expected, facts, mount)]


def _mount(expected: Expected, facts: Facts, mountinfo: str) -> Mount | None:
    """The mount that holds a share; also of one that does not answer: it is not touched here."""
    path = facts.get("realpath") or os.path.abspath(expected.path)
    mount = mounts.mount_of(mountinfo, path)
    if "realpath" not in facts and not _is_network(mount):
        with suppress(OSError):  # no link: the path is what it seems to be
            linked = os.path.join(os.path.dirname(path), os.readlink(path))
            mount = mounts.mount_of(mountinfo, os.path.normpath(linked))
    return mount


def _reach(expected: Expected, facts: Facts, mount: Mount | None) -> Iterator[Finding]:
    name, away = expected.name, _is_network(mount) or not expected.is_home
    if facts.hung is not None:
        text = f"does not answer since {PATIENCE:g} s (while {facts.hung})"
        if mount is not None and away:
            text += f"; is the other host up? It is {mount.fstype} from {mount.source}"
        mend = mount_options.remount(mount, expected.path) if away else None
        yield finding("answers", name, Verdict(ERROR, text, mend))
    elif "missing" in facts:
        yield finding("there", name, _missing(expected, facts["missing"], mount))
    elif "failed" in facts:
        text = f"could not be looked at whole: {facts['failed']}"
        yield finding("answers", name, Verdict(ERROR, text))
    else:
        yield finding("answers", name, Verdict(OK, "every call was answered"))


def _missing(expected: Expected, why: str, mount: Mount | None) -> Verdict:
    text = f"{expected.path}: {why}"
    if expected.is_home:
        return Verdict(ERROR, text, expected.init)
    if _is_network(mount):  # mounted, and dead: it has to go first
        return Verdict(ERROR, text, mount_options.remount(mount, expected.path))
    mend = f"sudo mount {shlex.quote(expected.path)}"
    return Verdict(ERROR, f"{text}; it is the other host's, to be mounted here", mend)


def _is_network(mount: Mount | None) -> bool:
    return mount is not None and is_remote(mount.fstype)


def _type(expected: Expected, facts: Facts, mount: Mount | None) -> Iterator[Finding]:
    name, home = expected.name, expected.is_home
    yield finding("type", name, mount_options.kind(mount, home=home))
    if mount is not None:
        command = None
        if mount.fstype == "fuse.sshfs":
            command = mount_options.sshfs_command(mount)
        for verdict in mount_options.options(mount, command, home=home):
            yield finding("mount-options", name, verdict)
    if "free" in facts:
        yield from room(name, "", facts, expected.reserve)
    if facts.get("read_only"):
        point = shlex.quote(mount.point if mount is not None else expected.path)
        mend = f"sudo mount -o remount,rw {point}"
        yield finding("writable", name, Verdict(ERROR, "is mounted read-only", mend))


def _identity(expected: Expected, facts: Facts, mount: Mount | None) -> Iterator[Finding]:
    if "unidentified" in facts:
        text = f"its identity can't be read: {facts['unidentified']}"
        yield finding("identity", expected.name, Verdict(ERROR, text))
        return
    if expected.is_home:
        absent = Verdict(ERROR, "has no identity: it was never initialised", expected.init)
    else:
        where = "is the other host's share mounted here? " if not _is_network(mount) else ""
        absent = Verdict(
            ERROR,
            f"has no identity: {where}If it is, run `roundtrip init` on its home host (role "
            f"{expected.home})",
            f"sudo mount {shlex.quote(expected.path)}" if where else None,
        )
    verdict = identity(facts["identity"], expected.home, expected.pinned, expected.pin, absent)
    yield finding("identity", expected.name, verdict)


def _heartbeat(expected: Expected, facts: Facts) -> Iterator[Finding]:
    name, other = expected.name, "b" if expected.role == "a" else "a"
    if "heartbeat_error" in facts:
        text = f"role {other}'s files can't be read: {facts['heartbeat_error']}; see its umask"
        mend = "umask 0027"
        yield finding("heartbeat", name, Verdict(ERROR, f"{text} (on its host)", mend))
        return
    fields = facts["heartbeat"]
    if fields is None:
        text = f"role {other} has given no sign of life: does its agent run, is this share mounted?"
        yield finding("heartbeat", name, Verdict(WARNING, text))
        return
    age = facts["heartbeat_age"]
    if age is not None:
        yield finding("heartbeat", name, peer.heartbeat(other, fields, age, expected.heartbeat))
    yield finding("protocol", name, peer.protocol(other, fields))
    if facts["heartbeat_skew"] is not None:
        yield finding("clock-skew", name, behaviour.skew(facts["heartbeat_skew"]))


def _unwritable(expected: Expected, facts: Facts) -> Iterator[Finding]:
    if facts.get("read_only"):
        return
    text = f"this user can't write here: {facts['unwritable']}"
    mend = f"sudo chown -R {os.geteuid()} {shlex.quote(expected.path)}/.roundtrip"
    if not expected.is_home:
        text += "; on its home host, see owner, group and export options"
    yield finding("writable", expected.name, Verdict(ERROR, text, mend))


def _behaviour(expected: Expected, facts: Facts, mount: Mount | None) -> Iterator[Finding]:
    name, fstype = expected.name, mount.fstype if mount is not None else ""
    if isinstance(written := facts.get("written"), dict):
        if "error" in written:
            yield finding("writable", name, Verdict(ERROR, f"can't write: {written['error']}"))
        else:
            yield finding("writable", name, Verdict(OK, "files can be made, renamed and removed"))
            yield from _written(expected, written)
    judged = {
        "exclusive": ("exclusive-create", behaviour.exclusive),
        "rename": ("rename", behaviour.rename),
        "case": ("case", lambda fact: behaviour.case(fact, fstype)),
        "names": ("names", behaviour.names),
        "long": ("long-names", behaviour.long_names),
        "visible": ("visibility", behaviour.visibility),
        "sync": ("fsync", behaviour.fsync),
        "event": (
            "events",
            lambda fact: behaviour.event(fact, _backend(expected, mount), expected.interval),
        ),
    }
    for fact, (key, judge_fact) in judged.items():
        if fact in facts:
            yield finding(key, name, judge_fact(facts[fact]))
    if "left" in facts:
        text = f"a probe's folder could not be removed yet: .roundtrip/{facts['left']}"
        yield finding("leftovers", name, Verdict(NOTICE, f"{text}; a later doctor removes it"))


def _backend(expected: Expected, mount: Mount | None) -> str:
    if expected.backend not in ("auto", "fanotify"):
        return expected.backend
    kernel = "fanotify" if expected.backend == "fanotify" else "inotify"
    return "poll" if _is_network(mount) else kernel


def _written(expected: Expected, written: dict[str, Any]) -> Iterator[Finding]:
    name = expected.name
    yield finding("file-times", name, behaviour.file_times(written["nanoseconds"]))
    if not expected.is_home:
        yield finding("readable", name, behaviour.readable(written["mode"], written["owner"]))
        ahead = behaviour.offset(written["time"], written["before"], written["after"])
        yield finding("clock-skew", name, behaviour.skew(ahead))
