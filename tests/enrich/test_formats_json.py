"""JSON and JSON Lines: what no step touches comes back as it was, numbers and all."""

from __future__ import annotations

import json
import re
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from roundtrip.enrich.faults import PayloadFault
from roundtrip.enrich.formats import Column, Record, sliding
from roundtrip.enrich.settings import Formats
from tests.enrich.through import GEO, germany, through

# JSON text as other programs may write it, numbers included: never through a Python float
NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\Z")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.one_of(
    NUMBERS.filter(lambda n: n != "-0"),
    TEXTS.map(json.dumps),
    TEXTS.map(lambda t: json.dumps(t, ensure_ascii=False)),
    st.sampled_from(["true", "false", "null"]),
)
KEYS = TEXTS.map(json.dumps)


def _object(pairs: dict[str, str], space: str) -> str:
    return "{" + f",{space}".join(f"{k}:{space}{v}" for k, v in pairs.items()) + "}"


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: "[" + ",".join(v) + "]"),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda v: _object(v, "")),
    ),
    max_leaves=8,
)
OBJECTS = st.builds(_object, st.dictionaries(KEYS, VALUES, max_size=4), st.sampled_from(["", " "]))


def exactly(text: str | bytes) -> Any:
    """JSON with numbers kept as they are, and member order compared too."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=list)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


@given(st.lists(OBJECTS, max_size=5), st.sampled_from(["\n", "\r\n", "\n\n", " \n"]))
@example(['{"n": 123456789012345678901234567890, "d": 1.10, "e": 1e400, "z": -0.0}'], "\n")
def test_jsonl_comes_back_untouched(objects: list[str], end: str) -> None:
    for text in objects:
        assume(all(len(set(map(repr, [k for k, _ in p]))) == len(p) for p in [exactly(text)]))
    payload = "".join(text + end for text in objects).encode()
    written = through("jsonl", payload).decode()
    found = [exactly(line) for line in written.split("\n")[:-1]]
    assert same(found, [exactly(text) for text in objects])


@given(st.lists(OBJECTS, max_size=5), st.integers(1, 40))
@example(['{"n": 123456789012345678901234567890, "d": 1.10, "e": 1e400, "z": -0.0}'], 3)
def test_a_json_array_comes_back_untouched_however_it_is_cut(
    objects: list[str], chunk: int
) -> None:
    payload = ("[ " + " , ".join(objects) + "\n]\n").encode()
    usual, sliding.CHUNK = sliding.CHUNK, chunk
    try:
        assert same(exactly(through("json", payload)), exactly(payload))
    finally:
        sliding.CHUNK = usual


@given(OBJECTS)
def test_one_json_object_stays_one_object(text: str) -> None:
    assert same(exactly(through("json", text.encode())), exactly(text))


@pytest.mark.parametrize(
    "line",
    [b'{"a":', b"[1]", b"7", b'{"a": NaN}', b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"{} {}",
     b'{"a":' * 100_000, b'{"a": ' + b"1" * 5000 + b"}", b'{"a": 1e99999999999999999999}'],
    ids=lambda line: repr(line[:30]),
)  # fmt: skip
def test_a_bad_line_is_kept_with_its_error_and_the_others_go_on(line: bytes) -> None:
    first, bad, last = through("jsonl", b'{"n":1}\n' + line + b'\n{"n":2}\n').splitlines()
    assert (first, last) == (b'{"n":1}', b'{"n":2}')
    found = json.loads(bad)
    assert found["raw"] == line.decode("utf-8", "replace")
    assert found["error"]["title"] == "Unreadable record"
    assert "line 2" in found["error"]["detail"]


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        (b"", "line 1 column 1: the payload is empty"),
        (b"  7", "line 1 column 3: the payload is neither"),
        (b'[{"a":1},\n {"b" 2}]', "record 2, line 2 column 7: Expecting ':' delimiter"),
        (b'[{"a":1}', "line 1 column 9: the array has no end"),
        (b'[{"a":1},]', "line 1 column 10: Expecting value"),
        (b'[{"a":1}{}]', "line 1 column 9: expected ',' or ']'"),
        (b'[{"a":1}]\n x', "line 2 column 2: something follows"),
        (b'{"a":1} {"a":2}', "line 1 column 9: something follows"),
        (b'[{"a": "x', "line 1 column 8: Unterminated string"),
        (b'[{"a": NaN}]', "NaN is not JSON"),
        (b'[{"a": "\xff"}]', "not UTF-8"),
        (b"[" + b'{"a":' * 100_000, "nested too deeply"),
        (b"[" + b"1" * 5000 + b"]", "4300 digits"),
        (b'[{"a": 1e99999999999999999999}]', "exponent is out of range"),
    ],
    ids=lambda value: repr(value[:30]),
)
@pytest.mark.parametrize("chunk", [3, 128 * 1024])
def test_an_unparsable_document_says_where(
    payload: bytes, where: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliding, "CHUNK", max(chunk, len(payload) // 100))
    with pytest.raises(PayloadFault, match=re.escape(where)) as caught:
        through("json", payload)
    assert "\n" not in str(caught.value)
    assert caught.value.position["line"] >= 1


@pytest.mark.parametrize("chunk", [1, 2, 128 * 1024])
def test_an_element_that_is_no_object_is_kept_with_its_error(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliding, "CHUNK", chunk)
    found = json.loads(through("json", b'[{"a":1}, 7654321, "x", {"b":2}]'))
    assert found[0] == {"a": 1} and found[3] == {"b": 2}
    assert [found[1]["raw"], found[2]["raw"]] == [7654321, "x"]
    assert found[1]["error"]["detail"] == "record 2 is not an object"


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_record_keeps_its_bytes_and_answers_are_appended(kind: str) -> None:
    record = b'{"b" : 1.10,"a":"\\u00e9\\/", "b":2 }'
    payload = b"[" + record + b"]" if kind == "json" else record
    assert record in through(kind, payload)
    enriched = record[:-2] + b',"geo":{"country":"DE"}}'
    assert enriched in through(kind, payload, GEO, answer=germany)


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_an_empty_object_gets_the_answer_as_its_only_member(kind: str) -> None:
    payload = b"[{ }]" if kind == "json" else b"{ }\n"
    assert b'{"geo":{"country":"DE"}}' in through(kind, payload, GEO, answer=germany)


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_member_of_the_answers_name_gives_way_to_it(kind: str) -> None:
    payload = b'{"n":1.10,"geo":"old","e":1e400}'
    payload = b"[" + payload + b"]" if kind == "json" else payload
    written = through(kind, payload, GEO, answer=germany)
    assert b'{"n":1.10,"geo":{"country":"DE"},"e":1E+400}' in written


def test_answers_stand_in_the_order_of_the_steps() -> None:
    def answer(record: Record) -> None:
        record.fields["two"] = 2
        record.fields["one"] = 1

    columns = (Column("one", "one"), Column("two", "two"))
    assert through("jsonl", b'{"n":0}\n', columns, answer=answer) == b'{"n":0,"one":1,"two":2}\n'


def test_a_lone_surrogate_stays_as_it_was_written() -> None:
    payload = b'{"a":"\\ud800"}'
    assert payload in through("json", b"[" + payload + b"]")
    assert payload in through("json", payload)


def test_a_lone_surrogate_that_must_be_written_anew_is_not_silently_replaced() -> None:
    payload = b'[{"a":"\\ud800","geo":1}]'
    found = json.loads(through("json", payload, GEO, answer=germany))
    assert json.loads(found[0]["raw"])["a"] == "\ud800"
    assert found[0]["error"]["title"] == "Unwritable record"


@given(st.lists(OBJECTS, max_size=4), st.lists(VALUES, max_size=4), st.integers(1, 60))
def test_what_stands_around_an_array_at_a_path_comes_back_as_it_was(
    objects: list[str], values: list[str], chunk: int
) -> None:
    around = " ,\n ".join(f'"x{n}": {value}' for n, value in enumerate(values))
    head = " { " + (around + ", " if around else "") + '"data" : {"first":[1.10], "items": '
    tail = "\n, " + (around or '"last": []') + ' } , "items": 7\n}\n\n'
    payload = head + "[" + ",".join(objects) + "]" + tail
    usual = sliding.CHUNK, sliding.LARGE
    sliding.CHUNK, sliding.LARGE = chunk, 4
    try:
        written = through("json", payload.encode(), formats=Formats(json_path="data.items"))
    finally:
        sliding.CHUNK, sliding.LARGE = usual
    assert written.decode().startswith(head + "[")
    assert written.decode().endswith("]" + tail)
    assert same(exactly(written), exactly(payload))


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b'{"data": {"other": []}}', "there is no member 'items' in data"),
        (b'{"date": {"items": []}}', "there is no member 'data' in the document"),
        (b"{}", "there is no member 'data' in the document"),
        (b'{"data": {}}', "line 1 column 12: there is no member 'items' in data"),
        (b"[]", "looking for 'data': the document is not an object"),
        (b'{"data": []}', "looking for 'items': data is not an object"),
        (b'{\n"data": {"items": {}}}', "line 2 column 19: data.items is not an array"),
        (b'{"data": {"items": []}', "the object has no end"),
        (b'{"data": {"items": []}} x', "something follows the end of the document"),
        (b'{"data": {"items": []}, "a": tru}', "Expecting value"),
        (b'{"data": {"items": []}, a: 1}', "expected a member's name in double quotes"),
        (b'{"data" {"items": []}}', "expected ':'"),
        (b'{"x": 1 "data": {"items": []}}', "expected ',' or '}'"),
    ],
    ids=lambda value: repr(value),
)
@pytest.mark.parametrize("large", [4, 1024])
def test_a_path_that_leads_nowhere_says_where_it_ends(
    payload: bytes, why: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sliding, "LARGE", large)
    with pytest.raises(PayloadFault, match=re.escape(why)):
        through("json", payload, formats=Formats(json_path="data.items"))


def test_what_stands_around_an_array_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    value = sliding.SlidingText.value

    def watched(self: sliding.SlidingText) -> tuple[Any, str]:
        held.append(len(self._text))
        return value(self)

    monkeypatch.setattr(sliding.SlidingText, "value", watched)
    big = b"[" + b",".join([b'{"x": [1, 2.50, "y"]}'] * 300_000) + b"]"
    payload = b'{"before": %b, "items": [{"n": 1}], "after": %b}' % (big, big)
    written = through("json", payload, formats=Formats(json_path="items"))
    assert written == payload.replace(b'[{"n": 1}]', b'[\n{"n": 1}\n]')
    assert max(held) < 3 * sliding.LARGE < len(big)


def test_deep_but_allowed_nesting_passes() -> None:
    deep = b'{"a":' * 200 + b"1" + b"}" * 200
    assert len(deep) < sys.getrecursionlimit() * 10
    assert through("jsonl", deep + b"\n") == deep + b"\n"
