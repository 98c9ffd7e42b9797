"""Two hosts' folders, and both agents as real processes that never outlive their stage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from roundtrip.demo import samples
from roundtrip.errors import RoundtripError

START_SECONDS = 15.0
STOP_SECONDS = 5.0
_LOG_LINES = 8

_HOST_A = """\
# Host A: works on files. Unenriched would be a mount of host B's folder.
role: a
shares:
  unenriched: ../hostB/Unenriched
  enriched: Enriched
"""
_HOST_B = """\
# Host B: reaches the internet. Enriched would be a mount of host A's folder.
role: b
shares:
  unenriched: Unenriched
  enriched: ../hostA/Enriched

"""


@dataclass(frozen=True, slots=True)
class Host:
    """One side: its role, its folder, its configuration."""

    role: str
    root: Path

    @property
    def config(self) -> Path:
        """The host's roundtrip.yaml."""
        return self.root / "roundtrip.yaml"

    @property
    def log(self) -> Path:
        """What its agent wrote to stderr."""
        return self.root / "agent.log"

    def command(self, verb: str) -> list[str]:
        """`roundtrip <verb>` for this host, run by this Python."""
        config = str(self.config)
        return [sys.executable, "-m", "roundtrip", verb, "--role", self.role, "--config", config]

    def log_tail(self) -> str:
        """The last lines of the agent's log, indented."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "".join(f"\n  {line}" for line in lines[-_LOG_LINES:])
        return ""


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent."""

    host: Host
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise RoundtripError if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise RoundtripError(
                f"agent {self.host.role} ended with status {code}; the end of {self.host.log}:"
                f"{self.host.log_tail()}"
            )


@dataclass(frozen=True, slots=True)
class Stage:
    """Both agents, and whether the user wants it all to end."""

    agents: tuple[Agent, ...]
    interrupted: Callable[[], bool]

    def check(self) -> None:
        """Raise KeyboardInterrupt if the user wants to end it, RoundtripError if an agent ended."""
        if self.interrupted():
            raise KeyboardInterrupt
        for agent in self.agents:
            agent.check()

    def log_tails(self) -> str:
        """The ends of both logs."""
        hosts = [agent.host for agent in self.agents]
        return "".join(f"\nthe end of {host.log}:{host.log_tail()}" for host in hosts)


def build(folder: Path, port: int) -> tuple[Host, Host]:
    """Make hostA and hostB below `folder`, configured for the sample API at `port`."""
    a, b = Host("a", folder / "hostA"), Host("b", folder / "hostB")
    for host, config in ((a, _HOST_A), (b, _HOST_B + samples.pipelines(port))):
        host.root.mkdir(parents=True)
        host.config.write_text(config, encoding="utf-8")
    for host in (b, a):
        _init(host)
    return a, b


def _init(host: Host) -> None:
    done = subprocess.run(host.command("init"), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RoundtripError(f"init of host {host.role} failed: {done.stderr.strip()}")


@contextmanager
def running(hosts: tuple[Host, Host], interrupted: Callable[[], bool]) -> Iterator[Stage]:
    """Run both hosts' agents until the block ends, however it ends.

    Signals must not raise meanwhile, or one that comes just when a process was started would leave
    it behind; `interrupted` is asked instead.
    """
    with ExitStack() as stack:
        agents = tuple(stack.enter_context(_agent(host)) for host in hosts)
        stage = Stage(agents, interrupted)
        _wait_until_alive(stage)
        yield stage


@contextmanager
def _agent(host: Host) -> Iterator[Agent]:
    with host.log.open("ab") as log:
        # Its own session: Ctrl-C reaches this process only, and the whole group can be ended.
        process = subprocess.Popen(
            host.command("agent"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Agent(host, process)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass  # it had its chance; the next lines end it
    finally:
        with suppress(ProcessLookupError):  # nothing of the group is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_alive(stage: Stage) -> None:
    roots = [agent.host.root for agent in stage.agents]
    shares = [root / name for root in roots for name in ("Unenriched", "Enriched")]
    deadline = time.monotonic() + START_SECONDS
    waiting = list(stage.agents)
    while waiting:
        stage.check()
        waiting = [agent for agent in waiting if not _alive(agent.host.role, shares)]
        if waiting and time.monotonic() > deadline:
            raise RoundtripError(
                f"agent {waiting[0].host.role} gave no sign of life in {START_SECONDS:.0f} s"
                f"{stage.log_tails()}"
            )
        time.sleep(0.01)


def _alive(role: str, shares: list[Path]) -> bool:
    return any(any(share.glob(f".roundtrip/alive-{role}-*.json")) for share in shares)
