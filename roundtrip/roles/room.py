"""Room on one disk: whether what is to be written fits, and who waits until it does.

    claim --above the reserve?--> write --> counted until the disk is asked again
      | no                          | ENOSPC or EDQUOT although it seemed to fit
      v                             v
    parked <------------------------+
      +--a look every few seconds, and soon after something was removed--> those that fit are woken

Quotas and inodes don't show in statvfs(3). So when writing is refused against all figures, nobody
writes for a while; then one tries, and each success lets the next two try.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from roundtrip.roles.gauge import Gauge
from roundtrip.roles.health import Health, Severity
from roundtrip.roles.line import Line, Parked, Waiting
from roundtrip.roles.looks import Looks
from roundtrip.roles.space import Disk, is_full, need_of
from roundtrip.roles.telling import Telling
from roundtrip.shares.port import SharedFolder

_LITTLE = 64 * 1024  # bytes; where not even so much finds room, nothing new is begun
_LOOK = 3.0  # seconds between two looks while somebody waits
_SOON = 0.2  # seconds from one look to the next where something was removed
_LONGEST = 60.0  # seconds between two tries where writing is refused


class Room:
    """The room on the disk that holds one folder; `reserve` bytes of it stay free.

    Who finishes what others have begun, so that these can remove their files, may use half of the
    reserve: two hosts that both stopped at the same level would wait for each other for ever.
    """

    def __init__(
        self,
        disk: Disk,
        folder: SharedFolder,
        reserve: int,
        health: Health,
        wake: Callable[[str], None] = lambda name: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self._disk = disk
        self._label = folder.label
        self._reserve = reserve
        self._wake = wake
        self._clock = clock
        self._gauge = Gauge(folder, reserve, clock)
        self._telling = Telling(health, f"space.{disk.key}", Severity.ALARM, self._text, clock)
        self._looks = Looks(self._look)
        self._line = Line()
        # Woken, so before those that still wait: also if another disk has made them wait meanwhile.
        self._called: set[str] = set()
        self._is_low = False
        self._refusal: OSError | None = None
        self._pause = _LOOK
        self._looked = -_LOOK

    @property
    def condition(self) -> str | None:
        """The key of what is told of this disk, if anything is."""
        return self._telling.key if self._telling.holds else None

    def holds(self, name: str) -> bool:
        """Whether `name` waits for room."""
        return name in self._line

    @property
    def is_short(self) -> bool:
        """Whether not even something small finds room: there's no use in asking."""
        return self._refusal is not None or self._line.least.need <= need_of(_LITTLE)

    def claim(self, name: str, size: int, *, finishing: bool = False) -> Claim:
        """Room for a file of `size` bytes while the body of a `with` writes it.

        Raises:
            Parked: there is none, or writing was refused; `name` is woken later.
        """
        return Claim(self, name, self._wish(size, finishing, self._wake))

    async def ask(
        self,
        name: str,
        size: int,
        *,
        finishing: bool = False,
        claims: bool = False,
        wake: Callable[[str], None] | None = None,
    ) -> None:
        """See whether a file of `size` bytes would fit now; `claims` if a `claim` is to follow.

        Raises:
            Parked: it doesn't; `name` is woken later, by `wake` if that is given.
        """
        was_called = name in self._called
        await self.admit(name, self._wish(size, finishing, wake or self._wake))
        if was_called and claims:
            self._called.add(name)  # Else its own claim would find it behind those that wait.

    def _wish(self, size: int, finishing: bool, wake: Callable[[str], None]) -> Waiting:
        return Waiting(need_of(size), self._reserve // 2 if finishing else self._reserve, wake)

    async def admit(self, name: str, wish: Waiting) -> None:
        """See `ask`."""
        was_called = name in self._called
        self._called.discard(name)
        is_behind = self._is_behind(wish) and not was_called
        if is_behind or not await self._gauge.has(wish.level):
            self._park(name, wish)
            raise Parked
        self._line.drop(name)

    def _is_behind(self, wish: Waiting) -> bool:
        """Whether somebody waits who needs no more than this: the disk need not be asked."""
        return self._refusal is not None or self._line.least.level <= wish.level

    def begin(self, wish: Waiting) -> None:
        """The writing begins."""
        self._gauge.begin(wish.need)

    def end(self, name: str, wish: Waiting, error: BaseException | None) -> None:
        """The writing has ended.

        Raises:
            Parked: for lack of room.
        """
        self._gauge.end(wish.need, is_written=error is None)
        if isinstance(error, OSError) and is_full(error):
            self._refused(name, wish, error)
            raise Parked from error
        if error is None:
            self.succeeded()

    def refused(
        self, name: str, error: OSError, *, wake: Callable[[str], None] | None = None
    ) -> None:
        """Something small couldn't be written; `name` is woken later, as by `ask`."""
        self._refused(name, self._wish(0, finishing=True, wake=wake or self._wake), error)

    def _refused(self, name: str, wish: Waiting, error: OSError) -> None:
        is_first, self._refusal = self._refusal is None, error
        self._gauge.forget()
        if is_first:
            self._looks.within(_SOON)  # What the disk says now is told then.
        self._park(name, wish)

    def succeeded(self) -> None:
        """Something was written: where that was refused before, two more may try."""
        if self._refusal is None:
            return
        self._pause = _LOOK
        self._call(heapq.nsmallest(2, self._line))
        if not self._line:
            self._refusal = None
        self._tell()

    def _park(self, name: str, wish: Waiting) -> None:
        self._line.add(name, wish)
        if self._refusal is None or self._telling.holds:
            self._tell()
        self._looks.within(self._pause)

    def leave(self, name: str) -> None:
        """`name` waits no more."""
        self._called.discard(name)
        if self._line.drop(name):
            self._tell()

    def stir(self) -> None:
        """Something was removed from this disk: look soon, if anybody waits."""
        if self._line:
            pause = _SOON if self._refusal is None else 1.0
            self._looks.within(max(self._looked + pause - self._clock(), 0.0))

    async def check(self) -> None:
        """Ask the disk, so that a low one is told of before anybody needs it.

        Raises:
            OSError: the folder's file system can't be asked now.
        """
        await self._gauge.measure()
        self._see()
        if self._is_low:
            self._looks.within(_LOOK)

    def _see(self) -> None:
        self._is_low = self._gauge.free < self._reserve
        self._tell()

    async def _look(self) -> float | None:
        """Call those that fit now; returns the seconds until the next look, if there is one."""
        self._looked = self._clock()
        try:
            await self._gauge.measure()
        except OSError:
            self._gauge.forget()  # A share that is away, say: its own care tells of that.
        else:
            self._call(self._due())
            self._see()
        return self._pause if self._line or self._is_low or self._refusal is not None else None

    def _due(self) -> list[str]:
        """Whose turn it is, by what the disk has just said."""
        fit = self._line.fitting(self._gauge.free)
        if not fit:  # Nobody waits, or the figures say as well that there is no room.
            self._refusal = None
        self._pause = _LOOK if self._refusal is None else min(self._pause * 2, _LONGEST)
        return fit if self._refusal is None else fit[:1]

    def _call(self, names: Iterable[str]) -> None:
        for name in names:
            self._called.add(name)
            if waiting := self._line.drop(name):
                waiting.wake(name)

    def _tell(self) -> None:
        is_refused = self._refusal is not None
        self._telling.update(holds=self._is_low or is_refused or bool(self._line))
        if not self.is_short:
            self.on_room()

    def _text(self) -> str:
        return self._disk.text(self._label, self._gauge.said, self._reserve, self._refusal)

    def stop(self) -> None:
        """Look no more."""
        self._telling.stop()
        self._looks.stop()


class Claim:
    """A file being written: see `Room.claim`."""

    __slots__ = ("_name", "_room", "_wish")

    def __init__(self, room: Room, name: str, wish: Waiting) -> None:
        self._room = room
        self._name = name
        self._wish = wish

    async def __aenter__(self) -> None:
        await self._room.admit(self._name, self._wish)
        self._room.begin(self._wish)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._room.end(self._name, self._wish, error)
