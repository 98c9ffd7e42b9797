"""Problem documents: the members of RFC 9457, and reading whatever another program wrote."""

from __future__ import annotations

import json

import pytest

from roundtrip.protocol.problem import Problem

PROBLEM = Problem("mismatch", "The payload is not what its marker says", "4 bytes", "N", 422)


def test_a_problem_document_has_the_members_of_rfc_9457() -> None:
    assert json.loads(PROBLEM.encode()) == {
        "type": "tag:roundtrip,2026:mismatch",
        "title": "The payload is not what its marker says",
        "status": 422,
        "detail": "4 bytes",
        "instance": "N",
    }


def test_a_status_that_is_not_known_is_left_out() -> None:
    assert "status" not in json.loads(Problem("pipeline", "t", "d", "N").encode())


def test_a_problem_is_read_as_it_was_written() -> None:
    assert Problem.decode(PROBLEM.encode(), "N") == PROBLEM
    assert PROBLEM.as_dict()["kind"] == "mismatch"


@pytest.mark.parametrize(
    ("document", "kind", "title", "status"),
    [
        (b"{}", "about:blank", "The exchange failed", None),
        (
            b'{"type": "https://example.org/x", "status": "422"}',
            "https://example.org/x",
            "The exchange failed",
            None,
        ),
        (b'{"title": 7, "detail": null, "status": 500}', "about:blank", "7", 500),
        (b"", "unreadable", "The answer says that it failed", None),
        (b"<html>", "unreadable", "The answer says that it failed", None),
        (b"[1]", "unreadable", "The answer says that it failed", None),
        (b"\xff", "unreadable", "The answer says that it failed", None),
        (b"[" * 20_000, "unreadable", "The answer says that it failed", None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_odd_document_becomes_a_problem_all_the_same(
    document: bytes, kind: str, title: str, status: int | None
) -> None:
    found = Problem.decode(document, "N")
    assert (found.kind, found.title, found.status, found.exchange) == (kind, title, status, "N")
