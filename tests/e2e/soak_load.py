"""The load of a soak: applications of every kind, in a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from roundtrip.client import AsyncClient
from roundtrip.errors import ShareError
from roundtrip.protocol.markers import Outcome
from tests.e2e.payloads import FORMATS, Sample, sample
from tests.e2e.soak_books import Books
from tests.e2e.world import REPOSITORY, World

_MI = 1024 * 1024
_LOOK = 0.05
_BROKEN = b"{not JSON"
_NO_ROOM = "; make room there"

OWN = "own-"
"""Results whose names begin so are fetched by whoever asked for them."""

WAYS = {"rename": 40, "slowly": 10, "pipeline": 12, "broken": 6, "client": 14, "send": 2,
        "shell": 8, "cancel": 6, "forgetful": 2}  # fmt: skip
"""How files are handed in, and how often each way is taken, in per cent."""


class Load:
    """Hands in about `rate` files a second; `at_once` exchanges at most are open."""

    def __init__(
        self, world: World, books: Books, random: Random, *, rate: float, at_once: int = 60
    ) -> None:
        self._world = world
        self._books = books
        self._random = random
        self._rate = rate
        self._at_once = at_once
        self._client = AsyncClient(world.a.config)
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.whole_disk = threading.Lock()
        """Held by who writes in place, and by who fills the disk: half a file is a file."""
        self.resting = threading.Event()

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self.go_on()

    def go_on(self) -> None:
        """Hand in again."""
        self.resting.clear()
        self._loop.call_soon_threadsafe(self._open.set)

    def rest(self) -> None:
        """Hand nothing in; `resting` is set once nobody who waits for an answer is left."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def stop(self) -> None:
        """End; who still waits is told no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        task = self._loop.create_task(self._hand_in_for_ever())
        task.add_done_callback(self._note)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _hand_in_for_ever(self) -> None:
        while True:
            if not self._open.is_set() and not self._tasks:
                self.resting.set()
            if self._open.is_set() and len(self._books.waiting()) < self._at_once:
                await self._hand_in()
            await asyncio.sleep(self._random.expovariate(self._rate))

    async def _hand_in(self) -> None:
        [way] = self._random.choices(list(WAYS), list(WAYS.values()))
        self._number += 1
        asked = self._sample(way)
        self._books.sent(asked, way, fails=way == "broken")
        if way in ("rename", "pipeline", "broken"):
            await self._drop(way, asked)
        elif way == "slowly":
            await self._write_slowly(asked)
        else:
            waits = {"client": self._ask, "send": self._send, "shell": self._request,
                     "cancel": self._cancel, "forgetful": self._forget}  # fmt: skip
            self._begin(waits[way], asked)

    def _sample(self, way: str) -> Sample:
        random, number = self._random, self._number
        if way == "broken":
            return Sample(f"broken-{number}.json", _BROKEN, b"")
        size = int(10 ** random.uniform(1, 4.5))
        if random.random() < 0.03:
            size = random.randrange(_MI, 6 * _MI)
        own = OWN if way in ("client", "send", "shell") else ""
        extension = "raw" if way == "shell" else random.choice(FORMATS)
        return sample(random, f"{own}{way}-{number}.{extension}", size)

    def _begin(self, work: Callable[[Sample], Awaitable[None]], asked: Sample) -> None:
        async def run() -> None:
            await work(asked)

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._note)

    def _note(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._books.faults.append(f"an application was told {error!r}")

    async def _drop(self, way: str, asked: Sample) -> None:
        name = asked.name
        if way == "pipeline":
            folder = {"bin": "turn", "raw": "echo"}.get(name.rpartition(".")[2], "items")
            (self._world.outbox / folder).mkdir(exist_ok=True)
            name = f"{folder}/{name}"
        part = self._world.outbox / f".{asked.name}.tmp"
        await _with_room(lambda: self._world.drop(name, asked.content), part)

    async def _write_slowly(self, asked: Sample) -> None:
        if not self.whole_disk.acquire(blocking=False):
            self._books.not_sent(asked.name)
            return
        try:
            with (self._world.outbox / asked.name).open("wb", buffering=0) as file:
                for start in range(
                    0, max(len(asked.content), 1), piece := len(asked.content) // 3 + 1
                ):
                    file.write(asked.content[start : start + piece])
                    await asyncio.sleep(_LOOK)
        finally:
            self.whole_disk.release()

    async def _submit(self, asked: Sample) -> str | None:
        path = self._staged(asked)
        try:
            return await self._client.submit(path)
        except ShareError as error:
            if _NO_ROOM not in str(error):
                raise
            self._books.not_sent(asked.name)
            return None
        finally:
            path.unlink()

    def _staged(self, asked: Sample) -> Path:
        folder = self._world.folder / "applications"
        folder.mkdir(exist_ok=True)
        path = folder / asked.name
        path.write_bytes(asked.content)
        return path

    async def _ask(self, asked: Sample) -> None:
        """Submit, wait, and take the result away oneself."""
        if not (exchange := await self._submit(asked)):
            return
        result = await self._client.wait(exchange)
        assert result.outcome is Outcome.ENRICHED, f"{asked.name}: {result.outcome}"
        self._books.came(asked.name, result.read())
        result.path.unlink()
        self._client.forget(exchange)

    async def _forget(self, asked: Sample) -> None:
        """Submit and never ask again."""
        await self._submit(asked)

    async def _cancel(self, asked: Sample) -> None:
        """Submit, and soon take original and ticket back, if it is not too late."""
        if not (exchange := await self._submit(asked)):
            return
        await asyncio.sleep(self._random.uniform(0, 0.03))
        with contextlib.suppress(FileNotFoundError):
            (self._world.a.folder("state/pending") / exchange).unlink()
            self._books.cancelled(asked.name)
            ticket = self._world.a.folder("state/tickets") / f"{exchange}.json"
            ticket.unlink(missing_ok=True)

    async def _send(self, asked: Sample) -> None:
        """`roundtrip send --wait`, a process of its own; sent again if there was no room."""
        path = self._staged(asked)
        command = self._world.a.command("send", "--wait", path)
        process = await asyncio.create_subprocess_exec(
            *command, cwd=REPOSITORY, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, words = await process.communicate()
        path.unlink()
        if process.returncode and _NO_ROOM.encode() in words:
            self._books.not_sent(asked.name)
            return
        assert process.returncode == 0, f"send: {process.returncode}: {words.decode()[-300:]}"
        result = Path(told.decode().strip())
        self._books.came(asked.name, result.read_bytes())
        result.unlink()

    async def _request(self, asked: Sample) -> None:
        """What the shell requester of docs/reference/protocol.md does, by an empty marker."""
        payload, answer = (f / asked.name for f in (self._world.unenriched, self._world.enriched))
        marker, answered = (path.with_name(f"{path.name}.done") for path in (payload, answer))
        try:
            payload.write_bytes(asked.content)
            marker.touch()
        except OSError:
            payload.unlink(missing_ok=True)
            self._books.not_sent(asked.name)
            return
        while not answered.exists():
            await asyncio.sleep(_LOOK)
        self._books.came(asked.name, answer.read_bytes())
        marker.unlink()
        payload.unlink()


async def _with_room(write: Callable[[], None], part: Path) -> None:
    """Do it again until the disk has room: what careful applications do."""
    while True:
        try:
            write()
            return
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            part.unlink(missing_ok=True)
            await asyncio.sleep(_LOOK)
