"""This host's own folders, who may use them, and the agent that works there."""

from __future__ import annotations

import json
import os
import pwd
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from roundtrip import mounts
from roundtrip.doctor.disposable import PATIENCE, Facts
from roundtrip.doctor.findings import ERROR, NOTICE, OK, WARNING, Finding, Verdict, finding
from roundtrip.doctor.room import room
from roundtrip.mounts import is_remote
from roundtrip.places import Places
from roundtrip.protocol.states import Role

Command = Callable[[str], str]
"""Makes of `init` the whole command line with this configuration."""

_CONDITION = {"notice": NOTICE, "warning": WARNING, "alarm": ERROR}
_CROWD = 0o077


def task(places: Places) -> dict[str, Any]:
    """What the process is to look at."""
    return {
        "what": "folders",
        "paths": [str(path) for path in places.own()],
        "texts": {
            "health": str(places.health),
            "pin_unenriched": str(places.pins / "unenriched.share"),
            "pin_enriched": str(places.pins / "enriched.share"),
        },
        "lock": str(places.lock),
    }


def judge(
    places: Places, facts: Facts, mountinfo: str, reserve: int, command: Command
) -> Iterator[Finding]:
    """Findings about the folders."""
    if facts.hung is not None:
        text = f"does not answer since {PATIENCE:g} s (while {facts.hung})"
        yield finding("answers", "folders", Verdict(ERROR, text))
    elif "failed" in facts:
        text = f"could not be looked at whole: {facts['failed']}"
        yield finding("answers", "folders", Verdict(ERROR, text))
    known = {str(path): facts[str(path)] for path in places.own() if str(path) in facts}
    yield from _there(known, command)
    usable = {path: about for path, about in known.items() if about.get("is_folder")}
    yield from _access(known, usable)
    if places.role is Role.RESPONDER:
        yield from _private(usable, (str(places.state), str(places.quarantine)))
    else:
        movable = [places.outbox, places.inbox, places.failed, places.archive or places.pending]
        yield from _one_file_system(usable, [str(path) for path in movable], str(places.pending))
    state = usable.get(str(places.state))
    if state is not None:
        yield from _user(facts["user"], state["owner"], command)
        yield from _state_disk(state["realpath"], mountinfo, places.role)
    for path, about in _disks(usable):
        yield from room("folders", path, about, reserve)


def _there(known: dict[str, Any], command: Command) -> Iterator[Finding]:
    missing = [path for path, about in known.items() if not about.get("is_folder")]
    for path in missing:
        if os.path.dirname(path) in missing:
            continue  # said of the folder that holds it
        why = known[path].get("error", "it is not a folder")
        if known[path].get("denied"):
            text = f"{path}: {why} for user {_user_name(os.geteuid())}"
            yield finding("folder-access", "folders", Verdict(ERROR, text))
        else:
            yield finding("folders", "folders", Verdict(ERROR, f"{path}: {why}", command("init")))
    if known and not missing:
        yield finding("folders", "folders", Verdict(OK, f"all {len(known)} folders are there"))


def _access(known: dict[str, Any], usable: dict[str, Any]) -> Iterator[Finding]:
    closed = [path for path, about in usable.items() if not about["usable"]]
    for path in closed:
        if usable[path]["read_only"]:
            mend, why = None, "is on a read-only file system"
        else:
            mend, why = f"sudo chown -R {os.geteuid()} {shlex.quote(path)}", "is not writable"
        text = f"{path}: {why} for user {_user_name(os.geteuid())}"
        yield finding("folder-access", "folders", Verdict(ERROR, text, mend))
    if usable and len(usable) == len(known) and not closed:
        yield finding("folder-access", "folders", Verdict(OK, "this user may write to them"))


def _private(usable: dict[str, Any], paths: tuple[str, ...]) -> Iterator[Finding]:
    for path in paths:
        if path in usable:
            yield finding("private", "folders", private(path, usable[path]["mode"]))


def private(path: str, mode: int) -> Verdict:
    """Judge the mode of a folder that holds what APIs answered."""
    if not mode & _CROWD:
        return Verdict(OK, f"{path}: only its owner may look (mode {mode:04o})")
    return Verdict(
        WARNING,
        f"{path}: other users of this host may look at answers of APIs (mode {mode:04o})",
        f"chmod 700 {shlex.quote(path)}",
    )


def _one_file_system(usable: dict[str, Any], paths: list[str], pending: str) -> Iterator[Finding]:
    if pending not in usable:
        return
    device = usable[pending]["device"]
    apart = [path for path in paths if path in usable and usable[path]["device"] != device]
    for path in apart:
        text = f"{path}: on another file system than {pending}; files must move between them whole"
        yield finding("one-file-system", "folders", Verdict(ERROR, text))
    if not apart:
        text = "outbox, inbox and state are on one file system"
        yield finding("one-file-system", "folders", Verdict(OK, text))


def _user(user: int, owner: int, command: Command) -> Iterator[Finding]:
    if user != owner:
        name = _user_name(owner)
        text = f"state belongs to {name}, this is {_user_name(user)}: what is said of access "
        mend = f"sudo -u {shlex.quote(name)} {command('doctor')}"
        yield finding("user", "host", Verdict(WARNING, text + "holds for this user only", mend))
    else:
        yield finding("user", "host", Verdict(OK, f"this is {_user_name(user)}, as state's owner"))


def _user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"#{user}"


def _state_disk(path: str, mountinfo: str, role: Role) -> Iterator[Finding]:
    mount = mounts.mount_of(mountinfo, path)
    if mount is not None:
        yield finding("state-disk", "folders", state_disk(mount.fstype, role))


def state_disk(fstype: str, role: Role) -> Verdict:
    """Judge the file system of the state folder: SQLite never on a network mount."""
    if not is_remote(fstype):
        return Verdict(OK, f"state is on this host's own disk ({fstype})")
    if role is Role.RESPONDER:
        text = f"state is on {fstype}: a ledger there gets lost or torn; move it to a local disk"
        return Verdict(ERROR, text)
    return Verdict(WARNING, f"state is on {fstype}: locks and renames there can't be relied on")


def _disks(usable: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    seen = set()
    for path, about in usable.items():
        if about["device"] not in seen:
            seen.add(about["device"])
            yield path, about


def agent(facts: Facts, command: Command) -> Iterator[Finding]:
    """Findings about the running agent, and what it says of itself."""
    if "holder_error" in facts:
        text = f"whether an agent runs can't be told: state/: {facts['holder_error']}"
        yield finding("agent", "host", Verdict(NOTICE, text))
        return
    running = _mapping(facts.get("holder"))
    if running is None:
        text = "no agent runs here"
        yield finding("agent", "host", Verdict(NOTICE, text, command("agent")))
        return
    text = f"the agent runs, pid {running.get('pid', '?')} since {running.get('since', '?')}"
    yield finding("agent", "host", Verdict(OK, text))
    health = _mapping(facts.get("health")) or {}
    if health.get("pid", running.get("pid")) == running.get("pid"):
        yield from _conditions(health.get("conditions"))


def _conditions(conditions: Any) -> Iterator[Finding]:
    for each in conditions if isinstance(conditions, list) else []:
        if isinstance(each, dict):
            severity = _CONDITION.get(str(each.get("severity")), WARNING)
            text = f"{each.get('key')}: {each.get('text')} (since {each.get('since')})"
            yield finding("condition", "host", Verdict(severity, text))


def pid_of(facts: Facts) -> int | None:
    """The running agent's process; None if there is none."""
    pid = (_mapping(facts.get("holder")) or {}).get("pid")
    return pid if isinstance(pid, int) else None


def _mapping(text: str | None) -> dict[str, Any] | None:
    """What a file says, if it is a JSON object; a lock's unknown holder has no fields."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
