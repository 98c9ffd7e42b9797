"""The Link header (RFC 8288): whatever its spelling, the next page is found or nothing is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.enrich.steps.http.links import next_link

HEADERS = [
    (None, None),
    ("", None),
    ('<https://a/?page=2>; rel="next"', "https://a/?page=2"),
    ("</2>; rel=next", "/2"),
    ('</1>; rel="prev", </3>; rel="next", </9>; rel="last"', "/3"),
    ('</9>; rel="last next"', "/9"),
    ('</9>; REL="NEXT"', "/9"),
    ('</2>; title="a, <b>; rel=prev"; rel=next', "/2"),
    ('</2>; title="say \\"next\\""; rel="n\\ext"', "/2"),
    ("</2>;rel=next;", "/2"),
    (" , </2> ; rel = next", "/2"),
    ('</2>; rel="prev"; rel="next"', None),
    ('</2>; rel="next"; anchor="#other"', None),
    ("</2>", None),
    ("</2>; next", None),
    ("<>; rel=next", ""),
    ("/2; rel=next", None),
]


@pytest.mark.parametrize(("header", "found"), HEADERS)
def test_the_next_link_is_found(header: str | None, found: str | None) -> None:
    assert next_link(header) == found


def test_a_header_of_spaces_takes_no_time() -> None:
    began = time.process_time()
    assert next_link("</1>; rel=prev" + " " * 80_000 + "x") is None
    assert time.process_time() - began < 2  # it was quadratic, and took 15 s


@given(st.text(alphabet='<>;,="\\ relnxtpv/1'))
def test_any_text_gives_a_link_or_none(header: str) -> None:
    found = next_link(header)
    assert found is None or f"<{found}>" in header


@given(
    st.lists(
        st.tuples(
            st.text(alphabet='abc/?=&%,;" ', min_size=1), st.sampled_from(["prev", "self", "up"])
        )
    ),
    st.text(alphabet="abc/?=&%,;", min_size=1),
)
def test_it_is_found_among_any_others(others: list[tuple[str, str]], url: str) -> None:
    links = [f'<{other}>; title="<x>, rel=next"; rel={rel}' for other, rel in others]
    assert next_link(", ".join([*links, f"<{url}>; rel=next"])) == url
