"""Every outcome of an attempt has its verdict: the decision as a table, and its page."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from roundtrip.enrich.egress import Refused
from roundtrip.enrich.outcomes import (
    Verdict,
    classify,
    is_idempotent,
    retry_after,
)

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "outcomes.md"

ACCEPT, UNCHANGED, RETRY = Verdict.ACCEPT, Verdict.UNCHANGED, Verdict.RETRY
POSTPONE, RECORD, STEP, STOP = Verdict.POSTPONE, Verdict.RECORD, Verdict.STEP, Verdict.STOP

#        idempotent, not;  the same with Retry-After
STATUSES: dict[tuple[int, ...], tuple[Verdict, Verdict, Verdict, Verdict]] = {
    (200, 201, 202, 203, 204, 205, 206, 207, 299): (ACCEPT, ACCEPT, ACCEPT, ACCEPT),
    (304,): (UNCHANGED, UNCHANGED, UNCHANGED, UNCHANGED),
    (100, 101, 103): (RECORD, RECORD, RECORD, RECORD),
    (300, 301, 302, 303, 307, 308): (RECORD, RECORD, RECORD, RECORD),
    (401, 402, 407, 426, 501, 505, 511): (STEP, STEP, STEP, STEP),
    (408, 425, 429, 503): (RETRY, RETRY, POSTPONE, POSTPONE),
    (403, 413): (RECORD, RECORD, POSTPONE, POSTPONE),
    (400, 404, 405, 406, 409, 410, 411, 412, 414, 415, 416, 417, 418, 421, 422, 423, 424, 428):
        (RECORD, RECORD, RECORD, RECORD),
    (431, 451, 499): (RECORD, RECORD, RECORD, RECORD),
    (500, 502, 504, 506, 507, 508, 510, 520, 529, 599): (RETRY, RECORD, POSTPONE, RECORD),
}  # fmt: skip


def as_oserror(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


class Connector(Exception):
    """As aiohttp says it: the system's error in an attribute."""

    def __init__(self, os_error: OSError) -> None:
        self.os_error = os_error


EXCEPTIONS: list[tuple[Exception, Verdict, Verdict]] = [
    # the connection never came about
    (httpx.ConnectError(""), RETRY, RETRY),
    (httpx.ConnectTimeout(""), RETRY, RETRY),
    (httpx.PoolTimeout(""), RETRY, RETRY),
    (httpx.ProxyError(""), RETRY, RETRY),
    (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), RETRY, RETRY),
    (socket.gaierror(-2, "Name or service not known"), RETRY, RETRY),
    (as_oserror(errno.ENETUNREACH), RETRY, RETRY),
    (as_oserror(errno.EHOSTUNREACH), RETRY, RETRY),
    (caused(httpx.ConnectError(""), ssl.SSLError(1, "wrong version number")), RETRY, RETRY),
    (caused(httpx.ConnectError(""), socket.gaierror(5, "no address")), RETRY, RETRY),
    # it broke after the request may have been executed
    (httpx.ReadError(""), RETRY, RECORD),
    (httpx.WriteError(""), RETRY, RECORD),
    (httpx.CloseError(""), RETRY, RECORD),
    (httpx.ReadTimeout(""), RETRY, RECORD),
    (httpx.WriteTimeout(""), RETRY, RECORD),
    (httpx.RemoteProtocolError(""), RETRY, RECORD),
    (ConnectionResetError(errno.ECONNRESET, "reset"), RETRY, RECORD),
    (BrokenPipeError(errno.EPIPE, "pipe"), RETRY, RECORD),
    (TimeoutError(), RETRY, RECORD),
    (ssl.SSLError(1, "bad record"), RETRY, RECORD),
    # the request or its answer is wrong in itself
    (httpx.LocalProtocolError(""), RECORD, RECORD),
    (httpx.UnsupportedProtocol(""), RECORD, RECORD),
    (httpx.DecodingError(""), RECORD, RECORD),
    (httpx.TooManyRedirects(""), RECORD, RECORD),
    (httpx.InvalidURL(""), RECORD, RECORD),
    (OverflowError("the answer is larger than 5 bytes"), RECORD, RECORD),
    # no record can help it
    (ssl.SSLCertVerificationError("expired"), STEP, STEP),
    (caused(httpx.ConnectError(""), ssl.SSLCertVerificationError("expired")), STEP, STEP),
    (caused(httpx.ConnectError(""), caused(Exception(), ssl.SSLCertVerificationError(""))),
     STEP, STEP),
    (Refused("169.254.169.254 is a private address"), STEP, STEP),
    (caused(httpx.ConnectError(""), Refused("private")), STEP, STEP),
    # this host lacks something
    (as_oserror(errno.ENOSPC), STOP, STOP),
    (as_oserror(errno.EIO), STOP, STOP),
    (PermissionError(errno.EACCES, "ledger.sqlite"), STOP, STOP),
    (as_oserror(errno.EMFILE), STOP, STOP),
    (caused(httpx.ConnectError(""), as_oserror(errno.EMFILE)), STOP, STOP),
    (caused(httpx.ConnectError(""), Connector(as_oserror(errno.ENFILE))), STOP, STOP),
]  # fmt: skip


def named(value: object) -> str:
    cause = getattr(value, "__cause__", None)
    return repr(value)[:40] + (f" by {cause!r}"[:40] if cause else "")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(status, verdicts) for statuses, verdicts in STATUSES.items() for status in statuses],
    ids=str,
)
def test_each_status_has_its_verdict(status: int, expected: tuple[Verdict, ...]) -> None:
    found = tuple(
        classify(status, idempotent=idempotent, retry_after=after)
        for after in (None, 7.0)
        for idempotent in (True, False)
    )
    assert found == expected


@pytest.mark.parametrize(("error", "idempotent", "other"), EXCEPTIONS, ids=named)
def test_each_exception_has_its_verdict(
    error: Exception, idempotent: Verdict, other: Verdict
) -> None:
    assert classify(error, idempotent=True) is idempotent
    assert classify(error, idempotent=False) is other


def test_no_status_at_all_makes_a_request_be_repeated_that_may_have_been_executed() -> None:
    repeated = {s for s in range(100, 600) if classify(s, idempotent=False) is RETRY}
    assert repeated == {408, 425, 429, 503}


def test_a_ring_of_causes_is_no_endless_loop() -> None:
    one, two = httpx.ConnectError("1"), httpx.ConnectError("2")
    one.__cause__, two.__cause__ = two, one
    assert classify(one, idempotent=True) is RETRY


@pytest.mark.parametrize("status", [status for found in STATUSES for status in found])
def test_the_page_says_of_each_status_what_the_code_does(status: int) -> None:
    rows = [row for row in table("Statuses") if covers(row[0], status)]
    assert len(rows) == 1, f"{status} stands in {len(rows)} rows"
    expected = [
        classify(status, idempotent=idempotent, retry_after=after).value
        for idempotent, after in ((True, None), (False, None), (True, 7.0), (False, 7.0))
    ]
    assert rows[0][1:5] == expected


PAGE_ROWS: dict[str, Callable[[], Exception]] = {
    "no connection": lambda: httpx.ConnectError(""),
    "the connection broke": lambda: httpx.ReadError(""),
    "no whole answer in time": lambda: httpx.ReadTimeout(""),
    "certificate": lambda: ssl.SSLCertVerificationError(""),
    "own guard": lambda: Refused(""),
    "can't be written": lambda: httpx.LocalProtocolError(""),
    "can't be read": lambda: httpx.DecodingError(""),
    "no open file": lambda: as_oserror(errno.EMFILE),
    "disk or the ledger": lambda: as_oserror(errno.ENOSPC),
}


def test_the_page_says_of_each_error_what_the_code_does() -> None:
    rows = table("Errors")
    assert len(rows) == len(PAGE_ROWS)
    for words, make in PAGE_ROWS.items():
        (row,) = [row for row in rows if words in row[0]]
        assert row[1:3] == [classify(make(), idempotent=flag).value for flag in (True, False)]


def test_the_page_explains_every_verdict() -> None:
    explained = {row[0] for row in table("Verdicts")}
    assert explained == {verdict.value for verdict in Verdict}


def table(heading: str) -> list[list[str]]:
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def covers(cell: str, status: int) -> bool:
    """`429, 503`, `200-299` or `other 4xx`: the last only for what no list on the page names."""
    if cell.startswith("other"):
        listed = {int(word) for row in table("Statuses") for word in words(row[0])}
        return status not in listed and int(cell.split()[1][0]) == status // 100
    if "-" in cell:
        low, high = cell.split("-")
        return int(low) <= status <= int(high)
    return str(status) in words(cell)


def words(cell: str) -> list[str]:
    return [word for word in cell.replace(",", " ").split() if word.isdigit()]


def test_the_table_here_leaves_out_no_registered_status() -> None:
    known = {status for found in STATUSES for status in found}
    assert {int(s) for s in HTTPStatus} - known <= {102, 208, 226, 305, 306, 423, 424, 103}


@pytest.mark.parametrize(
    ("method", "said", "expected"),
    [("GET", None, True), ("get", None, True), ("PUT", None, True), ("DELETE", None, True),
     ("POST", None, False), ("PATCH", None, False), ("POST", True, True), ("GET", False, False)],
)  # fmt: skip
def test_a_step_is_idempotent_as_it_says_or_by_its_method(
    method: str, said: bool | None, expected: bool
) -> None:
    assert is_idempotent(method, said) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("7", 7.0), (" 0 ", 0.0), ("-1", None), ("1.5", None), ("soon", None),
     ("", None), ("٣", None), (formatdate(1_000_030, usegmt=True), 30.0),
     (formatdate(1, usegmt=True), 0.0), ("Sun, 06 Nov 99999 08:49:37 GMT", None)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(
    value: str | None, expected: float | None
) -> None:
    assert retry_after(value, now=1_000_000) == expected
