"""The keys `dispatch` and `queue`: whether workers enrich, and how they are reached."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from roundtrip.config.texts import REFERENCE
from roundtrip.config.values import Count, Model, PathText, Pause, Secret
from roundtrip.queue.address import SCHEMES

_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_broker(text: str) -> str:
    """Check a broker's address as far as it has no secrets in it."""
    return check_address(text, SCHEMES)


def check_address(text: str, schemes: tuple[str, ...]) -> str:
    """Check an address that begins with one of `schemes`, as far as it has no secrets in it."""
    reference = REFERENCE.match(text)
    if reference and reference["name"]:
        return text
    try:
        parts = urlsplit(REFERENCE.sub("x", text))
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL that can be understood; check host and port") from None
    if parts.scheme not in schemes:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"is no broker's address; it begins with one of {known}")
    if not parts.hostname or port == 0:
        raise ValueError(f"has no host; write it like {schemes[0]}://user:${{PASSWORD}}@host/")
    return text


def check_queue_name(text: str) -> str:
    """Check a queue's name."""
    if _QUEUE_NAME.fullmatch(text) is None:
        raise ValueError(
            "must be letters, digits, '.', '_' and '-', beginning with one of the first"
        )
    return text


class QueueModel(Model):
    """How requests reach workers, and how results come back."""

    url: Annotated[Secret, AfterValidator(check_broker)] | None = Field(
        default=None,
        description="The broker: amqp(s):// (RabbitMQ), redis(s):// or, for NATS, nats:// or tls://.",
    )
    name: Annotated[str, AfterValidator(check_queue_name)] = Field(
        default="roundtrip", description="Name of the queue; each agent has its own."
    )
    folder: PathText = Field(
        default="state/queue",
        description="Folder of jobs and results; agent and workers must all see it.",
    )
    attempts: Count = Field(
        default=3, description="Workers that may end while they have a job; then it has failed."
    )
    heartbeat: Pause = Field(
        default=2.0, description="How often a worker renews its life sign in the folder."
    )
