"""What a call's end says about its host."""

from __future__ import annotations

from roundtrip.enrich.faults import Postponed, RecordFault, Transient

CROWDED = frozenset({None, 429, 502, 503, 504})  # None: no answer, or none in time


def host_fault(error: BaseException | None) -> RecordFault | None:
    """The fault that counts against the host: no answer, or a status from 500 on."""
    fault = error.fault if isinstance(error, Transient) else error
    if not isinstance(fault, RecordFault):
        return None
    if fault.status is None:
        return fault if isinstance(error, Transient) else None
    return fault if fault.status >= 500 else None


def spoke(error: BaseException | None) -> bool:
    """Whether the call's end says anything of the host: a withdrawal or a full disk doesn't."""
    return error is None or isinstance(error, RecordFault | Transient | Postponed)


def crowded(error: BaseException | None) -> bool:
    """Whether the host may have had too much at once."""
    return isinstance(error, Transient | Postponed) and error.fault.status in CROWDED
