"""Both agents are killed at random moments while exchanges flow; then everything is counted.

    scripts/chaos --exchanges 300 --kills 100 --seed 7

Every result must arrive exactly once, bit for bit, and nothing may be left: not on the shares, not
in A's folders of open exchanges, not in failed/, not under a hidden name. The seed settles the
files, who is killed, and how long after the last time; what the agents are at by then is the
machine's affair. With --each-step, an agent is killed before each change on the disk instead; with
--each-error, each system call of a running agent fails once, with each of a few errors.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from roundtrip.client import AsyncClient
from roundtrip.protocol.markers import Outcome
from tests.e2e import each_error, each_step
from tests.e2e.api import Api
from tests.e2e.payloads import FORMATS, Sample, many, sample
from tests.e2e.world import Host, World, wait_until

_MI = 1024 * 1024
_SAME_NAME = "again.csv"
_AT_A_TIME = 40
"""Calls of records that a kill of B may cost: 20 under way, or come and just being noted."""

_LAST_WORD = 120.0
"""Seconds that the agents are given, once nobody kills them any more."""


@dataclass(frozen=True, slots=True)
class Order:
    """One file, and the way it is handed in: rename, slowly, pipeline, or submit."""

    sample: Sample
    way: str


@dataclass(frozen=True, slots=True)
class Blow:
    """A kill: whom, how many seconds after the last one, and what is handed in before it."""

    victims: str
    pause: float
    orders: tuple[Order, ...]


@dataclass(slots=True)
class Balance:
    """What became of it all; `faults` are the lines that must not be."""

    seed: int
    exchanges: int
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    delivered: int = 0
    size: int = 0
    calls: int = 0
    needed: int = 0
    again: int = 0
    republished: int = 0
    faults: list[str] = field(default_factory=list)

    def show(self) -> str:
        """The balance sheet."""
        rows = {
            "seed": self.seed,
            "exchanges": self.exchanges,
            "delivered once, bit for bit": self.delivered,
            "bytes handed in": self.size,
            "kills of A / of B": f"{self.kills['a']} / {self.kills['b']}",
            "API calls / needed without kills": f"{self.calls} / {self.needed}",
            "calls of records made again": self.again,
            "published beyond the first time": self.republished,
            "seconds": round(self.seconds, 1),
            "faults": len(self.faults),
        }
        lines = [f"{name:34}{value}" for name, value in rows.items()]
        return "\n".join(lines + [f"FAULT {fault}" for fault in self.faults])


def plan(random: Random, exchanges: int, kills: int) -> list[Blow]:
    """Everything that the seed settles."""
    orders = [_order(random, number) for number in range(exchanges)]
    blows = []
    for number in range(kills):
        first, last = (exchanges * turn // kills for turn in (number, number + 1))
        victims = random.choices(("a", "b", "ab"), (9, 9, 2))[0]
        # Some blows fall while the agents start, most while they work.
        pause = random.uniform(0.0, 0.3) if random.random() < 0.3 else random.uniform(0.3, 1.1)
        blows.append(Blow(victims, pause, tuple(orders[first:last])))
    return blows


def _order(random: Random, number: int) -> Order:
    way = random.choices(("rename", "slowly", "pipeline", "submit"), (50, 15, 15, 20))[0]
    size = int(10 ** random.uniform(1, 4.5))
    if random.random() < 0.04:
        size = random.randrange(2 * _MI, 8 * _MI)
    if random.random() < 0.04:
        return Order(many(random, f"{number:05}.jsonl", random.randrange(500, 1500)), "rename")
    extension = random.choice(FORMATS)
    same = way == "submit" and random.random() < 0.4
    name = _SAME_NAME if same else f"{number:05}.{extension}"
    return Order(sample(random, name, size), way)


class Chaos:
    """One run in a world of its own."""

    def __init__(self, world: World, api: Api, seed: int, exchanges: int, kills: int) -> None:
        self._world = world
        self._api = api
        self._blows = plan(Random(seed), exchanges, kills)
        self._submitted: list[tuple[str, Sample]] = []
        self._client = AsyncClient(world.a.config)
        self.balance = Balance(seed, exchanges)

    async def run(self) -> Balance:
        """Hand in, kill and restart; then wait for the end and count."""
        began = time.monotonic()
        self._world.start()
        for blow in self._blows:
            for order in blow.orders:
                await self._hand_in(order)
            await asyncio.sleep(
                blow.pause
            )  # The moment of a blow is nothing that can be waited for.
            self._strike(blow)
        self._await_the_end()
        self.balance.seconds = time.monotonic() - began
        await self._count()
        return self.balance

    async def _hand_in(self, order: Order) -> None:
        name, content, _ = order.sample
        self.balance.size += len(content)
        if order.way == "rename":
            self._world.drop(name, content)
        elif order.way == "pipeline":
            folder = {"bin": "turn", "raw": "echo"}.get(name.rpartition(".")[2], "items")
            (self._world.outbox / folder).mkdir(exist_ok=True)
            self._world.drop(f"{folder}/{name}", content)
        elif order.way == "submit":
            path = self._world.folder / "submitted" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            self._submitted.append((await self._client.submit(path), order.sample))
        else:
            await _write_slowly(self._world.outbox / name, content)

    def _strike(self, blow: Blow) -> None:
        hosts = [host for host in (self._world.a, self._world.b) if host.role in blow.victims]
        for host in hosts:
            host.kill()
            self.balance.kills[host.role] += 1
        for host in hosts:
            host.start(ready=False)

    def _await_the_end(self) -> None:
        world = self._world
        try:
            for host in (world.a, world.b):
                host.wait_ready()
            wait_until(lambda: not (world.under_way() or _unsent(world)), "the end", _LAST_WORD)
            # B forgets what it kept once A's names are gone; nothing tells when but the folder.
            world.wait_swept(5)
        except AssertionError as error:
            self.balance.faults.append(str(error))
        for host in (world.a, world.b):
            _note_exit(host, self.balance)

    async def _count(self) -> None:
        balance, world = self.balance, self._world
        samples = [order.sample for blow in self._blows for order in blow.orders]
        expected = Counter((s.name, _hash(s.result)) for s in samples)
        found = Counter((_original(path.name), _hash(path.read_bytes()))
                        for path in world.inbox.iterdir())  # fmt: skip
        balance.delivered = sum((expected & found).values())
        balance.faults += [f"lost: {name} x{n}" for (name, _), n in (expected - found).items()]
        balance.faults += [
            f"not asked for: {name} x{n}" for (name, _), n in (found - expected).items()
        ]
        balance.faults += [
            f"left in {where}: {names}" for where, names in world.leftovers().items()
        ]
        balance.faults += [f"failed: {path.name}" for path in world.failed.iterdir()]
        balance.faults += [f"log: {line}" for line in world.defects()]
        balance.calls = sum(self._api.calls.values())
        balance.needed = sum(_calls_for(s) for s in samples)
        of_records = [n for call, n in self._api.calls.items() if call.startswith("item:")]
        balance.again = sum(of_records) - len(of_records)
        if balance.again > balance.kills["b"] * _AT_A_TIME:
            balance.faults.append(f"{balance.again} calls of records were made again")
        published = Counter(line["exchange"] for line in world.a.events("published"))
        balance.republished = sum(published.values()) - len(published)
        await self._ask_for_the_submitted()

    async def _ask_for_the_submitted(self) -> None:
        """Whoever submitted learns which result is his."""
        for exchange, asked in self._submitted:
            try:
                result = await self._client.wait(exchange, timeout=1)
                right = result.outcome is Outcome.ENRICHED and result.read() == asked.result
            except Exception as error:  # Whatever it is, it is a fault to be told.
                self.balance.faults.append(f"{exchange}: {error!r}")
                continue
            if not right:
                self.balance.faults.append(f"{exchange}: told of {result}, not what was asked")
            self._client.forget(exchange)


async def _write_slowly(path: Path, content: bytes) -> None:
    """Write in place and in pieces, as careless applications do."""
    with path.open("wb", buffering=0) as file:
        for start in range(0, max(len(content), 1), max(len(content) // 4, 1)):
            file.write(content[start : start + max(len(content) // 4, 1)])
            await asyncio.sleep(0.005)


def _unsent(world: World) -> list[Path]:
    return [path for path in world.outbox.rglob("*") if path.is_file()]


def _note_exit(host: Host, balance: Balance) -> None:
    if (code := host.stop()) != 0:
        balance.faults.append(f"agent {host.role} ended with {code} on SIGTERM")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _original(name: str) -> str:
    """The name before a ULID was put before its extension."""
    return _SAME_NAME if name.startswith("again.") else name


def _calls_for(asked: Sample) -> int:
    if asked.name.endswith((".bin", ".raw")):
        return 1
    return len(set(_keys(asked)))


def _keys(asked: Sample) -> list[bytes]:
    return re.findall(rb"\bk[0-9]{1,9}\b", asked.content)


def run(folder: Path, seed: int, exchanges: int, kills: int) -> tuple[Balance, str]:
    """A whole run in `folder`; returns its balance and the end of the agents' logs."""
    with Api() as api, World(folder, api.url) as world:
        balance = asyncio.run(Chaos(world, api, seed, exchanges, kills).run())
        return balance, world.log_tails()


def _walk(role: str, *, errors: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="roundtrip-steps-") as folder:
        world = Path(folder) / "world"
        findings = _walk_errors(world, role) if errors else each_step.run(world, role)
    for call, moments in findings.moments.items():
        print(f"{call:34}{moments} moments")
    for fault in findings.faults:
        print(f"FAULT {fault}")
    return 1 if findings.faults else 0


def _walk_errors(folder: Path, role: str) -> each_step.Findings:
    """Errors in the agent, which uses its share directly; then kills of the share's helper."""

    def tell(walked: str) -> None:
        print(walked, file=sys.stderr, flush=True)

    findings = each_error.run(folder / "direct", role, access="direct", tell=tell)
    helper = each_error.run(
        folder / "helper", role, access="helper", errors=[each_error.KILL], tell=tell
    )
    findings.moments.update(helper.moments)
    findings.faults += helper.faults
    return findings


def main() -> int:
    """The command `scripts/chaos`."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__.split("\n")[0])
    parser.add_argument("--exchanges", type=int, default=300)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--each-step", choices=("a", "b"), help="walk all moments of this role")
    parser.add_argument("--each-error", choices=("a", "b"), help="let each system call fail once")
    parser.add_argument("--keep", action="store_true", help="keep the folders and logs")
    args = parser.parse_args()
    if args.each_step:
        return _walk(args.each_step, errors=False)
    if args.each_error:
        return _walk(args.each_error, errors=True)
    print(f"scripts/chaos --exchanges {args.exchanges} --kills {args.kills} --seed {args.seed}")
    folder = Path(tempfile.mkdtemp(prefix="roundtrip-chaos-"))
    balance, tails = run(folder, args.seed, args.exchanges, args.kills)
    print(balance.show())
    if balance.faults or args.keep:
        print(f"folders and logs: {folder}")
    else:
        shutil.rmtree(folder)
    if balance.faults:
        print(tails, file=sys.stderr)
    return 1 if balance.faults else 0


if __name__ == "__main__":
    sys.exit(main())
