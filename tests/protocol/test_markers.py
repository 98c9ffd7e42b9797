"""Markers: what is written is what is read, what may be left out, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import (
    MAX_BYTES,
    Digest,
    Outcome,
    RequestMarker,
    ResponseMarker,
    timestamp,
)

N = "01ARZ3NDEKTSV4RRFFQ69G5FAV-orders.csv"
SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER = "0" * 64
REQUEST: dict[str, Any] = {
    "v": 1,
    "exchange": N,
    "original_name": "orders.csv",
    "size": 4,
    "sha256": SHA,
}
RESPONSE: dict[str, Any] = {
    "v": 1,
    "exchange": N,
    "outcome": "enriched",
    "size": 9,
    "sha256": OTHER,
    "request": {"size": 4, "sha256": SHA, "attempt": 2},
}

texts = st.text(max_size=20)
labels = st.dictionaries(texts, texts, max_size=3)
sizes = st.integers(0, (1 << 63) - 1)
digests = st.builds(Digest, sizes, st.text("0123456789abcdef", min_size=64, max_size=64))
optional = st.none() | texts
requests = st.builds(
    RequestMarker,
    exchange=st.just(N),
    original_name=st.text(min_size=1, max_size=20),
    digest=st.none() | digests,
    pipeline=optional,
    created=optional,
    deadline=optional,
    attempt=sizes,
    sender=labels,
    traceparent=optional,
    signature=optional,
)
figures = st.integers(1 - (1 << 63), (1 << 63) - 1) | st.floats(
    allow_nan=False, allow_infinity=False
)
responses = st.builds(
    ResponseMarker,
    exchange=st.just(N),
    outcome=st.sampled_from(Outcome),
    digest=digests,
    request=digests,
    attempt=sizes,
    stats=st.dictionaries(texts, figures, max_size=3),
    responder=labels,
    created=optional,
    signature=optional,
)


def encoded(fields: Any, **changes: Any) -> bytes:
    return json.dumps(fields | changes if changes else fields).encode()


def without(fields: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in keys}


@given(requests)
def test_a_request_marker_is_read_as_it_was_written(marker: RequestMarker) -> None:
    assert RequestMarker.decode(marker.encode(), N) == marker


@given(responses)
def test_a_response_marker_is_read_as_it_was_written(marker: ResponseMarker) -> None:
    assert ResponseMarker.decode(marker.encode(), N) == marker


def test_a_written_marker_is_one_json_object_with_version_1_and_nothing_that_is_not_known() -> None:
    written = json.loads(RequestMarker(N, "orders.csv", Digest(4, SHA)).encode())
    assert written == {**REQUEST, "attempt": 1, "sender": {}}


def test_an_empty_marker_is_one_without_a_digest() -> None:
    assert RequestMarker.decode(b"", N) == RequestMarker(N, original_name=N)
    assert RequestMarker.decode(b"", N).digest is None


def test_an_empty_answer_marker_is_refused() -> None:
    with pytest.raises(UnusableMarker):
        ResponseMarker.decode(b"", N)


@pytest.mark.parametrize(
    ("fields", "attribute", "expected"),
    [
        ({"v": 1}, "original_name", N),
        ({"v": 1}, "digest", None),
        ({"v": 1}, "attempt", 1),
        ({"v": 1}, "sender", {}),
        ({"v": 1, "original_name": ""}, "original_name", N),
        ({"v": 1, "size": 4}, "digest", None),
        ({"v": 1, "pipeline": None, "attempt": None}, "attempt", 1),
        (REQUEST | {"colour": "blue", "sender": {"host": "a", "n": 1}}, "sender", {"host": "a"}),
        (REQUEST | {"size": 0}, "digest", Digest(0, SHA)),
    ],
)
def test_what_a_request_marker_leaves_out_has_a_meaning(
    fields: dict[str, Any], attribute: str, expected: object
) -> None:
    assert getattr(RequestMarker.decode(encoded(fields), N), attribute) == expected


@pytest.mark.parametrize(
    ("fields", "attribute", "expected"),
    [
        (RESPONSE, "attempt", 2),
        (without(RESPONSE, "exchange"), "exchange", N),
        (RESPONSE | {"request": {"size": 4, "sha256": SHA}}, "attempt", 1),
        (RESPONSE, "stats", {}),
        (
            RESPONSE | {"stats": {"ok": 1, "t": 0.5, "x": "1", "b": True}},
            "stats",
            {"ok": 1, "t": 0.5},
        ),
        (RESPONSE | {"colour": "blue"}, "outcome", Outcome.ENRICHED),
    ],
)
def test_what_a_response_marker_leaves_out_has_a_meaning(
    fields: dict[str, Any], attribute: str, expected: object
) -> None:
    assert getattr(ResponseMarker.decode(encoded(fields), N), attribute) == expected


NO_OBJECTS = [
    b" ",
    b"\n",
    b"{",
    b"[]",
    b"1",
    b'"v"',
    b"null",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf" + encoded(REQUEST),
    b"[" * 20_000,
    encoded(REQUEST)[:-1],
    encoded(REQUEST) + b"x",
    b'{"v": 1, "attempt": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("content", NO_OBJECTS, ids=lambda content: repr(content[:20]))
@pytest.mark.parametrize("kind", [RequestMarker, ResponseMarker])
def test_what_is_not_one_json_object_is_refused(
    content: bytes, kind: type[RequestMarker] | type[ResponseMarker]
) -> None:
    with pytest.raises(UnusableMarker):
        kind.decode(content, N)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": "1"},
        {"v": True},
        {"v": None},
        {"exchange": "another"},
        {"exchange": 1},
        {"original_name": 7},
        {"size": -1},
        {"size": "4"},
        {"size": 4.0},
        {"size": True},
        {"size": None},
        {"size": 1 << 63},
        {"sha256": SHA.upper()},
        {"sha256": SHA[:-1]},
        {"sha256": SHA + "\n"},
        {"sha256": 5},
        {"attempt": "2"},
        {"attempt": -1},
        {"attempt": True},
        {"sender": "me"},
        {"pipeline": ["x"]},
        {"deadline": 5},
    ],
    ids=str,
)
def test_a_request_marker_with_a_wrong_field_is_refused(change: dict[str, Any]) -> None:
    RequestMarker.decode(encoded(REQUEST), N)
    with pytest.raises(UnusableMarker):
        RequestMarker.decode(encoded(REQUEST, **change), N)


@pytest.mark.parametrize(
    "fields",
    [
        without(RESPONSE, "outcome"),
        without(RESPONSE, "size"),
        without(RESPONSE, "sha256"),
        without(RESPONSE, "request"),
        without(RESPONSE, "v"),
        RESPONSE | {"outcome": "lost"},
        RESPONSE | {"outcome": 1},
        RESPONSE | {"request": {"size": 4}},
        RESPONSE | {"request": {"sha256": SHA}},
        RESPONSE | {"request": [4, SHA]},
        RESPONSE | {"request": {"size": 4, "sha256": SHA, "attempt": "1"}},
        RESPONSE | {"exchange": "another"},
        RESPONSE | {"stats": 1},
        RESPONSE | {"responder": []},
    ],
    ids=lambda fields: ",".join(sorted(fields)),
)
def test_a_response_marker_with_a_missing_or_wrong_field_is_refused(fields: dict[str, Any]) -> None:
    ResponseMarker.decode(encoded(RESPONSE), N)
    with pytest.raises(UnusableMarker):
        ResponseMarker.decode(encoded(fields), N)


def test_a_marker_without_a_version_is_refused() -> None:
    with pytest.raises(UnusableMarker, match='"v" is None; this version reads 1'):
        RequestMarker.decode(b"{}", N)


@pytest.mark.parametrize("surplus", [0, 1])
def test_a_marker_may_be_64_kib_and_no_more(surplus: int) -> None:
    content = encoded(REQUEST).ljust(MAX_BYTES + surplus)
    if not surplus:
        RequestMarker.decode(content, N)
        return
    with pytest.raises(UnusableMarker, match="larger than 65536 bytes"):
        RequestMarker.decode(content, N)


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | texts,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*RESPONSE, *REQUEST, "attempt", "stats"]), inner, max_size=6
            )
        ),
    ).map(lambda value: json.dumps(value | {"v": 1} if isinstance(value, dict) else value).encode())
)
def test_whatever_a_marker_holds_it_is_read_or_refused_with_one_line(content: bytes) -> None:
    for kind in (RequestMarker, ResponseMarker):
        try:
            kind.decode(content, N)
        except UnusableMarker as refused:
            assert len(str(refused)) < 400 and str(refused).isprintable()


def test_times_are_rfc_3339_in_utc_with_milliseconds() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1795255200.5) == "2026-11-21T10:00:00.500Z"
    assert timestamp(1795255200.9999) == "2026-11-21T10:00:01.000Z"


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_in_whole_milliseconds_is_written_exactly(milliseconds: int) -> None:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    expected = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert timestamp(milliseconds / 1000) == expected
