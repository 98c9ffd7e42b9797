"""What may go from a folder that keeps the past: a pure decision about what a listing found.

    Listed --arranged--> Group --the oldest of them--> overdue --> what goes, oldest first

Files of one group go together: a failed original and its problem document.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, heappushpop
from typing import NamedTuple, Protocol, TypeVar

from roundtrip.protocol.names import created_of, is_exchange, is_internal
from roundtrip.roles.desk import PROBLEM_SUFFIX
from roundtrip.shares.port import Listed

FRESH = 60.0
"""Seconds for which a file is left alone whatever the bounds: its pair may follow."""
MOST = 20_000
"""Groups that are considered at once, the oldest; it bounds the memory, however many there are."""
_REPORT_SUFFIX = ".json"
_NANO = 1e9

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of the past is kept: `keep` in seconds, `size` in bytes; None: any."""

    keep: float | None = None
    size: int | None = None

    def __bool__(self) -> bool:
        """Whether there is a bound at all."""
        return self.keep is not None or self.size is not None


class Group(NamedTuple):
    """Files that go together, the last one last; `since` when they came, in seconds since 1970."""

    since: float
    files: tuple[Listed, ...]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


class Stock(NamedTuple):
    """What a folder holds: bytes in all, and of the groups that may go the oldest, in order."""

    size: int
    oldest: list[Group]


Arrange = Callable[[Iterable[Listed]], Iterator[Group]]
"""Makes groups of the files that a folder keeps; other files in it are left out, and so left."""


class Pace(Protocol):
    """Hands items on, and lets others have their turn after every few."""

    def __call__(self, items: Iterable[T], /) -> Iterator[T]:
        """The items, one after the other."""


def at_once(items: Iterable[T]) -> Iterator[T]:
    """No pace at all."""
    return iter(items)


def originals(files: Iterable[Listed]) -> Iterator[Group]:
    """Groups of the archive: one for each exchange, as old as its name says.

    Another program's name says nothing; such a file is as old as its place in the archive.
    """
    for file in files:
        if is_exchange(file.name):
            created = created_of(file.name)
            yield Group(file.placed / _NANO if created is None else created, (file,))


def failures(files: Iterable[Listed]) -> Iterator[Group]:
    """Groups of failed/: an original with its problem document, as old as the document.

    An original's own time is its producer's, and may be years back. One without a document is as
    old as its place in the folder.
    """
    pairs: dict[str, list[Listed]] = {}
    for file in files:
        if not is_internal(file.name):
            pairs.setdefault(file.name.removesuffix(PROBLEM_SUFFIX), []).append(file)
    for pair in pairs.values():
        pair.sort(key=_is_document)  # Last to go: it says what the original was.
        last = pair[-1]
        since = last.changed if _is_document(last) else last.placed
        yield Group(since / _NANO, tuple(pair))


def _is_document(file: Listed) -> bool:
    return file.name.endswith(PROBLEM_SUFFIX)


def records(files: Iterable[Listed]) -> Iterator[Group]:
    """Groups of small files that agents write: reports, outcomes. As old as their content."""
    for file in files:
        if file.name.endswith(_REPORT_SUFFIX) and not is_internal(file.name):
            yield Group(file.changed / _NANO, (file,))


def stock(
    files: Iterable[Listed], arrange: Arrange, needed: Container[str], pace: Pace = at_once
) -> Stock:
    """Sum up a listing; `needed` are names (of reports: without `.json`) that must stay."""
    size = 0
    heap: list[tuple[float, int, Group]] = []  # the youngest on top
    for number, group in enumerate(pace(arrange(pace(files)))):
        size += group.size
        if any(_is_needed(file.name, needed) for file in group.files):
            continue
        item = (-group.since, -number, group)
        if len(heap) < MOST:
            heappush(heap, item)
        else:
            heappushpop(heap, item)
    # One by one: a sort of them all would hold the interpreter, and so the event loop, for 50 ms.
    oldest = [heappop(heap)[2] for _ in pace(range(len(heap)))]
    oldest.reverse()
    return Stock(size, oldest)


def _is_needed(name: str, needed: Container[str]) -> bool:
    return name in needed or name.removesuffix(_REPORT_SUFFIX) in needed


def overdue(found: Stock, bounds: Bounds, now: float) -> Iterator[Group]:
    """What goes, oldest first: what is too old, then what is too much."""
    left = found.size
    for group in found.oldest:
        age = now - group.since
        too_old = bounds.keep is not None and age > bounds.keep
        too_much = bounds.size is not None and left > bounds.size
        if not (too_old or too_much):
            return
        # A time in the future, from before the clock was set right, makes no file fresh for ever.
        if not 0 <= age < FRESH:
            yield group
            left -= group.size
