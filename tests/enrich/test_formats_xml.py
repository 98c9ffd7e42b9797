"""XML: the document comes back byte for byte but for what is appended to its records."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from roundtrip.enrich.faults import PayloadFault, RecordFault
from roundtrip.enrich.formats import Column, Record, xml_reader
from roundtrip.enrich.formats.opening import opened
from roundtrip.enrich.settings import Formats
from tests.enrich.through import GEO, germany, records, through

DE = b"<geo><country>DE</country></geo>"


def named(name: str) -> Formats:
    return Formats(xml_record=name)


# what programs write in documents: each piece stands for itself
TEXT = st.sampled_from(
    ["", " ", "\n  ", "a", "K\u00f6ln", "&amp;", "&#13;", "&#x20ac;", "/>", "]]", "<![CDATA[<a>]]>",
     "<!-- <x> -->", "<?php a > b ?>", "\U0001f600"]
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "x:c", "geo", "x:geo"])
ATTRIBUTES = st.sampled_from(["", " ", " n='>'", ' x:n="/>"', ' xmlns="urn:a"', " n = '\"'\n m=''"])


def tag(name: str, attributes: str, inner: str) -> str:
    if inner == "":
        return f"<{name}{attributes}/>"
    return f"<{name}{attributes}>{inner}</{name} >"


ELEMENTS = st.recursive(
    st.builds(tag, NAMES, ATTRIBUTES, TEXT),
    lambda inner: st.builds(tag, NAMES, ATTRIBUTES, st.lists(st.one_of(TEXT, inner)).map("".join)),
    max_leaves=6,
)
RECORDS = st.lists(st.one_of(TEXT.filter(lambda t: t[:1] in (" ", "\n", "<", "")), ELEMENTS))
ENCODED = st.sampled_from(
    ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252", "us-ascii"]
)
DOCTYPES = st.sampled_from(["", "<!DOCTYPE r>", '<!DOCTYPE r SYSTEM "r.dtd">'])


def document(encoding: str, doctype: str, inner: str) -> bytes:
    declared = encoding.removesuffix("-sig")
    text = (
        f"<?xml version='1.0'  encoding='{declared}' ?>\n<!-- first -->{doctype}\n"
        f"<r xmlns:x = 'urn:x'>{inner}</r>\n<?last?>\n"
    )
    return text.encode(encoding, "xmlcharrefreplace")


def tree(payload: bytes) -> Any:
    return etree.fromstring(payload, etree.XMLParser(resolve_entities=False, no_network=True))


@given(ENCODED, DOCTYPES, RECORDS, NAMES, st.integers(1, 40))
@example("utf-8", "", ["<a/>", "<a n='>'/>", "<a></a>", "<a>/></a>", "<a><b/></a>"], "a", 3)
def test_a_document_comes_back_byte_for_byte_however_it_is_cut(
    encoding: str, doctype: str, inner: list[str], name: str, chunk: int
) -> None:
    payload = document(encoding, doctype, "".join(inner))
    usual = xml_reader.CHUNK, xml_reader.KEPT
    xml_reader.CHUNK, xml_reader.KEPT = chunk, 4
    try:
        assert through("xml", payload, formats=named(name)) == payload
        enriched = through("xml", payload, GEO, named(name), answer=germany)
    finally:
        xml_reader.CHUNK, xml_reader.KEPT = usual
    check_enriched(payload, enriched, name.rpartition(":")[2] if ":" not in name else name)


def check_enriched(payload: bytes, enriched: bytes, name: str) -> None:
    """With our elements taken out again it is the document from before, without older ones."""
    before, after = tree(payload), tree(enriched)
    for root, ours in ((before, False), (after, True)):
        for record in outermost(root, name):
            found = [child for child in record if local(child) == "geo"]
            if ours:
                assert len(found) == 1 and found[0] is record[-1]
                assert etree.tostring(found[0], method="text", encoding="unicode").strip() == "DE"
            for child in found:
                keep_tail(child)
    assert squeezed(before) == squeezed(after)


def local(element: Any) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def outermost(root: Any, name: str) -> list[Any]:
    def fits(element: Any) -> bool:
        prefix = f"{element.prefix}:" if getattr(element, "prefix", None) else ""
        return name in (local(element), prefix + local(element))

    return [e for e in root.iter() if fits(e) and not any(fits(a) for a in e.iterancestors())]


def keep_tail(child: Any) -> None:
    previous, parent = child.getprevious(), child.getparent()
    if previous is not None:
        previous.tail = (previous.tail or "") + (child.tail or "")
    else:
        parent.text = (parent.text or "") + (child.tail or "")
    child.tail = None
    parent.remove(child)


def squeezed(root: Any) -> bytes:
    return re.sub(rb"\s+|&#13;", b"", etree.tostring(root, method="c14n"))


def test_the_layout_is_carried_on() -> None:
    payload = b"<r>\n\t<a>\n\t\t<ip>1</ip>\n\t</a>\n\t<a n='2'/>\n</r>\n"
    assert through("xml", payload, GEO, answer=germany) == (
        b"<r>\n\t<a>\n\t\t<ip>1</ip>\n\t\t" + DE + b"\n\t</a>\n\t<a n='2'>" + DE + b"</a>\n</r>\n"
    )


def test_a_text_only_record_keeps_its_text() -> None:
    payload = b"<r><ip> 10.0.0.1\n</ip></r>"
    assert records("xml", payload)[0].fields == {"#text": "10.0.0.1"}
    written = through("xml", payload, GEO, answer=germany)
    assert written == b"<r><ip> 10.0.0.1\n" + DE + b"</ip></r>"


def test_an_element_of_the_answers_name_gives_way_to_it() -> None:
    payload = b"<r>\n <a>\n  <geo>old</geo>\n  <ip>1</ip>\n  <x:geo xmlns:x='u'/>\n </a>\n</r>"
    once = through("xml", payload, GEO, answer=germany)
    assert once == b"<r>\n <a>\n  <ip>1</ip>\n  " + DE + b"\n </a>\n</r>"
    assert through("xml", once, GEO, answer=germany) == once


def test_an_element_of_the_records_own_name_inside_it_is_a_field() -> None:
    payload = b"<r><geo><geo/></geo><geo><geo>x</geo ></geo></r>"
    assert [record.fields for record in records("xml", payload)] == [{"geo": ""}, {"geo": "x"}]
    written = through("xml", payload, GEO, answer=germany)
    assert written == b"<r><geo>" + DE + b"</geo><geo>" + DE + b"</geo></r>"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b"<a/>", {}),
        (b"<a><b>1</b><c/><d> </d></a>", {"b": "1", "c": "", "d": " "}),
        (b"<a n='1' x:m='2'/>", {"@n": "1", "@m": "2"}),
        (b"<a><b>1</b><b>2</b><b><c>3</c></b></a>", {"b": ["1", "2", {"c": "3"}]}),
        (b"<a><b c='EUR'>12.50</b></a>", {"b": {"@c": "EUR", "#text": "12.50"}}),
        (b"<a>\n t <b/> u\n</a>", {"b": "", "#text": "t  u"}),
        (b"<x:a><x:b>&lt;&#65;<![CDATA[&]]></x:b></x:a>", {"b": "<A&"}),
        (b"<a xmlns='urn:y'><b xmlns:z='urn:z'/></a>", {"b": ""}),
        (b"<a><b>1<!-- 2 -->3<?x 4?></b></a>", {"b": "13"}),
        (b"<a><n>123456789012345678901234567890</n><d>1.10</d></a>",
         {"n": "123456789012345678901234567890", "d": "1.10"}),
    ],
)  # fmt: skip
def test_an_element_is_seen_as_fields(text: bytes, fields: dict[str, Any]) -> None:
    payload = b"<r xmlns:x='urn:x'>" + text + b"</r>"
    (found,) = records("xml", payload)
    assert found.fields == fields


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("K\u00f6ln", "K\u00f6ln"),
        ("<&>\r\n", "&lt;&amp;&gt;&#13;\n"),
        ("a\0b\x1b\ufffe", "a\ufffdb\ufffd\ufffd"),
        (True, "true"),
        (10**30, "1" + "0" * 30),
        (1.5, "1.5"),
    ],
)
def test_an_answers_value_is_text(value: object, text: str) -> None:
    assert written_answer(value) == f"<geo>{text}</geo>"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "<geo/>"),
        ({}, "<geo></geo>"),
        ([], ""),
        ([1, 2], "<geo>1</geo><geo>2</geo>"),
        ({"a": [1, {"b": None}]}, "<geo><a>1</a><a><b/></a></geo>"),
        ({"a": [[1, 2], [3]]},
         "<geo><a><item>1</item><item>2</item></a><a><item>3</item></a></geo>"),
        ({"country code": 1, "1st": 2, "": 3, "x:y": 4, "\u00e9": 5},
         "<geo><country_code>1</country_code><_1st>2</_1st><_>3</_><x_y>4</x_y><_>5</_></geo>"),
    ],
)  # fmt: skip
def test_an_answers_members_are_elements(value: object, written: str) -> None:
    assert written_answer(value) == written


def written_answer(value: object) -> str:
    def answer(record: Record) -> None:
        record.fields["geo"] = value

    written = through("xml", b"<r><a>1</a></r>", GEO, answer=answer).decode()
    tree(written.encode())
    return written.removeprefix("<r><a>1").removesuffix("</a></r>")


@given(st.recursive(st.one_of(st.none(), st.text(), st.integers()), lambda i: st.one_of(
    st.lists(i), st.dictionaries(st.text(), i))), ENCODED)  # fmt: skip
def test_any_answer_leaves_a_document_that_can_be_parsed(value: object, encoding: str) -> None:
    def answer(record: Record) -> None:
        record.fields["geo data"] = value

    payload = document(encoding, "", "<a/><a>1</a>")
    columns = (Column("geo data", "geo data"),)
    written = through("xml", payload, columns, answer=answer)
    assert [local(record) for record in tree(written)] == ["a", "a"]
    assert through("xml", written, columns, answer=answer) == written


def test_a_failed_step_leaves_its_error_in_the_record() -> None:
    def fail(record: Record) -> None:
        fault = RecordFault("HTTP error", "step geo: 404", 404)
        record.faults["geo"] = fault
        record.fields["geo"] = {"error": fault.as_dict()}

    assert through("xml", b"<r><a/></r>", GEO, answer=fail) == (
        b"<r><a><geo><error><title>HTTP error</title><status>404</status>"
        b"<detail>step geo: 404</detail></error></geo></a></r>"
    )


@pytest.mark.parametrize(
    ("way", "numbers"),
    [("invoice", "123"), ("b/invoice", "23"), ("x/b/invoice", "3"), ("x/invoice", ""), ("x:b", "4"),
     ("r/invoice", "1"), ("/r/b/invoice", "2"), ("nothing", "")],
)  # fmt: skip
def test_records_are_found_by_name_or_by_the_end_of_the_way(way: str, numbers: str) -> None:
    payload = (
        b"<r xmlns:x='urn:x'><invoice n='1'><invoice n='0'/></invoice><b><invoice n='2'/></b>"
        b"<x><b><invoice n='3'/></b></x><x:b n='4'/></r>"
    )
    found = records("xml", payload, named(way))
    assert "".join(record.fields["@n"] for record in found) == numbers
    assert through("xml", payload, formats=named(way)) == payload


def test_the_root_itself_can_be_the_record() -> None:
    written = through("xml", b"<a n='1'><b>2</b></a>\n", GEO, named("a"), answer=germany)
    assert written == b"<a n='1'><b>2</b>" + DE + b"</a>\n"


def test_without_a_name_the_roots_children_must_be_alike() -> None:
    assert len(records("xml", b"<r><a/> text <a/><!-- a --></r>")) == 2
    with pytest.raises(PayloadFault, match="column 8: the root holds both 'a' and 'b'"):
        records("xml", b"<r><a/><b/></r>")


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "line 1 column 1: no element found"),
        (b"<r><a></r>", "record 1, line 1 column 9: mismatched tag"),
        (b"<r>\n<a>&x;</a></r>", "record 1, line 2 column 4: undefined entity"),
        (b"<r/><r/>", "line 1 column 5: junk after document element"),
        (b"<r><a>\x00</a></r>", "not well-formed"),
        (b"<r><a>\xff</a></r>", "not well-formed"),
        (b"<?xml version='1.0' encoding='no-such'?><r/>", "the encoding can't be read; UTF-8 can"),
        (b"<?xml version='1.0' encoding='shift_jis'?><r/>", "the encoding can't be read"),
        (b"<a>" * 300, "elements are nested more than 256 deep"),
        (b"<a><b>" + b"<c>" * 300, "elements are nested more than 256 deep"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_broken_document_says_where(payload: bytes, why: str) -> None:
    with pytest.raises(PayloadFault, match=re.escape(why)) as caught:
        through("xml", payload)
    assert caught.value.position["line"] >= 1


BILLION_LAUGHS = b"""<!DOCTYPE lolz [
<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;"><!ENTITY lol3 "&lol2;&lol2;">
]><r><a>&lol3;</a></r>"""


@pytest.mark.parametrize(
    "payload",
    [
        BILLION_LAUGHS,
        b'<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]><r><a>&e;</a></r>',
        b'<!DOCTYPE r [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]><r><a/></r>',
        b'<!DOCTYPE r SYSTEM "r.dtd" [<!ATTLIST a n CDATA "1">]><r><a/></r>',
    ],
)
def test_a_doctype_that_declares_entities_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadFault, match="the DOCTYPE has declarations of its own"):
        records("xml", payload)


def test_an_outer_dtd_is_never_opened_and_its_entities_are_record_errors() -> None:
    payload = (
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd">'
        b"<r>&e;<a>&e;</a><a b='&e;'/><a><![CDATA[&e;]]>&amp;&#9;<!-- &e; --></a></r>"
    )
    found = records("xml", payload)
    assert [str(record.unreadable or "") for record in found] == [
        "Unreadable record: record 1 holds the entity &e; which is not declared",
        "Unreadable record: record 2 holds the entity &e; which is not declared",
        "",
    ]
    assert through("xml", payload).count(b"<error><title>Unreadable record</title>") == 2


@pytest.mark.parametrize(
    ("limit", "value", "payload", "why"),
    [
        ("MAX_TOKEN", 100, b"<r><!-- " + b"x" * 500, "a tag or comment is longer than 100 bytes"),
        ("MAX_RECORD", 100, b"<r><a>" + b"x" * 500, "the record is longer than 100 bytes"),
        (
            "MAX_NAMES",
            100,
            b"<r><a>" + b"".join(b"<n%d/>" % n for n in range(99)),
            "different names",
        ),
    ],
)
def test_what_would_need_too_much_memory_is_refused(
    limit: str, value: int, payload: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xml_reader, limit, value)
    monkeypatch.setattr(xml_reader, "CHUNK", 50)
    with pytest.raises(PayloadFault, match=why):
        records("xml", payload)


def test_what_stands_around_the_records_takes_no_memory_and_stays() -> None:
    around = b"<x>" + b"<y n='1'>text</y>\n" * 400_000 + b"</x>"
    payload = b"<r>" + around + b"<a/>" + around + b"<a/>" + around + b"</r>"
    source, sink = io.BytesIO(payload), io.BytesIO()
    found = opened("xml", source, GEO, named("a"))
    writer = found.writer(sink)
    waiting = list(found.records())
    assert sum(record.size for record in waiting) < 100
    for record in waiting:
        germany(record)
        writer.write(record)
    writer.close()
    assert sink.getvalue() == payload.replace(b"<a/>", b"<a>" + DE + b"</a>")
