"""The port to a message broker: one queue of job names, its dead letters, and a way for hints.

Every adapter (amqp, redis_streams, memory) passes the same contract suite,
tests/queue/test_contract.py. A message says only "look at this job"; what became of the job is in
the folder of jobs, so a message that is lost or comes twice does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from roundtrip.errors import ExitCode, RoundtripError


class BrokerAway(RoundtripError):
    """The broker can't be reached, or the connection was lost: connect again later."""

    exit_code = ExitCode.SHARE


class BrokerMissing(RoundtripError):
    """The package that speaks to this kind of broker is not installed."""

    exit_code = ExitCode.CONFIG


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message that was taken and not settled yet.

    `again`: it has been delivered before, to somebody who did not settle it. `key` is the
    adapter's own.
    """

    job: str
    again: bool
    key: Any = field(repr=False)


class Depth(NamedTuple):
    """How many messages wait, are taken and not settled, and are dead letters; None: not known."""

    waiting: int
    taken: int | None
    dead: int


class Broker(Protocol):
    """One queue at one broker, seen over one connection.

    After BrokerAway, or to begin, `connect`; what was taken and not settled is delivered again.
    Every method but `aclose` raises BrokerAway.
    """

    label: str
    """The broker's address, without any secret."""

    async def connect(self, *, make: bool = True) -> None:
        """Connect, and make the queue and the place for dead letters where they are missing.

        Without `make` nothing is made, and only `depth` can be asked for.
        """

    async def publish(self, job: str) -> None:
        """Put a message into the queue; the broker has it safely when this returns."""

    async def consume(self, most: int) -> None:
        """Begin to take messages; at most `most` are taken and not settled at any time."""

    async def take(self) -> Delivery:
        """The next message; waits for one. For one task at a time, after `consume`."""

    async def ack(self, delivery: Delivery) -> None:
        """The message is dealt with and goes."""

    async def bury(self, delivery: Delivery) -> None:
        """The message goes to the dead letters."""

    async def renew(self) -> None:
        """All that was taken is still being worked on; to be called now and then."""

    async def tell(self, hint: bytes) -> None:
        """Send a hint to whoever listens now; it may be lost."""

    async def listen(self) -> None:
        """Begin to receive hints."""

    async def hear(self) -> bytes:
        """The next hint; waits for one. For one task at a time, after `listen`."""

    async def depth(self) -> Depth:
        """How much there is."""

    async def aclose(self) -> None:
        """Disconnect; what was taken and not settled is delivered again."""
