"""Host A's failed originals, as a command reads them and acts on them.

    failed/orders.csv, failed/orders.csv.problem.json
        retry:  state/tickets/N.json   written
                failed/orders.csv      renamed to state/submit/N, where the agent takes it in
                the problem document   removed

A kill between any two lines leaves the original in failed/ or in submit/, and in one of them only.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any

from roundtrip.errors import InputError
from roundtrip.places import Places
from roundtrip.protocol.names import Namer, is_internal, ulid_of
from roundtrip.roles import ticket as tickets
from roundtrip.roles.desk import NAME_MAX, PROBLEM_SUFFIX, free_names
from roundtrip.roles.ticket import Ticket, is_file_name
from roundtrip.shares.port import Listed, NotAFile
from roundtrip.shares.posix import PosixFolder
from roundtrip.shelves.item import LIMIT, Item, exchange_in, label_for, text_in


class FailedShelf:
    """The failed originals. Implements `ShelfOfItems`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._namer = Namer()
        self.folder = str(places.failed)

    async def items(self) -> list[Item]:
        """See `ShelfOfItems`; a problem document without its original is an item, too."""
        with closing(PosixFolder(self._places.failed)) as folder:
            there = {file.name: file for file in folder.scan() if not is_internal(file.name)}
            documents = {
                name: await _read(folder, name) for name in there if name.endswith(PROBLEM_SUFFIX)
            }
        found = [
            _item(there, name, document, there.keys() - documents.keys())
            for name, document in documents.items()
        ]
        paired = {file for item in found for file in item.files}
        found += [_bare(file) for name, file in there.items() if name not in paired]
        return sorted(found, key=lambda item: (item.time, item.label))

    async def retry(self, item: Item) -> str:
        """See `ShelfOfItems`: the original is handed in again, as a new exchange."""
        original, *document = item.files if _has_original(item) else ("", *item.files)
        if not original:
            raise InputError(
                f"{item.label}: its original is not in {self.folder} any more: it was retried "
                "already, or somebody took it; drop removes the problem document"
            )
        name = _original_name(item, original)
        pipeline = _request_of(item).get("pipeline")
        exchange = self._namer(name)
        # With `reply`, as `send` does it: cleaning leaves the ticket alone until the original is in
        # submit/, and whoever waits for the new exchange is told.
        ticket = Ticket(name, pipeline if isinstance(pipeline, str) else None, reply=True)
        await self._hand_in(original, exchange, ticket)
        with closing(PosixFolder(self._places.failed)) as failed:
            for file in document:
                await failed.remove(file)
        return f"sent again as {exchange}"

    async def _hand_in(self, original: str, exchange: str, ticket: Ticket) -> None:
        with ExitStack() as stack:
            places = self._places
            failed, submit, notes = (
                stack.enter_context(closing(PosixFolder(path)))
                for path in (places.failed, places.submit, places.tickets)
            )
            file = tickets.file_of(exchange)
            await notes.put(file, ticket.encode(), durable=True)
            try:
                await failed.move(original, submit, exchange, durable=True)
            except BaseException as error:
                if await submit.stat(exchange) is None:
                    await notes.remove(file)
                if isinstance(error, FileNotFoundError):
                    raise InputError(f"{exchange}: its original has just gone") from None
                raise

    async def drop(self, item: Item, *, file: bool) -> str:
        """See `ShelfOfItems`: the pair goes; the document last, as it says what it was."""
        with closing(PosixFolder(self._places.failed)) as folder:
            for name in item.files:
                await folder.remove(name)
        return "dropped"


async def _read(folder: PosixFolder, name: str) -> dict[str, Any]:
    """A problem document; empty for what is none."""
    try:
        found = json.loads(await folder.read(name, LIMIT))
    except (FileNotFoundError, NotAFile, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _item(
    there: dict[str, Listed], name: str, document: dict[str, Any], originals: set[str]
) -> Item:
    exchange = exchange_in(document.get("instance"))
    original = _original_of(name, document, exchange, originals)
    about = original or name.removesuffix(PROBLEM_SUFFIX)
    return Item(
        label=label_for(exchange, about),
        name=about,
        kind=text_in(document.get("type"), "unknown"),
        reason=": ".join(
            filter(None, (text_in(document.get("title")), text_in(document.get("detail"))))
        ),
        time=there[name].changed / 1e9,
        files=(original, name) if original else (name,),
        exchange=exchange,
        document=document,
    )


def _original_of(
    name: str, document: dict[str, Any], exchange: str | None, originals: set[str]
) -> str | None:
    """The original that a document is about: it has its name, unless that would be too long."""
    beside = name.removesuffix(PROBLEM_SUFFIX)
    if beside in originals:
        return beside
    request = document.get("request")
    wanted = request.get("original_name") if isinstance(request, dict) else None
    if exchange is None or not _is_name(wanted):
        return None
    candidates = islice(free_names(str(wanted), exchange), 3)
    alone = (each for each in candidates if len(os.fsencode(each + PROBLEM_SUFFIX)) > NAME_MAX)
    return next((each for each in alone if each in originals), None)


def _bare(file: Listed) -> Item:
    """An original whose document has gone, or is still on its way."""
    reason = "no problem document beside it"
    label = label_for(None, file.name)
    return Item(label, file.name, "unknown", reason, file.placed / 1e9, (file.name,))


def _has_original(item: Item) -> bool:
    return not item.files[0].endswith(PROBLEM_SUFFIX)


def _request_of(item: Item) -> dict[str, Any]:
    found = item.document.get("request")
    return found if isinstance(found, dict) else {}


def _original_name(item: Item, file: str) -> str:
    """What the original was called before it came into failed/, where names may be taken."""
    told = _request_of(item).get("original_name")
    if _is_name(told):
        return str(told)
    ulid = ulid_of(item.exchange or "")
    return file.replace(f".{ulid}", "", 1) if ulid else file


def _is_name(value: object) -> bool:
    """Whether a document's word can name one file: never trust it to be part of a path."""
    usable = isinstance(value, str) and is_file_name(value)
    return usable and len(os.fsencode(str(value))) <= NAME_MAX
