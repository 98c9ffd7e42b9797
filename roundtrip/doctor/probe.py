"""The process that looks at folders on behalf of doctor, and may be killed at any moment.

`python -m roundtrip.doctor.probe TASK`, TASK in JSON. Prints a JSON object a line: facts by name,
and under `doing` what comes next, so that whoever reads knows in which call it hangs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from roundtrip.doctor import semantics
from roundtrip.doctor.identity import may_write
from roundtrip.errors import ShareError
from roundtrip.protocol.names import INTERNAL_FOLDER
from roundtrip.protocol.states import Role
from roundtrip.shares.heartbeat import age, last_beat, skew
from roundtrip.shares.identity import Identity, identity_of
from roundtrip.shares.lock import holder_of
from roundtrip.shares.posix import PosixFolder

_LIFE = 60  # seconds: whoever started this is gone, or has given it up
_LIMIT = 1024 * 1024

Tell = Callable[..., None]


def main() -> None:
    """Do the task on the command line."""
    signal.alarm(_LIFE)
    task = json.loads(sys.argv[1])
    try:
        if task["what"] == "share":
            asyncio.run(look_at_share(task, tell))
        else:
            look_at_folders(task, tell)
    except (OSError, ShareError, ValueError) as error:
        tell(failed=_fault(error))


def tell(**facts: Any) -> None:
    """Print facts at once."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def look_at_share(task: dict[str, Any], tell: Tell) -> None:
    """Tell about the share at `path`: what it is, and how it behaves if it is the right one."""
    path = Path(task["path"])
    tell(doing="opening the folder")
    try:
        folder = PosixFolder(path)
    except ShareError as error:
        tell(missing=_fault(error.__cause__))
        return
    with closing(folder):
        tell(realpath=os.path.realpath(path), doing="asking for its space")
        about = _about(path)
        if "error" in about:
            tell(failed=about["error"])
        tell(**about)
        tell(doing="reading its identity")
        try:
            identity = await identity_of(folder)
        except (ShareError, OSError) as error:
            tell(unidentified=_fault(error))
            return
        tell(identity=identity and {"id": identity.id, "home": identity.home.value})
        if identity is None:
            return
        with closing(folder.sub(INTERNAL_FOLDER)) as internal:
            if task["reads"]:
                await _look_at_sign(internal, Role(task["reads"]), tell)
        if _is_right(identity, task):
            internal_path = path / INTERNAL_FOLDER
            await semantics.probe(internal_path, identity.id, task["role"], task["watch"], tell)


def _is_right(identity: Identity, task: dict[str, Any]) -> bool:
    return may_write(identity.id, identity.home.value, task["home"], task["pinned"])


async def _look_at_sign(internal: PosixFolder, role: Role, tell: Tell) -> None:
    tell(doing="reading the other side's heartbeat")
    try:
        sign = await last_beat(internal, role)
        if sign is None:
            tell(heartbeat=None)
            return
        tell(
            heartbeat=sign.fields,
            heartbeat_age=age(sign, time.time()),
            heartbeat_skew=skew(sign),
        )
    except OSError as error:
        tell(heartbeat_error=_fault(error))


def look_at_folders(task: dict[str, Any], tell: Tell) -> None:
    """Tell about this host's own folders, and the agent that works there."""
    tell(user=os.geteuid())
    for path in task["paths"]:
        tell(doing=f"looking at {path}")
        tell(**{path: _about(Path(path))})
    tell(doing="reading the state folder")
    for name, path in task["texts"].items():
        tell(**{name: _text(Path(path))})
    try:
        tell(holder=holder_of(Path(task["lock"])))
    except OSError as error:
        tell(holder_error=_fault(error))


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_LIMIT).decode(errors="replace")
    except OSError:
        return None  # as if it were not there: these files come and go


def _about(path: Path) -> dict[str, Any]:
    """What can be asked about a folder without changing it; `error` if nothing can."""
    try:
        found, room = path.stat(), os.statvfs(path)
    except OSError as error:
        return {"error": _fault(error), "denied": isinstance(error, PermissionError)}
    wanted = os.R_OK | os.W_OK | os.X_OK
    return {
        "is_folder": stat.S_ISDIR(found.st_mode),
        "realpath": os.path.realpath(path),
        "device": found.st_dev,
        "mode": stat.S_IMODE(found.st_mode),
        "owner": found.st_uid,
        "usable": os.access(path, wanted, effective_ids=True),
        "free": room.f_bavail * room.f_frsize,
        "total": room.f_blocks * room.f_frsize,
        "inodes_free": room.f_favail,
        "inodes": room.f_files,
        "read_only": bool(room.f_flag & os.ST_RDONLY),
    }


def _fault(error: BaseException | None) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


if __name__ == "__main__":
    main()
