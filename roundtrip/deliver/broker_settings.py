"""What deliveries to message brokers are told to do: plain, frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field

from roundtrip.deliver.settings import OtherSettings


@dataclass(frozen=True, slots=True)
class AmqpSettings(OtherSettings):
    """A persistent message to an exchange; `routing_key` is a template over the file's fields.

    `body` is `event` (JSON about the file) or `file` (the file itself, at most `most` bytes).
    """

    url: str = field(repr=False)  # may hold a password
    exchange: str = ""  # the default exchange: the routing key is a queue's name
    routing_key: str = "roundtrip"
    body: str = "event"  # event | file
    most: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RedisSettings(OtherSettings):
    """An entry of a stream, cut to about `maxlen` of them, or a message on a channel."""

    url: str = field(repr=False)  # may hold a password
    stream: str | None = None
    channel: str | None = None
    maxlen: int = 100_000


@dataclass(frozen=True, slots=True)
class ZeromqSettings(OtherSettings):
    """A message to peers that connect to `bind`, or to one at `connect`.

    `pattern`: `pub` tells whoever listens, `push` hands each to one connected peer, `req` waits for
    the peer's answer. `topic` is the first frame of what is published.
    """

    bind: str | None = None
    connect: str | None = None
    pattern: str = "pub"  # pub | push | req
    topic: str = "roundtrip"

    @property
    def listens(self) -> bool:
        """See `DeliverySettings.listens`."""
        return self.bind is not None
