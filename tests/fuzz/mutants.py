"""Documents that are nearly right: one or more members of a good one replaced, doubled, or torn.

A fuzzer of bytes rarely gets past the parser; these begin beyond it. Made from a seed alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2, 1 << 31, 1 << 63, -(1 << 63), 1 << 64, 10**400, 0.5, -0.0,
    1e308, float("nan"), float("inf"), -float("inf"), "", "x", "a", "b", "enriched", "failed",
    "resend", "0" * 64, "F" * 64, "../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "a\0b",
    "a\nb", "\x1b[2J\x1b]0;x\x07", "\u202egpj.exe", "\ufeffx", "\ud800", "\udcff", "x" * 300,
    "x" * 70_000, "{x}", "%n%s", "${HOME}", "[bold red]x[/]", "2026-11-21T10:00:00Z",
    "0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "-1", "1e999", [], {}, [[]], [1, "x", None],
    {"v": 1}, {"": ""}, {"size": -1, "sha256": 7}, ["x"] * 5000,
]  # fmt: skip
"""Values for any member."""

RAW = [
    b"NaN", b"Infinity", b"1e999", b"-1e999", b"9" * 4299, b"9" * 5000, b"1" + b"0" * 60_000,
    b"[" * 900 + b"]" * 900, b"[" * 980 + b"]" * 980, b"[" * 30_000, b'{"a":' * 10_000, b"0.1e-999",
    b"\xff", b'"\\ud800"', b'"\\u0000"', b'"\xed\xa0\x80"', b"'x'", b"01", b"+1", b"", b"/*x*/1",
]  # fmt: skip
"""What can stand where a value should, and that no encoder writes."""

_MARK = "\u0001raw\u0001"


def mutants(document: bytes, seed: int) -> Iterator[bytes]:
    """Mutants of a JSON object, for ever."""
    random = Random(seed)
    good = json.loads(document)
    while True:
        yield mutant(good, document, random)


def mutant(good: dict[str, Any], document: bytes, random: Random) -> bytes:
    """One mutant of `good`, which `document` holds."""
    if random.random() < 0.2:
        return _torn(document, random)
    members = list(good.items())
    raw = None
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at = random.randrange(len(members))
        key, value = members[at]
        match random.randrange(6):
            case 0:
                members.append((key, random.choice(HOSTILE)))  # the same key twice
            case 1:
                del members[at]
                if not members:
                    members.append((key, value))
            case 2 if isinstance(value, dict) and value:
                inner = random.choice(list(value))
                members[at] = key, {**value, inner: random.choice(HOSTILE)}
            case 3:
                raw, members[at] = random.choice(RAW), (key, _MARK)
            case 4:
                members.append((str(random.choice(HOSTILE)), random.choice(HOSTILE)))
            case _:
                members[at] = key, random.choice(HOSTILE)
    text = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in members)
    made = f"{{{text}}}".encode()
    return made if raw is None else made.replace(json.dumps(_MARK).encode(), raw)


def _torn(document: bytes, random: Random) -> bytes:
    """As a power cut, a bad disk or a second writer leaves it."""
    made = bytearray(document)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(made) + 1)
        match random.randrange(5):
            case 0:
                del made[at:]
            case 1:
                made[at : at + 1] = bytes([random.randrange(256)])
            case 2:
                made[at:at] = random.choice(RAW)[:2000]
            case 3:
                made[at : at + random.randrange(40)] = bytes(random.randrange(40))
            case _:
                made[at:at] = made[: random.randrange(200)]
    return bytes(made)
