"""What a program's end means: a pure decision, from exit code or start error to a fault."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterable

from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault, Transient
from roundtrip.enrich.steps.processes import TAIL

TEMPFAIL = os.EX_TEMPFAIL  # 75, sysexits.h: "temporary failure; user is invited to retry"
NOT_RUN = (126, 127)  # POSIX.1-2017, env, sh and nice: found but not run; not found
SHOWN = 500  # characters of stderr
WORD = 8  # characters; a shorter last word of a variable is no secret

_NEVER = {
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOEXEC,
    errno.ENOTDIR,
    errno.EPERM,
}


def judge(code: int, errors: bytes, where: str, secrets: Iterable[str] = ()) -> None:
    """Return if the exit code is 0; else raise Transient or RecordFault.

    `errors` is the end of stderr; `secrets` are taken out of what is shown of it. A negative code
    is the number of the signal that ended the program.
    """
    if code == 0:
        return
    said = printable(errors, secrets)
    after = f": {said}" if said else ""
    if code < 0:
        raise PassingFault("Program killed", f"{where}: ended by {_signal_name(-code)}{after}")
    detail = f"{where}: exit code {code}{after}"
    if code == TEMPFAIL:
        raise Transient(PassingFault("Program failed for now", detail))
    if code in NOT_RUN:
        raise StepFault("Program not found", detail)
    raise RecordFault("Program failed", detail)


def unstarted(error: OSError, where: str) -> RecordFault | Transient:
    """What it means that a program could not be started: an exception to raise."""
    detail = f"{where}: {os.strerror(error.errno or 0)}"
    if error.errno == errno.E2BIG:
        return RecordFault("Unusable field", f"{where}: the arguments are too long")
    if error.errno in _NEVER:
        return StepFault("Program not started", detail)
    return Transient(PassingFault("Program not started", detail))


def printable(errors: bytes, secrets: Iterable[str] = ()) -> str:
    """The last characters of stderr, in one line and without what a terminal would obey."""
    text = errors.decode(errors="replace")
    for secret in secrets:
        text = _without(text, secret)
        if len(errors) >= TAIL:
            text = text[_cut(text, secret) :]
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= SHOWN else "..." + line[-SHOWN:]


def _without(text: str, secret: str) -> str:
    """The text without the secret, and without what follows a scheme in it (`Bearer x`)."""
    word = secret.rpartition(" ")[2]
    for each in (secret, word):
        if each and (each == secret or len(each) >= WORD):
            text = text.replace(each, "***")
    return text


def _cut(text: str, secret: str) -> int:
    """How many characters of a secret's end the text begins with: it was cut off in the middle."""
    ends = range(len(secret) - 1, 0, -1)
    return next((end for end in ends if text.startswith(secret[-end:])), 0)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
