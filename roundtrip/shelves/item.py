"""One thing that somebody should look at, and how it is found by what a user types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from roundtrip.errors import InputError
from roundtrip.protocol.names import is_exchange
from roundtrip.protocol.problem import TYPE_PREFIX
from roundtrip.roles.quarantine import label_of

LIMIT = 256 * 1024  # bytes of a document that are read; agents write less


@dataclass(frozen=True, slots=True)
class Item:
    """A report, or a failed original with its problem document.

    `label` is one word that is safe everywhere, and stands for the item in commands. Everything
    else may be hostile: `name` is what it is about, `files` are names in the folder.
    """

    label: str
    name: str
    kind: str
    reason: str
    time: float  # Unix time
    files: tuple[str, ...]
    exchange: str | None = None
    document: dict[str, Any] = field(default_factory=dict)


class ShelfOfItems(Protocol):
    """A folder of items, and what can be done with one."""

    folder: str
    """Its path."""

    async def items(self) -> list[Item]:
        """All items, the oldest first."""

    async def retry(self, item: Item) -> str:
        """Give it another try; returns what was done, in words.

        Raises:
            InputError: that can't be done with this item.
        """

    async def drop(self, item: Item, *, file: bool) -> str:
        """Remove it; `file` says that a requester's own files may go, too. Returns what was done.

        Raises:
            InputError: that can't be done with this item.
        """


def label_for(exchange: str | None, name: str) -> str:
    """The label of an item: its exchange, or a word made of the name."""
    return exchange if exchange is not None else label_of(name)


def exchange_in(value: object) -> str | None:
    """An exchange's name as a document tells it; None for anything else."""
    return value if isinstance(value, str) and is_exchange(value) else None


def text_in(value: object, otherwise: str = "") -> str:
    """A text as a document tells it."""
    return value.removeprefix(TYPE_PREFIX) if isinstance(value, str) else otherwise


def chosen(items: Iterable[Item], wanted: str) -> Item:
    """The item that a user means: by label, name or file, or by how exactly one of them begins.

    Raises:
        InputError: there is none, or more than one.
    """
    there = list(items)
    exact = [item for item in there if wanted in _words(item)]
    found = exact or [item for item in there if any(w.startswith(wanted) for w in _words(item))]
    if len(found) == 1 and wanted:
        return found[0]
    if not found or not wanted:
        raise InputError(f"{wanted!a}: nothing of this name here; see: roundtrip quarantine list")
    few = ", ".join(item.label for item in found[:3])
    more = ", ..." if len(found) > 3 else ""
    raise InputError(f"{wanted!a} may be any of {len(found)}: {few}{more}")


def _words(item: Item) -> set[str]:
    return {item.label, item.name, *item.files}
