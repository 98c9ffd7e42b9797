"""Broker addresses: which adapter one needs, and how it is shown without its password."""

from __future__ import annotations

from urllib.parse import urlsplit

from roundtrip.queue.port import Broker, BrokerMissing

AMQP, REDIS, NATS = ("amqp", "amqps"), ("redis", "rediss"), ("nats", "tls")
PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379, "nats": 4222, "tls": 4222}
SCHEMES = (*AMQP, *REDIS, *NATS)


def shown(url: str) -> str:
    """The address without user and password."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    try:
        port = str(parts.port or PORTS[parts.scheme])
    except ValueError:
        port = "?"
    return f"{parts.scheme}://{host}:{port}{parts.path}"


def place(url: str) -> tuple[str, int]:
    """Host and port that the address leads to."""
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or PORTS[parts.scheme]


def broker(url: str, name: str, *, idle: float) -> Broker:
    """The broker at `url` with the queue `name`.

    `idle`: seconds after which a message whose taker gives no more signs of life is delivered
    again, where the broker doesn't notice that by itself.

    Raises:
        BrokerMissing: the package that speaks to it is not installed.
    """
    scheme = urlsplit(url).scheme
    try:
        if scheme in AMQP:
            from roundtrip.queue.amqp import AmqpBroker

            return AmqpBroker(url, name)
        if scheme in NATS:
            from roundtrip.queue.nats_jetstream import NatsBroker

            return NatsBroker(url, name, idle=idle)
        from roundtrip.queue.redis_streams import RedisBroker

        return RedisBroker(url, name, idle=idle)
    except ModuleNotFoundError as error:
        package = next(each[0] for each in (AMQP, NATS, REDIS) if scheme in each)
        raise BrokerMissing(
            f"{shown(url)}: the package {error.name} is not installed; "
            f"pip install 'roundtrip[{package}]'"
        ) from None
