"""A share's identity: proof that a folder is the share it should be, not an empty mount point."""

from __future__ import annotations

import json
import re
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roundtrip.errors import ShareAway, ShareError
from roundtrip.protocol.documents import printable, read_object, shown
from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import INTERNAL_FOLDER
from roundtrip.protocol.states import Role
from roundtrip.shares.port import Folder, SharedFolder
from roundtrip.shares.posix import PosixFolder

FILE = "share.json"
"""The file of an identity, in a share's internal folder."""

_LIMIT = 64 * 1024
_ID = re.compile(r"[!-~]{1,100}")  # it is pinned in a file and shown on terminals

ShareName = Literal["unenriched", "enriched"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What `.roundtrip/share.json` says: which share this is, and whose disk holds it."""

    id: str
    home: Role
    created: str


async def establish(path: Path, home: Role) -> tuple[Identity, bool]:
    """Make a share's folder and identity on its home host, if they aren't there yet.

    Returns the identity and whether it is new.

    Raises:
        ShareError: the folder can't be made, or it is already a share with another home.
    """
    try:
        (path / INTERNAL_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShareError(f"{path}: can't make the share here: {error.strerror}") from error
    with closing(PosixFolder(path / INTERNAL_FOLDER)) as internal:
        found = await identify(internal)
        if found is None:
            identity = Identity(str(uuid.uuid4()), home, timestamp(time.time()))
            content = {"v": 1, "id": identity.id, "home": home.value, "created": identity.created}
            await internal.put(FILE, json.dumps(content).encode(), durable=True)
            return identity, True
    if found.home is not home:
        raise ShareError(
            f"{path}: already initialised on the other side (its home is role {found.home.value}); "
            f"role {home.value} keeps the other share on its own disk"
        )
    return found, False


async def identify(internal: SharedFolder) -> Identity | None:
    """What a share's internal folder says of the share; None if it says nothing.

    Raises:
        ShareError: what it says can't be read.
    """
    try:
        content = await internal.read(FILE, _LIMIT)
    except FileNotFoundError:
        return None
    return identity_from(content, f"{internal.label}/{FILE}")


def identity_from(content: bytes, label: str) -> Identity:
    """The identity that a file of these bytes tells; `label` is what messages call the file.

    Raises:
        ShareError: it tells none.
    """
    try:
        return decode(content)
    except ValueError as error:
        raise ShareError(f"{label}: not a share's identity ({error})") from error


def decode(content: bytes) -> Identity:
    """Read a share's identity; another host may have written it.

    Raises:
        ValueError: it is none; the text is one short line.
    """
    found = read_object(content, _LIMIT)
    if not isinstance(found.get("id"), str) or not _ID.fullmatch(found["id"]):
        raise ValueError(f"its 'id' is {shown(found.get('id'))}")
    if found.get("home") not in ("a", "b"):
        raise ValueError(f"its 'home' is {shown(found.get('home'))}, not a or b")
    return Identity(found["id"], Role(found["home"]), printable(str(found.get("created"))[:40]))


async def identity_of(share: PosixFolder) -> Identity | None:
    """The identity of the share that is opened as `share`; None if it has none.

    Raises:
        ShareError: it has one that can't be read.
    """
    try:
        internal = share.sub(INTERNAL_FOLDER)
    except ShareError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    with closing(internal):
        return await identify(internal)


async def verify(
    found: Identity | None, share: str, name: ShareName, home: Role, pins: Folder
) -> None:
    """Check that a share is the one that was pinned at first contact; pin it if this is the first.

    `found` is its identity, `share` what messages call it, `pins` a private folder on this host;
    the pin is its file `<name>.share`.

    Raises:
        ShareAway: no identity.
        ShareError: another home, or another share than the pinned one.
    """
    if found is None:
        raise ShareAway(
            f"{share}: not a share (no {INTERNAL_FOLDER}/{FILE}); if it is mounted from the "
            f"other host, is the mount there? Else run: roundtrip init --role {home.value}"
        )
    if found.home is not home:
        raise ShareError(
            f"{share}: this share's home is role {found.home.value}, but {name} lives with "
            f"role {home.value}: are unenriched and enriched swapped?"
        )
    pinned = await pinned_id(pins, name)
    if pinned is None:
        await pins.replace(_pin(name), found.id.encode())
    elif pinned != found.id:
        raise ShareError(
            f"{share}: this is share {found.id}, but {pinned} was before; another mount? "
            f"If the change is meant, remove {pins.label}/{_pin(name)}"
        )


async def pinned_id(pins: Folder, name: ShareName) -> str | None:
    """The id of the share that was found at first contact; None if there was no contact yet."""
    try:
        return (await pins.read(_pin(name), _LIMIT)).decode(errors="replace")
    except FileNotFoundError:
        return None


def _pin(name: ShareName) -> str:
    return f"{name}.share"
