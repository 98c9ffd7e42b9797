"""What a share's mount says: whose file system it is, and which options lose data or hang."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from roundtrip.doctor.findings import NOTICE, OK, WARNING, Verdict
from roundtrip.mounts import Mount, is_remote

_LONGEST_CACHE = 10  # seconds


def kind(mount: Mount | None, *, home: bool) -> Verdict:
    """Judge a share's file system; `home`: it should be on this host's own disk."""
    if mount is None:
        return Verdict(NOTICE, "the mount table does not show what it is on")
    what = f"{mount.fstype} ({mount.source}, mounted at {mount.point})"
    if not is_remote(mount.fstype):
        where = "its home is this host" if home else "on this host's own disk, not the other's"
        return Verdict(OK if home else NOTICE, f"{what}: {where}")
    if not home:
        return Verdict(OK, f"{what}: its home is the other host")
    return Verdict(
        NOTICE,
        f"{what}: this host should hold it on its own disk; changes by the other host send no "
        "events here, so the agent polls (watch.interval)",
    )


def options(mount: Mount, command: list[str] | None, *, home: bool) -> Iterator[Verdict]:
    """Judge a network mount's options; `command` is that of its FUSE process, if it was found."""
    if mount.fstype.startswith("nfs"):
        yield from _nfs(mount, polled=home)
    elif mount.fstype == "fuse.sshfs" and command is not None:
        yield from _sshfs(mount, command)
    elif mount.fstype in ("cifs", "smb3"):
        yield from _cifs(mount)


def _nfs(mount: Mount, *, polled: bool) -> Iterator[Verdict]:
    point, source = shlex.quote(mount.point), shlex.quote(mount.source)
    if {"soft", "softerr", "softreval"} & set(mount.options):
        yield Verdict(
            WARNING,
            "mounted `soft`: when the server is away for long, writes that were reported as done "
            "are lost; `hard` loses nothing, and a mount that hangs does not stop the agent; "
            "change it in /etc/fstab, too",
            f"sudo umount {point} && sudo mount -t {mount.fstype} -o hard {source} {point}",
        )
    longest = _number(mount, "acdirmax", 60)
    if polled and longest > _LONGEST_CACHE and "noac" not in mount.options:
        yield Verdict(
            NOTICE,
            f"names may be seen up to {longest} s late: this share is polled through a cache of "
            "attributes",
            f"sudo umount {point} && sudo mount -t {mount.fstype} -o hard,actimeo=1 "
            f"{source} {point}",
        )


def _number(mount: Mount, name: str, default: int) -> int:
    for option in mount.options:
        key, _, value = option.partition("=")
        if key == name and value.isdigit():
            return int(value)
    return default


def _sshfs(mount: Mount, command: list[str]) -> Iterator[Verdict]:
    given = set(",".join(command).split(","))
    lacking = [] if "reconnect" in given else ["reconnect"]
    if not any(option.startswith("ServerAliveInterval=") for option in given):
        lacking.append("ServerAliveInterval")
    if not lacking:
        return
    point, source = shlex.quote(mount.point), shlex.quote(mount.source)
    why = {
        "reconnect": "without `reconnect` it stays dead after the connection broke once",
        "ServerAliveInterval": "without `ServerAliveInterval` calls hang for as long as the "
        "connection is cut, and longer",
    }
    yield Verdict(
        WARNING,
        "sshfs: " + "; ".join(why[each] for each in lacking) + "; change it in /etc/fstab, too",
        f"fusermount3 -u {point} && sshfs -o reconnect,ServerAliveInterval=5,"
        f"ServerAliveCountMax=3 {source} {point}",
    )


def _cifs(mount: Mount) -> Iterator[Verdict]:
    if "serverino" not in mount.options:
        yield Verdict(
            NOTICE,
            "cifs without `serverino`: the numbers of files change, so the agent may take the "
            "share for a replaced one and verify it again",
            f"sudo mount -o remount,serverino {shlex.quote(mount.point)}",
        )


def sshfs_command(mount: Mount, proc: Path = Path("/proc")) -> list[str] | None:
    """The command line of the sshfs that serves a mount; None if it can't be seen."""
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            content = (process / "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile, or hidden (hidepid of proc(5))
        words = [os.fsdecode(word) for word in content.split(b"\0")]
        if "sshfs" in os.path.basename(words[0]) and mount.source in words:
            return words
    return None


def remount(mount: Mount | None, path: str) -> str:
    """A command that gives up a mount that hangs, and mounts it again as /etc/fstab says."""
    if mount is not None and mount.fstype.startswith("fuse"):
        point = shlex.quote(mount.point)
        return f"sudo fusermount3 -uz {point}; sudo mount {point}"
    point = shlex.quote(mount.point if mount is not None else path)
    return f"sudo umount -f -l {point}; sudo mount {point}"
