"""CSV and TSV: cells come back as they were, and columns are appended."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import Column, Record
from roundtrip.enrich.settings import Csv, Formats
from tests.enrich.through import GEO, germany, records, through

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
    def answer(record: Record) -> None:
        record.fields["geo"] = {"n": Decimal("1.10")}

    written = through("csv", b"geo,a\nold,1\n", (Column("geo", "geo"),), answer=answer)
    assert written == b'geo,a\n"{""n"":1.10}",1\n'


def test_cells_are_never_taken_for_numbers() -> None:
    payload = b"n,d,e,z\n123456789012345678901234567890,1.10,,007\n-0,1e400, x ,+1\n"
    assert through("csv", payload) == payload


@given(TABLES)
def test_a_tsv_comes_back_untouched_tabs_and_line_ends_in_cells_included(
    rows: list[list[str]],
) -> None:
    rows[0] = [f"column{n}" for n in range(len(rows[0]))]
    rows.append(["tab\there", *["line\r\nend"] * (len(rows[0]) - 1)])
    text = io.StringIO()
    csv.writer(text, "excel-tab", quoting=csv.QUOTE_ALL).writerows(rows)
    written = through("tsv", text.getvalue().encode())
    found = io.StringIO(written.decode(), newline="")
    assert list(csv.reader(found, "excel-tab")) == rows


def test_a_tsv_of_one_column_has_commas_in_its_cells_and_no_other_column() -> None:
    written = through("tsv", b"a,b\n1,2\n", GEO, answer=germany)
    assert written == b"a,b\tgeo.country\tgeo.error\n1,2\tDE\t\n"


@pytest.mark.parametrize(
    ("given_", "payload", "written"),
    [
        (Csv(delimiter=":"), b"a,1:b\n1:2\n", b"a,1:b:geo.country:geo.error\n1:2:DE:\n"),
        (Csv(quote="'"), b"a,b\n'x,y',\"\n", b"a,b,geo.country,geo.error\n'x,y',\",DE,\n"),
        (Csv(header=("a", "b")), b"1,2\n3\n",
         b'1,2,DE,\n3,,,"Unreadable record: line 2 has 1 cells, the pipeline names 2"\n'),
        (Csv(header=("a", "geo.country")), b"1,old\n", b"1,DE,\n"),
        (Csv(encoding="cp1252"), b"a\n\x80\n", "a,geo.country,geo.error\n\u20ac,DE,\n".encode()),
        (Csv(encoding="utf-8"), b"\xef\xbb\xbfa\n1\n",
         b"\xef\xbb\xbfa,geo.country,geo.error\n1,DE,\n"),
        (Csv(encoding="utf-16-le"), b"\xff\xfea\0\n\x001\0", b"a,geo.country,geo.error\n1,DE,\n"),
        (Csv(encoding="shift_jis"), "a\n\u30c6\n".encode("shift_jis"),
         "a,geo.country,geo.error\n\u30c6,DE,\n".encode()),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_given_is_not_guessed(given_: Csv, payload: bytes, written: bytes) -> None:
    assert through("csv", payload, GEO, Formats(csv=given_), answer=germany) == written


@pytest.mark.parametrize(
    ("given_", "payload", "why"),
    [
        (Csv(encoding="utf-8"), b"a\n\xff\n", "not valid utf-8"),
        (Csv(encoding="ascii"), b"a\n\xff\n", "not valid ascii"),
        (Csv(encoding="base64"), b"a\n", "csv.encoding 'base64' is not known"),
        (Csv(encoding="no such"), b"a\n", "csv.encoding 'no such' is not known"),
        (Csv(encoding="a\0"), b"a\n", "is not known"),
        (Csv(delimiter=",,"), b"a\n", "csv.delimiter must be one character"),
        (Csv(delimiter="\n"), b"a\n", "csv.delimiter must be one character"),
        (Csv(quote=""), b"a\n", "csv.quote must be one character"),
        (Csv(quote=","), b"a\n", "csv.delimiter and csv.quote are the same"),
        (Csv(encoding="utf-7"), b"a\n+2AA-\n", "line 2 holds no valid text"),
    ],
    ids=str,
)
def test_what_is_given_and_can_not_be_is_said(given_: Csv, payload: bytes, why: str) -> None:
    with pytest.raises(PayloadFault, match=why):
        through("csv", payload, formats=Formats(csv=given_))


def test_empty_lines_before_the_header_are_skipped() -> None:
    assert records("csv", b"\n\r\na,b\n1,2\n")[0].fields == {"a": "1", "b": "2"}


def test_a_failed_step_has_its_error_in_its_own_column() -> None:
    def fail(record: Record) -> None:
        fault = RecordFault("HTTP error", "step geo: 404", 404)
        record.faults["geo"] = fault
        record.fields["geo"] = {"error": fault.as_dict()}

    written = through("csv", b"a\n1\n", GEO, answer=fail)
    assert written == b"a,geo.country,geo.error\n1,,HTTP error: step geo: 404\n"


def test_an_unclosed_quote_does_not_swallow_a_large_file() -> None:
    with pytest.raises(PayloadFault, match="line 2: field larger than field limit"):
        through("csv", b'a,b\n1,"' + b"x" * (17 * 1024 * 1024))
