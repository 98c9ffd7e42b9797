"""A folder that fails as folders on networks and disks do: it wraps any other one.

    role --call--> FaultyFolder --fate from the Weather--> the wrapped folder, now, later or never
                        '--View--> what this host's kernel believes of it

Whoever uses it needs no knowledge of faults, and the wrapped folder needs none either.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import BinaryIO, Protocol, TypeVar

from roundtrip.protocol.markers import Digest
from roundtrip.protocol.names import part_of
from roundtrip.shares.port import Entry, Folder, Listed, Payload, Space
from roundtrip.shares.verdicts import Operation, during, of_share
from roundtrip.testing.view import View
from roundtrip.testing.weather import FILLING, Access, Fate, Weather, failure

T = TypeVar("T")

_OPERATIONS = {"put": Operation.RENAME, "write": Operation.WRITE, "remove": Operation.UNLINK}
_SHARE_TIMEOUT = 10.0  # seconds until a call on a mount that hangs is given up


class Life(Protocol):
    """The process that makes the calls: it may die in any of them."""

    is_dead: bool

    def die(self, *, power: bool) -> None:
        """End at once; with `power`, together with the host."""


class Watcher(Protocol):
    """Who is told what really happens to the folders."""

    def trace(self, life: Life, verb: str, place: str, fate: str) -> None:
        """An operation begins, or ends otherwise than it should."""

    async def changed(self, label: str, verb: str, name: str, *, durable: bool) -> None:
        """A change has taken effect, whether its caller has heard of it or not."""

    def moved(self, label: str, name: str, to: str, new_name: str) -> None:
        """A file has another name now."""

    def later(self, seconds: float, act: Callable[[], Coroutine[None, None, None]]) -> None:
        """Let something happen later, whatever becomes of the life that began it."""


class FaultyFolder:
    """One folder as one life of one role reaches it. Implements `Folder` over any `Folder`."""

    def __init__(
        self,
        inner: Folder,
        access: Access,
        weather: Weather,
        life: Life,
        watcher: Watcher,
        *,
        view: View,
        disk: Weather | None = None,
        label: str | None = None,
    ) -> None:
        """`weather` is the calling host's, `disk` that of the host which holds the folder."""
        self.inner = inner
        self.label = inner.label
        self.place = inner.label if label is None else label
        self._access = access
        self._weather = weather
        self._disk = disk or weather
        self._life = life
        self._watcher = watcher
        self._view = view

    # What every operation goes through.

    async def _enter(self, verb: str, name: str, *, mutates: bool = False) -> Fate:
        """Take the operation's time; returns how it goes on, or fails."""
        self._stop_if_dead()
        mean = self._weather.faults.latency
        if mean:
            await asyncio.sleep(self._weather.dice.random() * 2 * mean)
            self._stop_if_dead()
        if self._access is Access.MOUNT:
            await self._pass_cut(verb, name, mutates=mutates)
        fate = self._weather.fate(self._access, verb, mutates=mutates)
        self._watcher.trace(self._life, verb, f"{self.place}/{name}", fate.value)
        if fate is Fate.KILL_BEFORE:
            self._kill()
        if fate is Fate.BEFORE:
            raise self._error(verb, fate)
        return fate

    def _stop_if_dead(self) -> None:
        if self._life.is_dead:
            raise asyncio.CancelledError

    def _kill(self) -> None:
        weather = self._weather
        self._life.die(power=weather.dice.random() < weather.faults.power)
        raise asyncio.CancelledError

    async def _pass_cut(self, verb: str, name: str, *, mutates: bool) -> None:
        """While the mount is cut, a call fails at once, hangs until it is given up, or hangs on."""
        left = self._weather.cut()
        if not left:
            return
        how = self._weather.dice.randrange(3)
        self._watcher.trace(
            self._life, verb, f"{self.place}/{name}", ("cut", "cut: given up", "cut: hangs")[how]
        )
        if how == 2:
            await asyncio.sleep(left)
            self._stop_if_dead()
            return
        if how == 1:
            await asyncio.sleep(_SHARE_TIMEOUT)
            self._stop_if_dead()
        raise self._error(verb, Fate.LATE if how else Fate.BEFORE)

    def _error(self, verb: str, fate: Fate) -> OSError:
        return self._noted(self._weather.error(self._access, verb, fate), verb)

    def _noted(self, error: OSError, verb: str) -> OSError:
        """An error as the adapter of a mounted share tells it."""
        if self._access is not Access.MOUNT:
            return error
        return of_share(self.label, during(_OPERATIONS.get(verb, Operation.READ), error))

    async def _mutate(
        self,
        verb: str,
        name: str,
        effect: Callable[[Fate], Awaitable[T]],
        *,
        partly: Callable[[], Awaitable[object]] | None = None,
        durable: bool = False,
    ) -> T:
        """Change something; `partly` is what a death or an error in the middle leaves behind."""
        fate = await self._enter(verb, name, mutates=True)
        if verb in FILLING and self._disk.is_full():
            self._watcher.trace(self._life, verb, f"{self.place}/{name}", "disk full")
            raise self._noted(failure(errno.ENOSPC), verb)
        if fate is Fate.LATE:
            self._later(verb, name, effect)
            raise self._error(verb, fate)
        if fate in (Fate.PARTIAL, Fate.KILL_DURING):
            if partly is not None:
                await partly()
            if fate is Fate.KILL_DURING:
                self._kill()
            raise self._error(verb, fate)
        result = await effect(fate)
        self._view.changed(name)
        await self._watcher.changed(self.place, verb, name, durable=durable)
        if fate is Fate.KILL_AFTER:
            self._kill()
        if fate is Fate.AFTER:
            raise self._error(verb, fate)
        return result

    def _later(self, verb: str, name: str, effect: Callable[[Fate], Awaitable[T]]) -> None:
        """A request that is still on its way: its caller is gone, its effect is not."""
        delay = self._weather.dice.random() * self._weather.faults.late_by
        self._watcher.later(delay, lambda: self._land(verb, name, effect))

    async def _land(self, verb: str, name: str, effect: Callable[[Fate], Awaitable[T]]) -> None:
        try:
            await effect(Fate.LATE)
        except OSError:  # Nobody waits for the reply.
            self._watcher.trace(self._life, verb, f"{self.place}/{name}", "lands in vain")
            return
        self._watcher.trace(self._life, verb, f"{self.place}/{name}", "lands")
        await self._watcher.changed(self.place, verb, name, durable=False)

    # Looking.

    async def names(self) -> list[str]:
        await self._enter("names", "")
        return await self._view.names(self.inner)

    def scan(self) -> Iterator[Listed]:
        """See `Folder`; only what is on the host's own disk is scanned."""
        return self.inner.scan()

    async def stat(self, name: str) -> Entry | None:
        await self._enter("stat", name)
        return await self._view.stat(self.inner, name)

    async def read(self, name: str, limit: int) -> bytes:
        await self._enter("read", name)
        await self._view.before_reading(self.inner, name)
        content = await self.inner.read(name, limit)
        return self._weather.damaged(content) if self._is_torn(name) else content

    async def open(self, name: str) -> Payload:
        await self._enter("open", name)
        await self._view.before_reading(self.inner, name)
        payload = await self.inner.open(name)
        if payload.content is None or not self._is_torn(name):
            return payload
        content = self._weather.damaged(payload.content)
        return Payload(payload.entry._replace(size=len(content)), content)

    def _is_torn(self, name: str) -> bool:
        weather = self._weather
        if self._access is Access.PRIVATE or weather.is_over or not weather.faults.torn_read:
            return False
        torn = weather.dice.random() < weather.faults.torn_read
        if torn:
            self._watcher.trace(self._life, "read", f"{self.place}/{name}", "torn")
        return torn

    async def is_being_written(self, name: str) -> bool | None:
        await self._enter("lease", name)
        return await self.inner.is_being_written(name)

    async def space(self) -> Space:
        await self._enter("space", "")
        found = await self.inner.space()
        return found._replace(free=0) if self._disk.shows_full() else found

    async def renew(self) -> None:
        self._stop_if_dead()
        await self.inner.renew()

    def sub(self, name: str) -> FaultyFolder:
        place = f"{self.place}/{name}"
        return FaultyFolder(
            self.inner.sub(name), self._access, self._weather, self._life, self._watcher,
            view=self._view, disk=self._disk, label=place,
        )  # fmt: skip

    # Changing.

    async def put(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        content = source if isinstance(source, bytes) else source.read()

        async def effect(fate: Fate) -> Digest:
            await self._put(name, content, fate, durable=durable)
            return digest_of(content)

        async def partly() -> None:
            await self.inner.put(part_of(name), content[: len(content) // 2])

        return await self._mutate("put", name, effect, partly=partly, durable=durable)

    async def _put(self, name: str, content: bytes, fate: Fate, *, durable: bool) -> None:
        dice = self._weather.dice
        if fate is Fate.TORN:
            await self.inner.put(name, self._weather.damaged(content))
        elif fate is Fate.SLOW:
            await self.inner.put(name, content[: int(len(content) * dice.random())])
            delay = dice.random() * self._weather.faults.slow_by
            self._watcher.later(delay, lambda: self._complete(name, content))
        elif fate is Fate.LATE and dice.random() < 0.5:
            # Where a rename can't refuse to replace (FUSE, SMB, NFS), a late one replaces.
            await self.inner.write(name, content)
        else:
            await self.inner.put(name, content, durable=durable)

    async def _complete(self, name: str, content: bytes) -> None:
        """The rest of a slow put arrives, if the name still is what it was."""
        entry = await self.inner.stat(name)
        if entry is not None and content.startswith(await self.inner.read(name, len(content))):
            await self.inner.write(name, content)

    async def write(self, name: str, source: bytes | BinaryIO, *, durable: bool = False) -> Digest:
        content = source if isinstance(source, bytes) else source.read()

        async def partly() -> None:
            await self.inner.write(name, content[: len(content) // 2])

        return await self._mutate(
            "write",
            name,
            lambda fate: self.inner.write(name, content, durable=durable),
            partly=partly,
            durable=durable,
        )

    async def replace(self, name: str, content: bytes) -> None:
        await self._mutate(
            "replace", name, lambda fate: self.inner.replace(name, content), durable=True
        )

    async def move(self, name: str, to: Folder, new_name: str, *, durable: bool = False) -> None:
        assert isinstance(to, FaultyFolder)
        target = to

        async def effect(fate: Fate) -> None:
            await self.inner.move(name, target.inner, new_name, durable=durable)
            self._watcher.moved(self.place, name, target.place, new_name)

        await self._mutate("move away", name, effect, durable=durable)

    async def link(self, name: str, to: Folder, new_name: str) -> None:
        assert isinstance(to, FaultyFolder)
        inner = to.inner
        await to._mutate("link", new_name, lambda fate: self.inner.link(name, inner, new_name))

    async def remove(self, name: str) -> bool:
        return await self._mutate("remove", name, lambda fate: self.inner.remove(name))

    def create(self, name: str) -> BinaryIO:
        self._stop_if_dead()
        return self.inner.create(name)


def digest_of(content: bytes) -> Digest:
    """The digest of a content in memory."""
    return Digest(len(content), hashlib.sha256(content).hexdigest())
