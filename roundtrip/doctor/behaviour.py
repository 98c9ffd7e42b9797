"""What the probes with real files mean: each fact of `trials` is judged here."""

from __future__ import annotations

from typing import Any

from roundtrip.doctor.findings import ERROR, NOTICE, OK, WARNING, Verdict
from roundtrip.doctor.trials import LONGEST, OWN_NAMES
from roundtrip.roles.peer import SKEWED

_SKEW = 5.0  # seconds that nobody needs to know about
_SEEN = 1.0  # seconds
_OTHERS_READ = 0o044


def skew(seconds: float) -> Verdict:
    """Judge how far the other host's clock is ahead of ours; nothing fails because of it."""
    if abs(seconds) < _SKEW:
        return Verdict(OK, f"the other host's clock agrees with this one's within {_SKEW:g} s")
    direction = "ahead of" if seconds > 0 else "behind"
    return Verdict(
        NOTICE if abs(seconds) < SKEWED else WARNING,
        f"the other host's clock is {abs(seconds):,.0f} s {direction} this one's; exchanges don't "
        "depend on it, but times in markers and logs differ",
        "sudo timedatectl set-ntp true",
    )


def offset(time: float, before: float, after: float) -> float:
    """How far the clock that gave `time` is ahead of the one that gave `before` and `after`."""
    if time > after:
        return time - after
    return min(0.0, time - before)


def readable(mode: int, owner: int) -> Verdict:
    """Judge the mode of a file that this agent made."""
    if mode & _OTHERS_READ:
        return Verdict(OK, f"files of this agent have mode {mode:04o}, owner {owner}")
    return Verdict(
        NOTICE,
        f"files of this agent have mode {mode:04o}: only user {owner} can read them, so the other "
        "agent must be that user on its host; else set UMask=0027 and a common group",
        "umask 0027",
    )


def exclusive(fact: Any) -> Verdict:
    """Judge O_EXCL."""
    if fact is True:
        return Verdict(OK, "a file that exists is not made again (O_EXCL)")
    return Verdict(WARNING, f"O_EXCL does not refuse a name that exists{_because(fact)}")


def rename(fact: Any) -> Verdict:
    """Judge a rename that must not replace anything."""
    if fact == "refuses":
        return Verdict(OK, "rename works, and refuses to replace")
    if fact == "emulated":
        return Verdict(OK, "rename works; RENAME_NOREPLACE does not, so the agent looks first")
    if fact == "replaces":
        return Verdict(ERROR, "RENAME_NOREPLACE replaces a file that exists: don't use this share")
    return Verdict(ERROR, f"files can't be renamed{_because(fact)}")


def case(fact: Any, fstype: str) -> Verdict:
    """Judge whether upper and lower case differ."""
    if fact is True:
        return Verdict(OK, "upper and lower case differ")
    text = "upper and lower case are the same: names of roundtrip never clash, others' may"
    if fstype in ("cifs", "smb3"):
        text += "; with Samba, `case sensitive = yes` also spares a look at the whole folder a name"
    return Verdict(NOTICE, text + _because(fact))


def names(fact: Any) -> Verdict:
    """Judge which names come back as they were given."""
    if fact == []:
        return Verdict(OK, "names come back as they were given")
    if isinstance(fact, list):
        listed = ", ".join(fact)
        if set(fact) & set(OWN_NAMES):
            return Verdict(ERROR, f"names of roundtrip itself can't be used here: {listed}")
        return Verdict(NOTICE, f"names that other requesters must avoid here: {listed}")
    return Verdict(ERROR, f"names can't be tried{_because(fact)}")


def long_names(fact: Any) -> Verdict:
    """Judge the length of names."""
    if fact is True:
        return Verdict(OK, f"names of {LONGEST} bytes, the longest that occur, can be used")
    return Verdict(
        ERROR, f"names of {LONGEST} bytes, the longest that occur, can't be used{_because(fact)}"
    )


def visibility(fact: Any) -> Verdict:
    """Judge how soon a listing shows a new name, and drops a removed one."""
    if isinstance(fact, float):
        text = f"a listing shows changes after {fact * 1000:,.0f} ms"
        return Verdict(OK if fact < _SEEN else NOTICE, text)
    return Verdict(WARNING, f"a listing does not show within 3 s what was changed{_because(fact)}")


def fsync(fact: Any) -> Verdict:
    """Judge fsync of a file and of its folder."""
    if fact is True:
        return Verdict(OK, "fsync works")
    return Verdict(
        WARNING,
        f"fsync fails{_because(fact)}: errors of writes may be told late, and `durability: full` "
        "can't be had",
    )


def file_times(nanoseconds: int) -> Verdict:
    """Judge how fine the times of files are, by the nanoseconds of one."""
    if nanoseconds:
        return Verdict(OK, "files have times finer than a second")
    return Verdict(NOTICE, "files have times in whole seconds")


_MORE_ROOM = {
    "inotify": "sudo sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=1048576",
    "fanotify": "sudo sysctl fs.fanotify.max_user_groups=1024 fs.fanotify.max_user_marks=1048576",
}


def event(fact: Any, usual: str, interval: float) -> Verdict:
    """Judge whether the watcher noticed a rename made on this very host.

    `usual` is the backend that fits the file system, or that the configuration asks for.
    """
    if "error" in fact:
        return Verdict(ERROR, f"the folder can't be watched: {fact['error']}")
    seconds, backend = fact["seconds"], fact["backend"]
    if seconds is None:
        return Verdict(
            WARNING, f"no event came ({backend}): exchanges wait for a full listing (timing.rescan)"
        )
    if backend != "poll":
        return Verdict(OK, f"an event came after {seconds * 1000:,.0f} ms ({backend})")
    if usual in ("inotify", "fanotify"):
        return Verdict(
            WARNING,
            f"the kernel has no room for another {usual} watch, so the agent polls every "
            f"{interval:g} s instead",
            _MORE_ROOM[usual],
        )
    return Verdict(NOTICE, f"the agent polls every {interval:g} s; a change was seen so")


def _because(fact: Any) -> str:
    return f" ({fact['error']})" if isinstance(fact, dict) and "error" in fact else ""
