"""What one attempt's outcome means: a pure decision, from a status or an exception to a verdict."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from enum import Enum

import httpx

from roundtrip.enrich.egress import Refused

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})  # RFC 9110 9.2.2

# Not executed, whatever the method: RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4, RFC 9110 15.6.4.
NOT_EXECUTED = frozenset({408, 425, 429, 503})
# Refused, and with Retry-After only for now: GitHub's second rate limit; RFC 9110 15.5.14.
REFUSED_FOR_NOW = frozenset({403, 413})
# No field of a record can be the cause: credentials, credit, proxy credentials, protocol (426,
# 505), a method that the server has for no resource (501), a network that wants a log-in (511).
STEP_WIDE = frozenset({401, 402, 407, 426, 501, 505, 511})

NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
MAYBE_EXECUTED = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
_FOR_ALL = (ssl.SSLCertVerificationError, Refused)  # about the host, which no record chooses
_UNREACHED = (ConnectionRefusedError, socket.gaierror)
_BROKEN = (ConnectionError, TimeoutError, ssl.SSLError)
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
# What a connection fails with when it is this host that lacks something.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EIO})


class Verdict(Enum):
    """What one attempt's outcome means for the call, its step and its payload."""

    ACCEPT = "accept"  # the answer is good
    UNCHANGED = "unchanged"  # the answer that is kept already is still good
    RETRY = "retry"  # another attempt may succeed; this one counts
    POSTPONE = "postpone"  # it says when to come back; no attempt is used up
    RECORD = "record"  # this record's error, and final
    STEP = "step"  # every record would fail alike: no more calls of this step in this payload
    STOP = "stop"  # this host's own trouble: the exchange is put back, no record is blamed


def is_idempotent(method: str, said: bool | None) -> bool:
    """Whether the same request twice does what it does once: as the step says, else by method."""
    return method.upper() in IDEMPOTENT if said is None else said


def classify(
    outcome: int | BaseException, *, idempotent: bool, retry_after: float | None = None
) -> Verdict:
    """The verdict on a status, or on an exception that a call raised.

    `retry_after`: the seconds that the answer asks to wait, if it does. A request that may have
    been executed is made again only when that does no harm.
    """
    if isinstance(outcome, int):
        return _status(outcome, idempotent, retry_after is not None)
    return _exception(outcome, idempotent)


def _status(status: int, idempotent: bool, says_when: bool) -> Verdict:
    if 200 <= status < 300:
        return Verdict.ACCEPT
    if status == 304:
        return Verdict.UNCHANGED
    if status in STEP_WIDE:
        return Verdict.STEP
    if status in NOT_EXECUTED or (status >= 500 and idempotent):
        return Verdict.POSTPONE if says_when else Verdict.RETRY
    if status in REFUSED_FOR_NOW and says_when:
        return Verdict.POSTPONE
    return Verdict.RECORD


def _exception(error: BaseException, idempotent: bool) -> Verdict:
    if any(isinstance(cause, _FOR_ALL) for cause in _chain(error)):
        return Verdict.STEP
    if _ours(error):
        return Verdict.STOP
    if isinstance(error, NEVER_SENT + _UNREACHED) or getattr(error, "errno", None) in _NO_WAY:
        return Verdict.RETRY
    if isinstance(error, MAYBE_EXECUTED + _BROKEN):
        return Verdict.RETRY if idempotent else Verdict.RECORD
    return Verdict.STOP if isinstance(error, OSError) else Verdict.RECORD


def _ours(error: BaseException) -> bool:
    return any(
        isinstance(cause, OSError)
        and not isinstance(cause, ssl.SSLError | socket.gaierror)  # their numbers are their own
        and cause.errno in _OURS
        for cause in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from; libraries wrap the one that says what happened."""
    seen: BaseException | None = error
    for _ in range(10):  # a chain may be a ring
        if seen is None:
            return
        yield seen
        inner = getattr(seen, "os_error", None)  # aiohttp's, when it is raised from nothing
        seen = seen.__cause__ or (inner if isinstance(inner, OSError) else None) or seen.__context__


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), if any.

    `now` is Unix time.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        when = parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, when - (time.time() if now is None else now))
