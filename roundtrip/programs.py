"""What programs of this host are given of the agent, and what is shown of what they say."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterable, Mapping

from roundtrip.processes import TAIL

# What a program may see of the agent's own environment; its secrets are not among it.
INHERITED = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ", "USER")
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"

TEMPFAIL = os.EX_TEMPFAIL  # 75, sysexits.h: "temporary failure; user is invited to retry"
NOT_RUN = (126, 127)  # POSIX.1-2017, env, sh and nice: found but not run; not found
NEVER = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOEXEC,
        errno.ENOTDIR,
        errno.EPERM,
    }
)
"""Why a program doesn't start, and won't start later either."""
SHOWN = 500  # characters of stderr
WORD = 8  # characters; a shorter last word of a variable is no secret


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program: a little of the agent's own, and `more`."""
    own = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {"PATH": DEFAULT_PATH, **own, **more}


def printable(errors: bytes, secrets: Iterable[str] = ()) -> str:
    """The last characters of stderr, in one line and without what a terminal would obey."""
    text = lines(errors, secrets)
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else "..." + line[-SHOWN:]


def lines(errors: bytes, secrets: Iterable[str] = ()) -> str:
    """All that was kept of stderr, without what a terminal would obey, but for line ends."""
    text = errors.decode(errors="replace")
    for secret in secrets:
        text = _without(text, secret)
        if len(errors) >= TAIL:
            text = text[_cut(text, secret) :]
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


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


def signal_name(number: int) -> str:
    """How people call a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
