"""In-flight files whose writer was killed: found by their names, and removed."""

from __future__ import annotations

import time

from roundtrip.protocol.names import is_part
from roundtrip.shares.port import SharedFolder


async def sweep_parts(
    folder: SharedFolder, *, older_than: float = 0.0, of: str | None = None
) -> int:
    """Remove in-flight files that were last written `older_than` seconds ago; returns how many.

    With `of`, only those that were to become the file of this name.
    With 0, the caller must know that nobody writes there now. Otherwise the folder must be on this
    host's own disk, since its times are compared with this host's clock.
    """
    oldest = (time.time() - older_than) * 1e9
    removed = 0
    for name in await folder.names():
        if not is_part(name) or not name.startswith(f".{of or ''}"):
            continue
        entry = await folder.stat(name)
        if entry is not None and (not older_than or entry.changed < oldest):
            removed += await folder.remove(name)
    return removed
