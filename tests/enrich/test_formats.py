"""What holds for every format: which one it is, nothing but clean refusals, dropped records."""

from __future__ import annotations

import encodings.aliases
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.faults import PayloadFault
from roundtrip.enrich.formats import Record
from roundtrip.enrich.formats.opening import detect, opened, sniff
from roundtrip.enrich.settings import Csv, Formats
from tests.enrich.through import GEO, germany, through


@pytest.mark.parametrize(
    ("kind", "payload", "written"),
    [("csv", b"", b""), ("csv", b"a,b\n", b"a,b\n"), ("jsonl", b"", b""), ("jsonl", b"\n \n", b""),
     ("json", b"[]", b"[]\n"), ("json", b"\xef\xbb\xbf[ ]", b"[]\n")],
)  # fmt: skip
def test_no_records_are_no_error(kind: str, payload: bytes, written: bytes) -> None:
    assert through(kind, payload) == written


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [("a.CSV", b"{", "csv"), ("a.tsv", b"", "tsv"), ("a.TSV", b"{", "tsv"),
     ("a.xml", b"", "xml"), ("a.json", b"", "json"),
     ("a.jsonl", b"", "jsonl"), ("a.ndjson", b"", "jsonl"), ("a.txt", b"a;b\n1;2", "csv"),
     ("a", b' [{"a":1}]', "json"), ("a", b'{"a":1}\n{"a":2}\n', "jsonl"),
     ("a", b'{"a":1}\n', "json"),
     ("a", b'{\n"a":1}\n', "json"), ("a", b"\x89PNG\0\0", "raw"), ("a", b"\xff\xfea\0", "csv"),
     ("a", b"", "csv"), ("a", b'<?xml version="1.0"?><a/>', "xml"), ("a", b" <a/>", "xml"),
     ("a", b"\xef\xbb\xbf<a/>", "xml"), ("a", "<a/>".encode("utf-16"), "xml"),
     ("a", b"\xfe\xff\0<\0a", "xml")],
)  # fmt: skip
def test_auto_goes_by_extension_then_by_content(name: str, head: bytes, expected: str) -> None:
    assert detect(name, io.BytesIO(head)) == expected


FORMATS = Formats(json_path="a", xml_record="a")
PLAUSIBLE = {
    "csv": b'a,b,c\n1,"2\n",3\n4,5,6\n',
    "tsv": b'a\tb\tc\n1\t"2\t"\t3\n',
    "json": b'{"z": [1, {"y": "x"}], "a": [{"b": 1.5}, {"c": "\\u00e9"}, 7], "d": null}',
    "jsonl": b'{"a": 1}\n{"b": [2, "x"]}\n',
    "xml": b'<?xml version="1.0"?><!--c--><r x="y"><a n="1">&lt;<b/></a><a><![CDATA[x]]></a></r>',
}


def survives(kind: str, payload: bytes, formats: Formats) -> None:
    try:
        through(kind, payload, GEO, formats, answer=germany)
    except PayloadFault as fault:
        assert "\n" not in str(fault)


@given(st.binary(max_size=200))
@pytest.mark.parametrize("kind", PLAUSIBLE)
def test_any_bytes_at_all_are_read_or_refused_cleanly(kind: str, payload: bytes) -> None:
    assert sniff(payload) in {"csv", "json", "jsonl", "raw", "xml"}
    survives(kind, payload, Formats())
    survives(kind, payload, FORMATS)


@given(st.data())
@pytest.mark.parametrize("kind", PLAUSIBLE)
def test_a_payload_cut_or_with_bytes_put_into_it_is_read_or_refused_cleanly(
    kind: str, data: st.DataObject
) -> None:
    whole = PLAUSIBLE[kind]
    at = data.draw(st.integers(0, len(whole)))
    put_in = data.draw(
        st.one_of(st.binary(max_size=4), st.sampled_from([b"<", b"&x;", b'"', b"}"]))
    )
    rest = whole[data.draw(st.integers(at, len(whole))) :]
    survives(kind, whole[:at] + put_in + rest, Formats())
    survives(kind, whole[:at] + put_in + rest, FORMATS)


ENCODINGS = sorted(
    {*encodings.aliases.aliases.values(), "utf_8_sig", "idna", "punycode", "undefined"}
)


@given(st.sampled_from(ENCODINGS), st.binary(max_size=80))
def test_any_encoding_that_is_given_or_declared_is_used_or_refused_cleanly(
    name: str, payload: bytes
) -> None:
    for kind in ("csv", "tsv"):
        survives(kind, b"a,b\n1," + payload, Formats(csv=Csv(encoding=name)))
    survives(
        "xml", b'<?xml version="1.0" encoding="%b"?><a>%b</a>' % (name.encode(), payload), FORMATS
    )


@pytest.mark.parametrize(
    ("kind", "payload", "written"),
    [
        ("csv", b"n\n1\n2\n3\n", b"n\n1\n3\n"),
        ("jsonl", b'{"n":"1"}\n{"n":"2"}\n{"n":"3"}\n', b'{"n":"1"}\n{"n":"3"}\n'),
        ("json", b'[{"n":"1"},{"n":"2"},{"n":"3"}]', b'[\n{"n":"1"},\n{"n":"3"}\n]\n'),
        ("json", b'{"n":"2"}', b"null\n"),
        ("xml", b"<r> <a n='1'/>\n <!-- b -->\n <a><n>2</n></a>\n <a n='3'/>\n</r>",
         b"<r> <a n='1'/>\n <!-- b -->\n <a n='3'/>\n</r>"),
    ],
)  # fmt: skip
def test_a_dropped_record_is_left_out_and_nothing_else(
    kind: str, payload: bytes, written: bytes
) -> None:
    def drop(record: Record) -> None:
        record.dropped = "2" in record.fields.values()

    assert through(kind, payload, answer=drop) == written


@pytest.mark.parametrize(
    ("kind", "payload", "written"),
    [
        ("csv", b"n\n1\n", b"n,geo.country,geo.error\n1,,\n"),
        ("jsonl", b'{"n":1}\n', b'{"n":1}\n'),
        ("json", b'[{"n":1}]', b'[\n{"n":1}\n]\n'),
        ("xml", b"<r><a>1</a></r>", b"<r><a>1</a></r>"),
    ],
)
def test_a_skipped_step_adds_nothing_to_a_record(kind: str, payload: bytes, written: bytes) -> None:
    assert through(kind, payload, GEO) == written


@pytest.mark.parametrize(
    ("kind", "payload", "old"),
    [
        ("csv", b"geo,n\nold,1\n", b"old,1,,\n"),
        ("csv", b"geo,geo.country\nold,kept\n", b"old,kept,\n"),
        ("csv", b"n,geo.country\n1,kept\n", b"1,kept,\n"),
        ("jsonl", b'{"geo":"old","n":1}\n', b'{"geo":"old","n":1}'),
        ("json", b'[{"geo":"old","n":1}]', b'{"geo":"old","n":1}'),
        ("xml", b"<r><a><geo>old</geo></a></r>", b"<a><geo>old</geo></a>"),
    ],
)
def test_a_skipped_step_leaves_what_the_record_held_in_its_place(
    kind: str, payload: bytes, old: bytes
) -> None:
    assert old in through(kind, payload, GEO)


def test_a_source_stays_open_and_is_the_callers_to_close() -> None:
    source = io.BytesIO(b"a,b\n1,2\n")
    found = opened("csv", source, ()).records()
    next(found)
    found.close()
    assert not source.closed
