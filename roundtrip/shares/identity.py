"""A share's identity: proof that a folder is the share it should be, not an empty mount point."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roundtrip.errors import ShareError
from roundtrip.protocol.markers import timestamp
from roundtrip.protocol.names import INTERNAL_FOLDER
from roundtrip.protocol.states import Role
from roundtrip.shares.port import Folder
from roundtrip.shares.posix import PosixFolder

_FILE = "share.json"
_LIMIT = 64 * 1024

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
    folder = PosixFolder(path)
    try:
        found = await identify(folder)
    except FileNotFoundError:
        identity = Identity(str(uuid.uuid4()), home, timestamp(time.time()))
        content = {"v": 1, "id": identity.id, "home": home.value, "created": identity.created}
        internal = folder.sub(INTERNAL_FOLDER)
        await internal.put(_FILE, json.dumps(content).encode(), durable=True)
        return identity, True
    finally:
        folder.close()
    if found.home is not home:
        raise ShareError(
            f"{path}: already initialised on the other side (its home is role {found.home.value}); "
            f"role {home.value} keeps the other share on its own disk"
        )
    return found, False


async def identify(share: Folder) -> Identity:
    """Read a share's identity.

    Raises:
        FileNotFoundError: the folder has none.
        ShareError: it has one that can't be read.
    """
    try:
        internal = share.sub(INTERNAL_FOLDER)
    except ShareError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise FileNotFoundError(INTERNAL_FOLDER) from None
        raise
    try:
        content = await internal.read(_FILE, _LIMIT)
        found = json.loads(content)
        return Identity(str(found["id"]), Role(found["home"]), str(found.get("created")))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ShareError(
            f"{share.label}/{INTERNAL_FOLDER}/{_FILE}: not a share's identity ({error})"
        ) from error
    finally:
        if isinstance(internal, PosixFolder):
            internal.close()


async def verify(share: Folder, name: ShareName, home: Role, pins: Folder) -> Identity:
    """Check that `share` is the one that was pinned at first contact; pin it if this is the first.

    `pins` is a private folder on this host; the pin is its file `<name>.share`.

    Raises:
        ShareError: no identity, another home, or another share than the pinned one.
    """
    try:
        found = await identify(share)
    except FileNotFoundError:
        raise ShareError(
            f"{share.label}: not a share (no {INTERNAL_FOLDER}/{_FILE}); if it is mounted from the "
            f"other host, is the mount there? Else run: roundtrip init --role {home.value}"
        ) from None
    if found.home is not home:
        raise ShareError(
            f"{share.label}: this share's home is role {found.home.value}, but {name} lives with "
            f"role {home.value}: are unenriched and enriched swapped?"
        )
    pin = f"{name}.share"
    try:
        pinned = (await pins.read(pin, _LIMIT)).decode()
    except FileNotFoundError:
        await pins.replace(pin, found.id.encode())
        return found
    if pinned != found.id:
        raise ShareError(
            f"{share.label}: this is share {found.id}, but {pinned} was before; another mount? "
            f"If the change is meant, remove {pins.label}/{pin}"
        )
    return found
