"""The keys of deliveries to message brokers: `amqp`, `redis` and `zeromq`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from roundtrip.config.queue_models import check_address
from roundtrip.config.texts import REFERENCE
from roundtrip.config.values import Bytes, LocalTemplate, Model, Number, Pause, Secret, Text
from roundtrip.queue.address import AMQP, REDIS

_ENDPOINTS = ("tcp://", "ipc://")


def check_endpoint(text: str) -> str:
    """Check a ZeroMQ endpoint (zmq_tcp(7), zmq_ipc(7))."""
    if REFERENCE.search(text) or not text.startswith(_ENDPOINTS):
        raise ValueError("is no endpoint; write it like tcp://127.0.0.1:5556 or ipc:///run/x.sock")
    return text


def check_amqp(text: str) -> str:
    """Check the address of an AMQP broker."""
    return check_address(text, AMQP)


def check_redis(text: str) -> str:
    """Check the address of a Redis server."""
    return check_address(text, REDIS)


Endpoint = Annotated[str, AfterValidator(check_endpoint)]


class AmqpModel(Model):
    """A message to an exchange of an AMQP 0-9-1 broker (RabbitMQ)."""

    url: Annotated[Secret, AfterValidator(check_amqp)] = Field(
        description="The broker: amqp:// or amqps://."
    )
    exchange: str = Field(default="", description="Its exchange; without it, the default one.")
    routing_key: LocalTemplate = Field(
        default="roundtrip", description="The routing key; may have fields of the file."
    )
    body: Literal["event", "file"] = Field(
        default="event", description="JSON about the file, or the file itself."
    )
    most: Bytes = Field(default=16 * 1024 * 1024, description="The largest file as a body.")
    timeout: Pause = Field(default=30.0, description="Longest time for one message.")


class RedisModel(Model):
    """An entry of a stream, or a message on a channel, of a Redis server."""

    url: Annotated[Secret, AfterValidator(check_redis)] = Field(
        description="The server: redis:// or rediss://."
    )
    stream: Text | None = Field(default=None, description="The stream that gets an entry.")
    channel: Text | None = Field(default=None, description="The channel that gets a message.")
    maxlen: Number = Field(
        default=100_000, description="About how many entries the stream keeps; the oldest go."
    )
    timeout: Pause = Field(default=30.0, description="Longest time for one entry or message.")


class ZeromqModel(Model):
    """A message from a ZeroMQ socket."""

    bind: Endpoint | None = Field(default=None, description="Where peers connect.")
    connect: Endpoint | None = Field(default=None, description="Where the peer has bound.")
    pattern: Literal["pub", "push", "req"] = Field(
        default="pub", description="To all who listen, to one of them, or to one who answers."
    )
    topic: Text = Field(default="roundtrip", description="The first frame of what is published.")
    timeout: Pause = Field(default=30.0, description="Longest wait for a peer, or its answer.")
