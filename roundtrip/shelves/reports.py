"""Host B's reports, as a command reads them and acts on them."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing

from roundtrip.errors import InputError
from roundtrip.places import Places
from roundtrip.protocol.names import MARKER_SUFFIX, is_internal, marker_of, split
from roundtrip.roles.quarantine import SUFFIX, label_of
from roundtrip.roles.side import is_strange
from roundtrip.roles.wishes import wish
from roundtrip.shares.lock import holder_of
from roundtrip.shares.port import NotAFile
from roundtrip.shares.posix import PosixFolder
from roundtrip.shelves.item import LIMIT, Item, exchange_in, text_in


class ReportShelf:
    """The reports in quarantine/. Implements `ShelfOfItems`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.folder = str(places.quarantine)

    async def items(self) -> list[Item]:
        """See `ShelfOfItems`."""
        with closing(PosixFolder(self._places.quarantine)) as folder:
            names = [name for name in await folder.names() if name.endswith(SUFFIX)]
            found = [await _item(folder, name) for name in names if not is_internal(name)]
        return sorted((item for item in found if item), key=lambda item: (item.time, item.label))

    async def retry(self, item: Item) -> str:
        """See `ShelfOfItems`: the agent forgets what it judged, and looks at the names again."""
        _check(item)
        self._places.retries.mkdir(mode=0o700, exist_ok=True)
        with closing(PosixFolder(self._places.retries)) as folder:
            file = await wish(folder, item.name)
        if holder_of(self._places.lock) is None:
            return "noted; the agent does it when it starts, none runs now"
        return "waiting" if (self._places.retries / file).exists() else "looked at afresh"

    def is_waiting(self, item: Item) -> bool:
        """Whether the agent has not fulfilled a wish to retry yet."""
        return (self._places.retries / (label_of(item.name) + SUFFIX)).exists()

    async def drop(self, item: Item, *, file: bool) -> str:
        """See `ShelfOfItems`.

        What B itself has of the exchange goes by the protocol, once the request is gone.
        """
        _check(item)
        with ExitStack() as stack:
            unenriched = stack.enter_context(closing(PosixFolder(self._places.unenriched)))
            reports = stack.enter_context(closing(PosixFolder(self._places.quarantine)))
            marker, payload = _request(item.name)
            asks = await unenriched.stat(marker) is not None
            if asks and not file:
                raise InputError(
                    f"{item.label}: its request still lies in {unenriched.label} and belongs to "
                    "host A, so the report would come back; remove the request on host A, or have "
                    "it removed here: drop --file"
                )
            if asks:  # The marker first: a payload alone asks for nothing.
                await unenriched.remove(marker)
                if payload is not None:
                    await unenriched.remove(payload)
            for name in item.files:
                await reports.remove(name)
        return "dropped, with its request" if asks else "dropped"


async def _item(folder: PosixFolder, file: str) -> Item | None:
    try:
        entry = await folder.stat(file)
        content = await folder.read(file, LIMIT)
    except FileNotFoundError:
        return None  # It went meanwhile.
    except NotAFile:
        return None
    label = file.removesuffix(SUFFIX)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        document = {"reason": "this file is no report"}
    name = document.get("name")
    if not isinstance(name, str) or label_of(name) != label:
        name = label  # Not written by an agent: nothing but the file's own name can be trusted.
    return Item(
        label=label_of(label),
        name=name,
        kind=text_in(document.get("kind"), "unknown"),
        reason=text_in(document.get("reason")),
        time=entry.changed / 1e9 if entry else 0.0,
        files=(file,),
        exchange=exchange_in(name),
        document=document,
    )


def _check(item: Item) -> None:
    """Let only those names pass that B's agent can have reported: parts of no path."""
    if {"/", "\0"} & set(item.name) or not (item.exchange or is_strange(item.name)):
        raise InputError(f"{item.label}: not a report of an agent; remove the file by hand")


def _request(name: str) -> tuple[str, str | None]:
    """The requester's marker and payload; no payload that is a part of another exchange."""
    if not is_strange(name):
        return marker_of(name), name
    payload = name.removesuffix(MARKER_SUFFIX)
    return name, payload if split(payload) is None else None
