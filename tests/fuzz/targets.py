"""What is fuzzed: every reader of bytes that another host wrote, and what must hold of each.

A target takes any bytes. It ends normally whether they are accepted or refused as documented; any
other exception, and any broken promise (AssertionError), is a find.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from roundtrip.config.document import NotYaml
from roundtrip.config.document import parse as parse_config
from roundtrip.errors import UnusableMarker
from roundtrip.protocol.documents import MAX_BYTES
from roundtrip.protocol.markers import Digest, Outcome, RequestMarker, ResponseMarker
from roundtrip.protocol.names import (
    MAX_SLUG,
    Namer,
    created_of,
    is_exchange,
    is_internal,
    is_part,
    marker_of,
    slug,
    split,
    ulid_of,
)
from roundtrip.protocol.problem import Problem
from roundtrip.protocol.progress import ProgressNote, Waiting, progress_name, split_progress
from roundtrip.protocol.states import Role
from roundtrip.protocol.versions import spoken_by
from roundtrip.roles import kept as kept_answers
from roundtrip.roles import ticket as tickets
from roundtrip.roles.desk import NAME_MAX, PROBLEM_SUFFIX, free_names
from roundtrip.roles.ticket import Ticket
from roundtrip.shares import heartbeat, identity
from roundtrip.shares.heartbeat import Heartbeat

EXCHANGE = "01ARZ3NDEKTSV4RRFFQ69G5FAV-orders.csv"
_DIGEST = Digest(4, "0" * 64)
_REQUEST = RequestMarker(
    EXCHANGE,
    "orders.csv",
    _DIGEST,
    "ip-intel",
    created="2026-11-21T10:00:00.000Z",
    deadline="2026-11-22T10:00:00+01:00",
    attempt=2,
    sender={"host": "a", "version": "0.1.0"},
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    signature="s",
)
_RESPONSE = ResponseMarker(
    EXCHANGE,
    Outcome.PARTIAL,
    _DIGEST,
    _DIGEST,
    2,
    stats={"records": 3, "ok": 2, "seconds": 0.25},
    responder={"host": "b", "pipeline": "ip-intel"},
    created="2026-11-21T10:00:01.000Z",
)
_NOTE = ProgressNote(
    EXCHANGE,
    0.5,
    records=10,
    calls=3,
    seconds=1.5,
    waiting=Waiting("quota of example.org", 1795341600.0),
    created="2026-11-21T10:00:01.000Z",
)
_SIGN = {
    "v": 1,
    "protocol": 1,
    "features": ["canary", "resend"],
    "time": "2026-11-21T10:00:00.000Z",
    "role": "a",
    "started": "2026-11-21T09:00:00.000Z",
    "version": "0.1.0",
    "host": "a",
    "pid": 7,
    "per_minute": 0.5,
    "pending": 3,
    "done": 9,
}
_SHARE = {"v": 1, "id": "7c1f9d0e-55a7-4b4f-a3f3-3a8a35c6a6f3", "home": "a", "created": "2026"}
_CONFIG = """\
role: b
root: /srv/roundtrip
shares: {unenriched: Unenriched, enriched: {path: ../a/Enriched}}
pipelines: &all
  ip-intel:
    match: ["*.csv", "*.jsonl"]
    steps:
      - name: geo
        http: {url: "https://api.example.org/ip/{ip}"}
        cache: 7d
again: *all
text: |
  two
  lines
numbers: [012, 0x1f, 1.5e3, -.inf, 1:30, no, ~]
"""


def _is_one_short_line(text: str) -> None:
    assert text.isprintable() and len(text) < 500, text


def _is_json(value: object) -> None:
    json.dumps(value, allow_nan=False).encode()


def request_marker(data: bytes) -> None:
    """Refused with one line; else it is written again as it was read."""
    try:
        found = RequestMarker.decode(data, EXCHANGE)
    except UnusableMarker as error:
        return _is_one_short_line(str(error))
    assert found.exchange == EXCHANGE and found.original_name
    again = found.encode()
    assert len(again) > MAX_BYTES or RequestMarker.decode(again, EXCHANGE) == found
    found.original_name.encode()


def response_marker(data: bytes) -> None:
    """Refused with one line; else it is written again as it was read."""
    try:
        found = ResponseMarker.decode(data, EXCHANGE)
    except UnusableMarker as error:
        return _is_one_short_line(str(error))
    again = found.encode()
    assert len(again) > MAX_BYTES or ResponseMarker.decode(again, EXCHANGE) == found
    _is_json(found.stats)


def kept(data: bytes) -> None:
    """Refused, or a marker and a count that can go on counting."""
    try:
        marker, given = kept_answers.decode(data, EXCHANGE)
    except UnusableMarker as error:
        return _is_one_short_line(str(error))
    assert given + 1 > 0 and marker.exchange == EXCHANGE


def progress(data: bytes) -> None:
    """No note, or one that can be shown and written again."""
    found = ProgressNote.decode(data, EXCHANGE)
    if found is None:
        return
    assert 0 <= found.done <= 1 and found.records >= 0
    again = ProgressNote.decode(found.encode(), EXCHANGE)
    assert again is not None and again.records == found.records and again.calls == found.calls


def problem(data: bytes) -> None:
    """Always something that can be shown and written again."""
    found = Problem.decode(data, EXCHANGE)
    assert Problem.decode(found.encode(), EXCHANGE) == found
    f"{found.kind} {found.title} {found.detail}".encode()
    assert found.extended({"more": 1})


def life_sign(data: bytes) -> None:
    """Refused, or fields that can be shown, counted and written again."""
    try:
        fields = heartbeat.decode(data, Role.RESPONDER)
    except ValueError as error:
        return _is_one_short_line(str(error))
    _is_json(fields)
    assert fields["role"] == "b" and len(json.dumps(fields)) < 1 << 22
    assert all(text.isprintable() for text in fields.values() if isinstance(text, str))
    spoken_by(fields)
    sign = Heartbeat(fields["time"], fields, 0.0, "")
    heartbeat.skew(sign)
    heartbeat.age(sign, 1.0)


def share(data: bytes) -> None:
    """Refused with one line, or an id that can be pinned and shown."""
    try:
        found = identity.decode(data)
    except ValueError as error:
        return _is_one_short_line(str(error))
    assert found.id.isascii() and found.id.isprintable() and 0 < len(found.id) <= 100
    assert found.created.isprintable()


def ticket(data: bytes) -> None:
    """Refused with one line; else its names stay in one folder."""
    try:
        found = tickets.decode(data)
    except ValueError as error:
        return _is_one_short_line(str(error))
    again = found.encode()
    assert len(again) > MAX_BYTES or tickets.decode(again) == found
    _stay_in_one_folder(found.original_name)


def names(data: bytes) -> None:
    """What is accepted as an exchange is harmless, and whatever a file is called makes one."""
    name = data[:4096].decode(errors="surrogateescape")
    if found := split(name):
        assert is_exchange(found.exchange) and not is_internal(name)
        assert name == (marker_of(found.exchange) if found.is_marker else found.exchange)
        assert not set(found.exchange) & set("/\0\n\x1b ") and found.exchange not in (".", "..")
    if note := split_progress(name):
        assert is_exchange(note.exchange) and is_internal(name)
        assert split_progress(progress_name(*note)) == note
    if is_part(name):
        assert is_internal(name)
    assert ulid_of(name) is None or found
    created_of(name)
    tickets.exchange_of(name)
    plain = slug(name)
    assert 1 <= len(plain) <= MAX_SLUG and is_exchange(Namer()(name))
    if tickets.is_file_name(name):
        _stay_in_one_folder(name)


def _stay_in_one_folder(original: str) -> None:
    for suffix in ("", PROBLEM_SUFFIX):
        for name in islice(free_names(original, EXCHANGE, suffix), 3):
            assert "/" not in name and "\0" not in name and name not in ("", ".", "..")
            assert 0 < len(os.fsencode(name)) <= NAME_MAX


def config(data: bytes) -> None:
    """Not YAML, with a place; else plain data with places."""
    try:
        found = parse_config(data)
    except NotYaml as error:
        assert error.mark is None or error.mark.line > 0
        return
    for each in found.problems:
        assert each.text
    found.mark(("role", 0, "x"))


class Target(NamedTuple):
    """A function to feed with bytes, and inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: list[bytes]


_JSON = [b"", b"{}", b"[]", b"null", b'"x"', b'{"v":1}', b'{"v":2}', b'{"v":1,"v":2}',
         b'{"v":1,"size":1e400}', b'{"v":1,"x":"\\ud800"}', b"\xef\xbb\xbf{}"]  # fmt: skip


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


TARGETS: dict[str, Target] = {
    "request-marker": Target(request_marker, [_REQUEST.encode(), *_JSON]),
    "response-marker": Target(response_marker, [_RESPONSE.encode(), *_JSON]),
    "kept": Target(kept, [_json(json.loads(_RESPONSE.encode()) | {"given": 3}), *_JSON]),
    "progress": Target(progress, [_NOTE.encode(), *_JSON]),
    "problem": Target(
        problem,
        [Problem("mismatch", "Not what it says", "4 bytes", EXCHANGE, 409).encode(), *_JSON],
    ),
    "life-sign": Target(life_sign, [_json(_SIGN), *_JSON]),
    "share": Target(share, [_json(_SHARE), *_JSON]),
    "ticket": Target(ticket, [Ticket("a b.csv", "p", None, 2, reply=True).encode(), *_JSON]),
    "names": Target(
        names,
        [
            EXCHANGE.encode(),
            marker_of(EXCHANGE).encode(),
            b".x.7.progress",
            b".x.0a1b2c3d.part",
            "e\u0301\ufdfa.tar.gz".encode(),
            b"\xff.csv",
            b"x.done.done",
            b"../x",
        ],
    ),
    "config": Target(config, [_CONFIG.encode(), b"a: 1\na: 2", b"{[", b"? x", b"<<: 1", b"\xff"]),
}
