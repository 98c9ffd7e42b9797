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

import asyncio
import errno
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from roundtrip.roles.health import Health, Severity
from roundtrip.roles.telling import Telling
from roundtrip.shares.port import SharedFolder, Space

_BLOCK = 4096  # bytes; what most file systems give a file at least
_LITTLE = 64 * 1024  # bytes; where not even so much finds room, nothing new is begun
_FRESH = 1.0  # seconds that a disk's answer is believed, less what was written since
_SHARE = 16  # the part of what lies above the reserve that may be written before asking again
_LOOK = 3.0  # seconds between two looks while somebody waits
_SOON = 0.2  # seconds from one look to the next where something was removed
_LONGEST = 60.0  # seconds between two tries where writing is refused
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNTOLD = frozenset({errno.ENOSYS, errno.EOPNOTSUPP})  # from SFTP servers without statvfs
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Parked(Exception):
    """What was to be done waits; whoever raised this wakes it again."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that a disk or a quota is used up."""
    return isinstance(error, OSError) and error.errno in _FULL


def need_of(size: int) -> int:
    """Bytes of disk that a file of `size` bytes takes, with its marker and the names of both."""
    return -(-size // _BLOCK) * _BLOCK + 2 * _BLOCK


def in_words(size: int) -> str:
    """A number of bytes for people."""
    if size < 1024:
        return f"{size} bytes"
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}"


class Waiting(NamedTuple):
    """Who waits for room: for `need` bytes, of which `floor` more must stay free."""

    need: int
    floor: int
    wake: Callable[[str], None]


_NOBODY = Waiting(2**63, 2**63, lambda name: None)


def _level(waiting: Waiting) -> int:
    return waiting.need + waiting.floor


def fitting(waiting: Mapping[str, Waiting], free: int) -> list[str]:
    """Those that fit one after the other into `free` bytes, in the order of their names.

    One that doesn't fit is passed over: it would hold up all others for as long as the disk is too
    small for it, which may be for ever.
    """
    found = []
    for name in sorted(waiting):
        if _level(waiting[name]) <= free:
            found.append(name)
            free -= waiting[name].need
    return found


@dataclass(frozen=True, slots=True)
class Disk:
    """What messages say of a disk: its `key` among the conditions, and what `waits` for room."""

    key: str
    waits: str


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
        self.disk = disk
        self.on_room: Callable[[], None] = lambda: None
        self._folder = folder
        self._reserve = reserve
        self._telling = Telling(health, f"space.{disk.key}", Severity.ALARM, self._text, clock)
        self._wake = wake
        self._clock = clock
        self._waiting: dict[str, Waiting] = {}
        self._modest: Waiting | None = None
        self._called: set[str] = set()
        self._space = Space(0, 0)
        self._measured = -_FRESH
        self._written = 0  # bytes, since the disk was asked
        self._claimed = 0  # bytes that are being written
        self._below = False
        self._refusal: OSError | None = None
        self._pause = _LOOK
        self._looked = -_LOOK
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def condition(self) -> str | None:
        """The key of what is told of this disk, if anything is."""
        return self._telling.key if self._telling.holds else None

    def holds(self, name: str) -> bool:
        """Whether `name` waits for room."""
        return name in self._waiting

    @property
    def is_short(self) -> bool:
        """Whether not even something small finds room: there's no use in asking."""
        return self._refusal is not None or self._least().need <= need_of(_LITTLE)

    def _least(self) -> Waiting:
        """Who waits for the least; known without looking at thousands each time."""
        if self._modest is None:
            self._modest = min(self._waiting.values(), key=_level, default=_NOBODY)
        return self._modest

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
        if not was_called and self._is_behind(wish):
            self._park(name, wish)
            raise Parked
        if not await self._fits(_level(wish)):
            self._park(name, wish)
            raise Parked
        if name in self._waiting:
            self._drop(name)

    def _is_behind(self, wish: Waiting) -> bool:
        """Whether somebody waits who needs no more than this: the disk need not be asked."""
        if self._refusal is not None:
            return True
        return _level(self._least()) <= _level(wish)

    async def _fits(self, level: int) -> bool:
        if not (self._is_known() and self._is_above(level)):
            await self._measure()
        return self._is_above(level)

    def _is_known(self) -> bool:
        """Whether the disk's last answer is still good.

        Others write there as well, as fast as we do for all we know: so the nearer the reserve is,
        the less may be written on the strength of one answer.
        """
        margin = (self._space.free - self._reserve) // _SHARE
        is_fresh = self._clock() - self._measured < _FRESH
        return is_fresh and (self._written + self._claimed <= margin or self._space.total == 0)

    async def _measure(self) -> None:
        self._written = 0  # What is written while we ask may count twice: that errs safely.
        try:
            self._space = await self._folder.space()
        except OSError as error:
            if error.errno not in _UNTOLD:
                raise
            self._space = Space(0, 0)
        self._measured = self._clock()

    def _free(self) -> int:
        return self._space.free - self._written - self._claimed

    def _is_above(self, level: int) -> bool:
        # FUSE file systems without statfs report a size of 0: then only writing can tell.
        return self._space.total == 0 or self._free() >= level

    def begin(self, wish: Waiting) -> None:
        """The writing begins."""
        self._claimed += wish.need

    def end(self, name: str, wish: Waiting, error: BaseException | None) -> None:
        """The writing has ended.

        Raises:
            Parked: for lack of room.
        """
        self._claimed -= wish.need
        if isinstance(error, OSError) and is_full(error):
            self._refused(name, wish, error)
            raise Parked from error
        if error is None:
            self._written += wish.need
            self.succeeded()

    def refused(
        self, name: str, error: OSError, *, wake: Callable[[str], None] | None = None
    ) -> None:
        """Something small couldn't be written; `name` is woken later, as by `ask`."""
        self._refused(name, self._wish(0, finishing=True, wake=wake or self._wake), error)

    def _refused(self, name: str, wish: Waiting, error: OSError) -> None:
        is_first, self._refusal = self._refusal is None, error
        self._measured = -_FRESH
        if is_first:
            self._look_in(_SOON)  # What the disk says now is told then.
        self._park(name, wish)

    def succeeded(self) -> None:
        """Something was written: where that was refused before, two more may try."""
        if self._refusal is None:
            return
        self._pause = _LOOK
        self._call(sorted(self._waiting)[:2])
        if not self._waiting:
            self._refusal = None
        self._tell()

    def _park(self, name: str, wish: Waiting) -> None:
        self._drop(name)
        self._waiting[name] = wish
        if _level(wish) < _level(self._least()):
            self._modest = wish
        if self._refusal is None or self._telling.holds:
            self._tell()
        self._look_in(self._pause)

    def leave(self, name: str) -> None:
        """`name` waits no more."""
        if self._drop(name):
            self._tell()

    def _drop(self, name: str) -> Waiting | None:
        left = self._waiting.pop(name, None)
        if left is not None and left is self._modest:
            self._modest = None
        return left

    def stir(self) -> None:
        """Something was removed from this disk: look soon, if anybody waits."""
        if self._waiting:
            pause = _SOON if self._refusal is None else 1.0
            self._look_in(max(self._looked + pause - self._clock(), 0.0))

    async def check(self) -> None:
        """Ask the disk, so that a low one is told of before anybody needs it.

        Raises:
            OSError: the folder's file system can't be asked now.
        """
        await self._measure()
        self._see()

    def _see(self) -> None:
        self._below = not self._is_above(self._reserve)
        self._tell()
        if self._below:
            self._look_in(_LOOK)

    def _look_in(self, seconds: float) -> None:
        """Look in so many seconds, or earlier if that is planned."""
        if self._task is not None:
            return  # It plans the next look itself.
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        self._looked = self._clock()
        self._called.clear()
        try:
            await self._look_now()
        except OSError:
            self._measured = -_FRESH  # A share that is away, say: its own care tells of that.
        finally:
            self._task = None
        if self._waiting or self._below or self._refusal is not None:
            self._look_in(self._pause)

    async def _look_now(self) -> None:
        await self._measure()
        free = self._free() if self._space.total else 2**63
        fit = fitting(self._waiting, free)
        if not fit:  # Nobody waits, or the figures say as well that there is no room.
            self._refusal = None
        if self._refusal is None:
            self._pause = _LOOK
        else:
            self._pause = min(self._pause * 2, _LONGEST)
            fit = fit[:1]
        self._call(fit)
        self._see()

    def _call(self, names: list[str]) -> None:
        self._called.update(names)
        for name in names:
            if waiting := self._drop(name):
                waiting.wake(name)

    def _tell(self) -> None:
        is_low = self._below or self._refusal is not None
        self._telling.update(holds=is_low or bool(self._waiting))
        if not self.is_short:
            self.on_room()

    def _text(self) -> str:
        free = f"{in_words(max(self._space.free, 0))} of {in_words(self._space.total)} free"
        if self._refusal is not None:
            why = self._refusal.strerror or os.strerror(self._refusal.errno or 0)
            what = f"writing is refused ({why}), {free}; look at the quota and at the inodes"
        else:
            what = f"{free}, and limits.reserve keeps {in_words(self._reserve)}; make room there"
        return (
            f"{self._folder.label}: {what}. What waits: {self.disk.waits}; nothing is lost, and "
            "it goes on by itself"
        )

    def stop(self) -> None:
        """Look no more."""
        self._telling.stop()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


class Rooms:
    """What B needs: room on the `away` disk, where A finds the answers, and on its own, `home`."""

    def __init__(self, *, away: Room, home: Room) -> None:
        self.away = away
        self.home = home

    @classmethod
    def unlimited(cls, *, away: SharedFolder, home: SharedFolder) -> Rooms:
        """No reserve: what doesn't fit still waits."""
        health = Health()
        return cls(
            away=Room(Disk("enriched", ""), away, 0, health),
            home=Room(Disk("state", ""), home, 0, health),
        )

    def on_room(self, call: Callable[[], None]) -> None:
        """Call back whenever there may be room for something new."""
        self.away.on_room = self.home.on_room = call

    @property
    def are_short(self) -> bool:
        """Whether there is no room for anything new."""
        return self.away.is_short or self.home.is_short

    def hold(self, name: str) -> bool:
        """Whether `name` waits for room."""
        return self.away.holds(name) or self.home.holds(name)

    def conditions(self) -> list[str]:
        """The keys of what is told of the two."""
        return [each.condition for each in (self.away, self.home) if each.condition]

    async def check(self) -> None:
        """See `Room.check`."""
        await self.home.check()
        await self.away.check()

    def leave(self, name: str) -> None:
        """`name` waits no more."""
        self.away.leave(name)
        self.home.leave(name)

    def stop(self) -> None:
        """Look no more."""
        self.away.stop()
        self.home.stop()


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
