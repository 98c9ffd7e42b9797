"""Records in are records out: what no step touches comes back as it was, in every format."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from roundtrip.enrich import PayloadFault
from roundtrip.enrich.formats import Column, Record, document
from roundtrip.enrich.formats.opening import detect, opened, sniff


def through(kind: str, payload: bytes, columns: tuple[Column, ...] = ()) -> bytes:
    """Read a payload and write it again."""
    sink = io.BytesIO()
    found = opened(kind, io.BytesIO(payload), columns)
    writer = found.writer(sink)
    for record in found.records():
        writer.write(record)
    writer.close()
    return sink.getvalue()


def records(kind: str, payload: bytes) -> list[Record]:
    return list(opened(kind, io.BytesIO(payload), ()).records())


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
    usual, document.CHUNK = document.CHUNK, chunk
    try:
        assert same(exactly(through("json", payload)), exactly(payload))
    finally:
        document.CHUNK = usual


@given(OBJECTS)
def test_one_json_object_stays_one_object(text: str) -> None:
    assert same(exactly(through("json", text.encode())), exactly(text))


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=5)
)


@given(TABLES, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_a_table_comes_back_untouched(
    rows: list[list[str]], delimiter: str, end: str, bom: bool
) -> None:
    rows[0] = [f"column{n}" for n in range(len(rows[0]))]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    payload = text.getvalue().encode("utf-8-sig" if bom else "utf-8")
    written = through("csv", payload)
    assert written.startswith(b"\xef\xbb\xbf") is bom
    found = io.StringIO(written.decode("utf-8-sig"), newline="")
    wide = len(rows[0]) > 1
    assert list(csv.reader(found, delimiter=delimiter if wide else ",")) == rows


def test_a_plain_table_comes_back_byte_for_byte() -> None:
    payload = b'id;name;note\r\n1;"a;b";\r\n2;"line\r\nbreak";"say ""hi"""\r\n'
    assert through("csv", payload) == payload


def test_latin_1_survives_as_utf_8() -> None:
    assert through("csv", "a,b\nKöln,ß\n".encode("latin-1")).decode() == "a,b\nKöln,ß\n"


def test_utf_16_with_a_bom_is_read() -> None:
    assert through("csv", "a\tb\r\nKöln\t€\r\n".encode("utf-16")).decode() == "a\tb\r\nKöln\t€\r\n"


def test_a_row_of_the_wrong_width_keeps_its_cells_and_gets_an_error() -> None:
    columns = (Column("geo", "geo"), Column("geo.error", "geo", error=True))
    rows = through("csv", b"a,b\n1\n1,2,3\n\n4,5\n", columns).decode().splitlines()
    assert rows == [
        "a,b,geo,geo.error",
        '1,,,"Unreadable record: line 2 has 1 cells, the header has 2"',
        '1,2,,"Unreadable record: line 3 has 3 cells, the header has 2",3',
        "4,5,,",
    ]


def test_a_row_after_quoted_line_breaks_knows_its_line() -> None:
    found = records("csv", b'a,b\n"x\ny\nz",1\n2\n')
    assert [record.position for record in found] == [2, 5]


def test_a_column_that_is_already_there_is_filled_in_place() -> None:
    sink = io.BytesIO()
    found = opened("csv", io.BytesIO(b"geo,a\nold,1\n"), (Column("geo", "geo"),))
    writer = found.writer(sink)
    for record in found.records():
        record.fields["geo"] = {"n": Decimal("1.10")}
        writer.write(record)
    writer.close()
    assert sink.getvalue() == b'geo,a\n"{""n"":1.10}",1\n'


@pytest.mark.parametrize(
    ("kind", "payload", "written"),
    [("csv", b"", b""), ("csv", b"a,b\n", b"a,b\n"), ("jsonl", b"", b""), ("jsonl", b"\n \n", b""),
     ("json", b"[]", b"[]\n"), ("json", b"\xef\xbb\xbf[ ]", b"[]\n")],
)  # fmt: skip
def test_no_records_are_no_error(kind: str, payload: bytes, written: bytes) -> None:
    assert through(kind, payload) == written


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
    monkeypatch.setattr(document, "CHUNK", max(chunk, len(payload) // 100))
    with pytest.raises(PayloadFault, match=re.escape(where)) as caught:
        through("json", payload)
    assert "\n" not in str(caught.value)
    assert caught.value.position["line"] >= 1


@pytest.mark.parametrize("chunk", [1, 2, 128 * 1024])
def test_an_element_that_is_no_object_is_kept_with_its_error(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "CHUNK", chunk)
    found = json.loads(through("json", b'[{"a":1}, 7654321, "x", {"b":2}]'))
    assert found[0] == {"a": 1} and found[3] == {"b": 2}
    assert [found[1]["raw"], found[2]["raw"]] == [7654321, "x"]
    assert found[1]["error"]["detail"] == "record 2 is not an object"


def test_a_lone_surrogate_is_not_silently_replaced() -> None:
    found = json.loads(through("json", b'[{"a":"\\ud800"}]'))
    assert json.loads(found[0]["raw"]) == {"a": "\ud800"}
    assert found[0]["error"]["title"] == "Unwritable record"


def test_an_unclosed_quote_does_not_swallow_a_large_file() -> None:
    with pytest.raises(PayloadFault, match="line 2: field larger than field limit"):
        through("csv", b'a,b\n1,"' + b"x" * (17 * 1024 * 1024))


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [("a.CSV", b"{", "csv"), ("a.tsv", b"", "csv"), ("a.json", b"", "json"),
     ("a.jsonl", b"", "jsonl"), ("a.ndjson", b"", "jsonl"), ("a.txt", b"a;b\n1;2", "csv"),
     ("a", b' [{"a":1}]', "json"), ("a", b'{"a":1}\n{"a":2}\n', "jsonl"),
     ("a", b'{"a":1}\n', "json"),
     ("a", b'{\n"a":1}\n', "json"), ("a", b"\x89PNG\0\0", "raw"), ("a", b"\xff\xfea\0", "csv"),
     ("a", b"", "csv")],
)  # fmt: skip
def test_auto_goes_by_extension_then_by_content(name: str, head: bytes, expected: str) -> None:
    assert detect(name, io.BytesIO(head)) == expected


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_read_or_refused_cleanly(payload: bytes) -> None:
    assert sniff(payload) in {"csv", "json", "jsonl", "raw"}
    for kind in ("csv", "json", "jsonl"):
        try:
            through(kind, payload)
        except PayloadFault as fault:
            assert "\n" not in str(fault)


def test_a_source_stays_open_and_is_the_callers_to_close() -> None:
    source = io.BytesIO(b"a,b\n1,2\n")
    found = opened("csv", source, ()).records()
    next(found)
    found.close()
    assert not source.closed


def test_deep_but_allowed_nesting_passes() -> None:
    deep = b'{"a":' * 200 + b"1" + b"}" * 200
    assert len(deep) < sys.getrecursionlimit() * 10
    assert through("jsonl", deep + b"\n") == deep + b"\n"
