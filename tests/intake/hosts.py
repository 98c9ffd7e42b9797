"""Both hosts on one real file system, their agents in the test's own event loop.

Only the enrichment is a stand-in: it returns the payload as it is, so that a result says byte for
byte what was taken from the outbox.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from roundtrip import assembly
from roundtrip.agent.agent import Agent
from roundtrip.config import load
from roundtrip.enrich.results import Progress
from roundtrip.logs import JsonLines
from roundtrip.protocol.markers import Outcome, RequestMarker
from roundtrip.roles.enrichment import Answer, Enrich

PATIENCE = 20.0  # seconds; shared machines pause


class Host:
    """One side: its role, its folders, its configuration."""

    def __init__(self, role: str, root: Path) -> None:
        self.role, self.root = role, root
        self.config = root / "roundtrip.yaml"
        self.outbox, self.inbox = root / "outbox", root / "inbox"
        self.failed, self.archive = root / "failed", root / "archive"
        self.state, self.quarantine = root / "state", root / "quarantine"

    def command(self, *words: str) -> list[str]:
        """`roundtrip <words>` for this host, run by this Python."""
        config = str(self.config)
        return [sys.executable, "-m", "roundtrip", *words, "--role", self.role, "--config", config]

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `roundtrip <words>` to its end."""
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            **options,
        )


class Log(logging.Handler):
    """Keeps what the agents log, as the lines that they would write."""

    def __init__(self) -> None:
        super().__init__()
        self._formatter = JsonLines()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self._formatter.format(record))

    def of(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The records of an event whose fields are these."""
        records = [json.loads(line) for line in self.lines]
        wanted = {"event": event, **fields}.items()
        return [record for record in records if wanted <= {**record}.items()]

    @property
    def defects(self) -> list[str]:
        """What an agent itself calls a defect, and whatever has a traceback."""
        return [line for line in self.lines if '"traceback"' in line or '"event": "defect"' in line]


class Hosts:
    """Host A, host B, and the log of both agents."""

    def __init__(self, folder: Path, log: Log) -> None:
        self.folder, self.log = folder, log
        self.a, self.b = Host("a", folder / "hostA"), Host("b", folder / "hostB")
        self.unenriched = self.b.root / "Unenriched"
        self.enriched = self.a.root / "Enriched"
        self.outbox, self.inbox = self.a.outbox, self.a.inbox

    def configure(self, outbox: dict[str, Any] | None = None, **settings: Any) -> None:
        """Write both configurations; JSON is YAML."""
        common = {
            "timing": {"settle": 0.2, "grace": 0.5, "heartbeat": 0.3, "rescan": 5},
            "limits": {"attempts": 3},
            **settings,
        }
        ours = {"unenriched": str(self.unenriched), "enriched": str(self.enriched)}
        for host in (self.a, self.b):
            host.root.mkdir(exist_ok=True)
            document = {"role": host.role, "shares": ours, **common}
            if host is self.a:
                document["outbox"] = {"path": "outbox", **(outbox or {})}
            else:
                step = {"name": "same", "http": {"url": "http://127.0.0.1:9/"}}
                document["pipelines"] = {"same": {"steps": [step]}}
            host.config.write_text(json.dumps(document))

    def init(self) -> None:
        """What `roundtrip init` does, for both."""
        from roundtrip.cli.main import main

        for host in (self.b, self.a):
            assert main(["init", "--role", host.role, "--config", str(host.config)]) == 0

    async def delivered(self, name: str | bytes, seconds: float = PATIENCE) -> bytes:
        """Wait for a result of this name; returns its content."""
        path = Path(_text(self.inbox), _text(name))
        await until(path.exists, f"{name!r} in the inbox", seconds)
        return path.read_bytes()

    def results(self) -> dict[str, bytes]:
        """Everything in the inbox."""
        return {path.name: path.read_bytes() for path in self.inbox.iterdir()}

    async def idle(self, but: frozenset[str] = frozenset()) -> None:
        """Wait until nothing is in the outbox but these names, on the shares, or under way."""

        def at_rest() -> bool:
            shares = [*self.unenriched.iterdir(), *self.enriched.iterdir()]
            own = [*(self.a.state / "pending").iterdir(), *(self.a.state / "closing").iterdir()]
            left = set(os.listdir(self.outbox)) - but
            waiting = [name for name in left if not (self.outbox / name).is_dir()]
            return not own and not waiting and all(path.name == ".roundtrip" for path in shares)

        await until(at_rest, "all exchanges closed")


def _text(name: str | bytes | Path) -> str:
    return os.fsdecode(name)


async def until(
    condition: Callable[[], object], what: str = "it", seconds: float = PATIENCE
) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        await asyncio.sleep(0.01)


async def ran(*command: str | bytes | Path, may_fail: bool = False, **options: Any) -> str:
    """Run a program to its end while the agents go on; returns what it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        **options,
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    text = output.decode(errors="replace")
    assert may_fail or process.returncode == 0, f"{command}: status {process.returncode}: {text}"
    return text


async def shell(script: str, **options: Any) -> str:
    """Run a few lines of sh."""
    return await ran("sh", "-euc", script, **options)


class Same:
    """Gives back what it got, and has nothing to remember."""

    async def __call__(
        self,
        request: RequestMarker,
        source: BinaryIO,
        sink: BinaryIO,
        cancelled: Callable[[], bool],
        report: Callable[[Progress], None],
    ) -> Answer:
        while piece := source.read(1 << 20):
            sink.write(piece)
        return Answer(Outcome.ENRICHED, {}, request.pipeline or "same")

    def forget(self, exchange: str) -> None:
        """See `Enrich.forget`."""

    def open_scopes(self) -> set[str]:
        """See `Enrich.open_scopes`."""
        return set()


def give_back(enrich: Enrich | None = None) -> pytest.MonkeyPatch:
    """Make every agent B that is built from now on enrich like this; undo what is returned."""
    patch = pytest.MonkeyPatch()
    patch.setattr(assembly.responder, "_Enrichment", lambda enricher: enrich or Same())
    return patch


@asynccontextmanager
async def agent(host: Host) -> AsyncIterator[Agent]:
    """An agent at work in this event loop until the block ends."""
    one = assembly.build_agent(load(host.config, host.role))
    task = asyncio.create_task(one.run())
    try:
        alive = host.state / f"agent-{host.role}.lock"
        await until(lambda: task.done() or alive.exists(), "the agent's lock")
        await asyncio.sleep(0)
        yield one
    finally:
        one.stop()
        await asyncio.wait_for(task, PATIENCE)


@asynccontextmanager
async def agents(hosts: Hosts, roles: Sequence[str] = "ba") -> AsyncIterator[list[Agent]]:
    """The agents of these roles, ready."""
    ready = {role: len(hosts.log.of("ready", role=role)) for role in roles}
    async with AsyncExitStack() as stack:
        working = []
        for role in roles:
            host = hosts.a if role == "a" else hosts.b
            working.append(await stack.enter_async_context(agent(host)))
        for role, before in ready.items():

            def is_ready(role: str = role, before: int = before) -> bool:
                return len(hosts.log.of("ready", role=role)) > before

            await until(is_ready, f"agent {role}")
        yield working
