"""Anything at all as a marker or a name: one kind of error may come out, and no unusable name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.markers import RequestMarker, ResponseMarker
from roundtrip.protocol.names import (
    MAX_SLUG,
    Namer,
    is_exchange,
    is_internal,
    marker_of,
    slug,
    split,
    ulid_of,
)
from roundtrip.protocol.problem import Problem

DECODERS = [RequestMarker.decode, ResponseMarker.decode]
KEYS = ["v", "exchange", "original_name", "pipeline", "size", "sha256", "created", "deadline",
        "attempt", "sender", "traceparent", "signature", "outcome", "request", "stats",
        "responder"]  # fmt: skip
MANY = settings(max_examples=1000, deadline=None)
SOME = settings(max_examples=300, deadline=None)

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(["x", "enriched", "0" * 64, 1, 1 << 63, 1 << 64])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
near_markers = st.dictionaries(st.sampled_from(KEYS), values).map(
    lambda fields: {"v": 1, "exchange": "x", **fields}
)


def read(decode: Callable[[bytes, str], RequestMarker | ResponseMarker], content: bytes) -> None:
    """Decode; what is accepted can be written again and says the same."""
    try:
        found = decode(content, "x")
    except UnusableMarker as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        return
    assert found.exchange == "x"
    assert decode(found.encode(), "x") == found or "NaN" in found.encode().decode()


@pytest.mark.parametrize("decode", DECODERS)
@MANY
@given(content=st.binary(max_size=200))
@example(content=b"[" * 60_000)
@example(content=b'{"v":' * 12_000)
@example(content=b'{"v": 1, "size": ' + b"9" * 10_000 + b"}")
def test_bytes(decode: Callable[[bytes, str], RequestMarker], content: bytes) -> None:
    read(decode, content)


@pytest.mark.parametrize("decode", DECODERS)
@SOME
@given(value=near_markers | values)
def test_values(decode: Callable[[bytes, str], RequestMarker], value: object) -> None:
    read(decode, json.dumps(value).encode())


names = st.text(max_size=300) | st.binary(max_size=300).map(
    lambda raw: raw.decode(errors="surrogateescape")
)
endings = st.sampled_from(["", ".csv", ".done", ".done.done", ".tar.gz", ".", "..", "~", ".part"])


@MANY
@given(stem=names, ending=endings)
def test_a_slug_makes_a_valid_exchange_and_keeps_the_extension(stem: str, ending: str) -> None:
    original = f"a{stem}{ending}"
    plain = slug(original)
    exchange = Namer()(original)
    assert 1 <= len(plain) <= MAX_SLUG
    assert is_exchange(exchange) and exchange == f"{ulid_of(exchange)}-{plain}"
    assert split(exchange) == (exchange, False)
    assert split(marker_of(exchange)) == (exchange, True)
    assert not is_internal(exchange)
    if ending == ".csv":
        assert plain.endswith(".csv")


@MANY
@given(name=names, ending=endings)
def test_what_split_accepts_is_a_name_that_can_do_no_harm(name: str, ending: str) -> None:
    found = split(name + ending)
    if found is None:
        return
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._~@+-]{0,199}", found.exchange)
    assert not found.exchange.endswith(".done")
    assert name + ending == (marker_of(found.exchange) if found.is_marker else found.exchange)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "x/y", "x\n", "\nx", "-rf", ".x",
                                  "x\0", "x ", "ü", "x\u202e", ".done", "x" * 201])  # fmt: skip
def test_a_harmful_name_is_no_exchange(name: str) -> None:
    assert not is_exchange(name)
    assert split(name) is None
    assert split(marker_of(name)) is None


@SOME
@given(document=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
@example(document=b"[" * 60_000)
@example(document=b"9" * 10_000)
def test_any_problem_document_is_read_somehow(document: bytes) -> None:
    assert Problem.decode(document, "x").exchange == "x"
