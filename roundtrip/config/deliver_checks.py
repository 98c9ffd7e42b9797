"""Checks between the keys of deliveries, on plain data: another key may be wrong, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from roundtrip.config.document import Path, Problem
from roundtrip.config.step_checks import mapping

KINDS = ("exec", "mail", "http", "amqp", "redis", "zeromq", "tcp", "plugin")
_ONE_OF = {"redis": ("stream", "channel"), "zeromq": ("bind", "connect")}
REPLY = "reply"
"""The delivery of its own that mails what senders asked to be mailed."""


def deliveries(data: dict[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong between the keys of `deliver` and `mail`."""
    given = mapping(data.get("deliver"))
    has_server = data.get("mail") is not None
    for name, delivery in given.items():
        at: Path = ("deliver", name)
        if name == REPLY and has_server:
            text = "is the name of what mails ends to those who asked for it; choose another"
            yield Problem(at, text)
        if isinstance(delivery, dict):
            yield from _delivery(at, delivery, has_server)
    mail = mapping(data.get("mail"))
    if mail.get("password") and mail.get("user") is None:
        yield Problem(("mail", "password"), "needs user: who logs in with it")


def _delivery(at: Path, given: dict[str, Any], has_server: bool) -> Iterator[Problem]:
    found = [kind for kind in KINDS if given.get(kind) is not None]
    if not found:
        yield Problem(at, "says not how; give it one of: " + ", ".join(KINDS))
    for kind in found[1:]:
        text = f"a delivery has one receiver, and this one has {found[0]}; make two deliveries"
        yield Problem((*at, kind), text)
    for kind, keys in _ONE_OF.items():
        inner = mapping(given.get(kind))
        if inner and sum(inner.get(key) is not None for key in keys) != 1:
            yield Problem((*at, kind), f"needs either {keys[0]} or {keys[1]}")
    if "mail" in found and not has_server:
        yield Problem((*at, "mail"), "needs a server; write a section `mail` beside `deliver`")
