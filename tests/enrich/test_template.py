"""Templates take hostile values as values: none changes where a request goes or what it is."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich import RecordFault
from roundtrip.template import Template, Url, header_text, structure

HOSTILE = [
    "a/b", "?x=1", "#top", "@evil.example", ":80", "//evil.example/", "\\\\evil", "%2f", "%25",
    "{ip}", "{{ip}}", "a b", "ü€😀", "\r\nHost: evil", "\x00", "&admin=1", "=", ";", "http://evil/",
]  # fmt: skip
CLIMBING = [
    "..", ".", "../x", "x/..", "..\\x", "a/./b", "../../admin", "%2e%2e%2f", "%2e", "..%2fadmin",
    "..;", "..;a=b", "%252e%252e", "..%5cx",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_a_field_stays_one_segment_of_the_path(value: str) -> None:
    url = Url("https://api.example:8443/ip/{ip}/x", {}).render({"ip": value})
    parts = urlsplit(str(httpx.URL(url)))
    assert (parts.scheme, parts.netloc) == ("https", "api.example:8443")
    before, segment, after = parts.path.removeprefix("/").split("/")
    assert (before, unquote(segment), after) == ("ip", value, "x")
    assert (parts.query, parts.fragment) == ("", "")


@pytest.mark.parametrize("value", HOSTILE + CLIMBING)
def test_a_field_stays_one_value_of_the_query(value: str) -> None:
    url = Url("https://api.example/q?a={ip}", {"b": "<{ip}>"}).render({"ip": value})
    found = httpx.URL(url)
    assert (found.scheme, found.host, found.path) == ("https", "api.example", "/q")
    assert dict(found.params) == {"a": value, "b": f"<{value}>"}


@pytest.mark.parametrize("value", CLIMBING)
def test_a_field_that_would_climb_in_the_path_is_refused(value: str) -> None:
    with pytest.raises(RecordFault, match="would change the path"):
        Url("https://api.example/ip/{ip}", {}).render({"ip": value})


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_text_at_all_changes_scheme_host_or_port(path: str, query: str) -> None:
    template = Url("http://api.example:81/a/{p}/b?q={q}", {})
    try:
        url = httpx.URL(template.render({"p": path, "q": query}))
    except RecordFault:
        return
    assert (url.scheme, url.host, url.port, url.userinfo) == ("http", "api.example", 81, b"")
    assert dict(url.params) == {"q": query}
    assert url.raw_path.startswith(b"/a/") and url.raw_path.split(b"?")[0].endswith(b"/b")


@pytest.mark.parametrize(
    "url",
    ["https://{host}/", "{scheme}://a/", "https://a{x}/", "https://a:{port}/", "https://u:{p}@a/",
     "ftp://a/", "/relative", "https://", "https:///x", "https://a/#x", "https://a b/",
     "https://a\\@b/", "https://a/\nb"],
)  # fmt: skip
def test_a_url_whose_origin_is_not_literal_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Url(url, {})


@pytest.mark.parametrize("fields", [{}, {"ip": ""}, {"ip": None}, {"other": 1}])
def test_a_missing_or_empty_field_is_a_record_fault(fields: dict[str, object]) -> None:
    with pytest.raises(RecordFault, match="Missing field"):
        Url("https://a/{ip}", {}).render(fields)


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_a_list_or_object_can_not_stand_in_a_url(value: object) -> None:
    with pytest.raises(RecordFault, match="not a plain value"):
        Url("https://a/{ip}", {}).render({"ip": value})


def test_a_dotted_name_reaches_into_the_record_unless_a_field_has_that_very_name() -> None:
    template = Template("{geo.city}|{list.1}")
    record = {"geo": {"city": "Köln"}, "list": ["a", "b"]}
    assert template.render(record, str) == "Köln|b"
    assert template.render(record | {"geo.city": "Bonn"}, str) == "Bonn|b"


def test_only_names_in_braces_are_fields() -> None:
    record = {"ip": "1", "a b": "2", "größe": "3"}
    assert Template('{"ip": "{ip}", "n": {"x": "{a b}"}}').render(record, str) == (
        '{"ip": "1", "n": {"x": "2"}}'
    )
    assert Template("{{ip}} { ip } {größe} {}").render(record, str) == "{ip} { ip } 3 {}"


def test_a_template_reaches_no_attributes() -> None:
    with pytest.raises(RecordFault, match="Missing field"):
        Template("{ip.__class__}").render({"ip": "1"}, str)


def test_a_header_takes_no_line_breaks() -> None:
    with pytest.raises(RecordFault, match="control characters"):
        Template("Bearer {t}").render({"t": "x\r\nHost: evil"}, header_text)


def test_a_json_template_keeps_the_type_of_a_lone_field() -> None:
    make, fields = structure({"a": "{n}", "b": ["x{n}y", 7, None, True], "c": {"d": "{l}"}})
    assert make({"n": 5, "l": [1]}) == {"a": 5, "b": ["x5y", 7, None, True], "c": {"d": [1]}}
    assert {field.name for field in fields} == {"n", "l"}


def test_text_that_utf8_can_not_hold_is_a_record_fault() -> None:
    with pytest.raises(RecordFault, match="not valid text"):
        Url("https://a/{ip}", {}).render({"ip": "\ud800"})


def test_credentials_stand_beside_the_origin_and_not_in_it() -> None:
    url = Url("https://us%40er:pw@API.example:8443/x", {})
    assert (url.userinfo, url.host) == ("us%40er:pw", "API.example:8443")
    assert (url.origin, url.constant) == (
        "https://API.example:8443",
        "https://API.example:8443/x",
    )


def test_constants_of_the_query_are_no_templates() -> None:
    url = Url("https://a/{p}?x=1", {"q": "{p}"}, {"k&": "{p}&"})
    assert url.render({"p": "v"}) == "https://a/v?x=1&q=v&k%26=%7Bp%7D%26"


@pytest.mark.parametrize(
    ("literal", "sent"), [("50%", "50%25"), ("%zz", "%25zz"), ("%2F", "%2F"), ("%é", "%25%C3%A9")]
)
def test_a_percent_sign_that_encodes_nothing_is_encoded_itself(literal: str, sent: str) -> None:
    url = Url(f"https://a/{literal}/{{p}}?q={literal}", {})
    assert url.render({"p": "v"}) == f"https://a/{sent}/v?q={sent}"
