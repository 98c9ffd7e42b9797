"""What a program's end means: a pure decision, from exit code or start error to a fault."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault, Transient
from roundtrip.programs import NEVER, NOT_RUN, TEMPFAIL, lines, printable, signal_name


def judge(code: int, errors: bytes, where: str, secrets: Iterable[str] = ()) -> None:
    """Return if the exit code is 0; else raise Transient or RecordFault.

    `errors` is the end of stderr; `secrets` are taken out of what is shown of it. A negative code
    is the number of the signal that ended the program.
    """
    if code == 0:
        return
    fault = _fault(code, printable(errors, secrets), where)
    ended = {"signal": signal_name(-code)} if code < 0 else {"exit_code": code}
    fault.members = {**ended, "stderr": lines(errors, secrets)}
    raise Transient(fault) if code == TEMPFAIL else fault


def _fault(code: int, said: str, where: str) -> RecordFault:
    after = f": {said}" if said else ""
    if code < 0:
        return PassingFault("Program killed", f"{where}: ended by {signal_name(-code)}{after}")
    detail = f"{where}: exit code {code}{after}"
    if code == TEMPFAIL:
        return PassingFault("Program failed for now", detail)
    if code in NOT_RUN:
        return StepFault("Program not found", detail)
    return RecordFault("Program failed", detail)


def unstarted(error: OSError, where: str) -> RecordFault | Transient:
    """What it means that a program could not be started: an exception to raise."""
    detail = f"{where}: {os.strerror(error.errno or 0)}"
    if error.errno == errno.E2BIG:
        return RecordFault("Unusable field", f"{where}: the arguments are too long")
    if error.errno in NEVER:
        return StepFault("Program not started", detail)
    return Transient(PassingFault("Program not started", detail))
