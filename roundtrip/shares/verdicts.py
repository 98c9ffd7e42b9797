"""What an error of a share means: one table over operations and error numbers, and no I/O."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Operation(Enum):
    """What was being done when an error came."""

    READ = "read"
    """stat, list, open for reading, read: nothing changes, whatever comes of it."""
    CREATE = "create"
    """Open a new file under a fresh name: what fails here would fail for every exchange."""
    WRITE = "write"
    """write, fsync and close of a file that nobody reads yet."""
    RENAME = "rename"
    UNLINK = "unlink"


class Verdict(Enum):
    """What follows from an error."""

    RETRY = "retry"
    """Nothing happened; do it again at once, a few times."""
    LOOK = "look"
    """It may have happened: look at the names, compare, decide."""
    HOLD = "hold"
    """The share is in trouble, not the exchange: stop all work on it until it is well again."""
    FAIL = "fail"
    """It concerns this name only; the other exchanges go on."""


class Row(NamedTuple):
    """One error number: what follows, after which operations a look comes first, and why."""

    verdict: Verdict
    why: str
    look: frozenset[Operation] = frozenset()
    others: Mapping[Operation, Verdict] = {}

    def for_operation(self, operation: Operation) -> Verdict:
        """What follows for one operation, once a look has shown that it didn't happen."""
        return self.others.get(operation, self.verdict)


_RENAME = frozenset({Operation.RENAME})
_BOTH = frozenset({Operation.RENAME, Operation.UNLINK})
_NEW = {Operation.CREATE: Verdict.HOLD}
_RETRY, _HOLD, _FAIL = Verdict.RETRY, Verdict.HOLD, Verdict.FAIL
_LINK = "the way to the other host is cut"

# fmt: off
TABLE: dict[int, Row] = {
    errno.EINTR: Row(_RETRY, "a signal came in between", _BOTH),
    errno.EAGAIN: Row(_RETRY, "the server asks to come again", _BOTH),
    errno.ESTALE: Row(_HOLD, "what was opened is no longer there: open the share again", _BOTH),
    errno.EIO: Row(_HOLD, "a `soft` mount gave up, or the disk fails", _BOTH),
    errno.EREMOTEIO: Row(_HOLD, "the server failed", _BOTH),
    errno.EUCLEAN: Row(_HOLD, "the file system is damaged", _BOTH),
    errno.EEXIST: Row(_FAIL, "taken, or our own rename was sent twice", _RENAME),
    errno.ENOENT: Row(_FAIL, "gone, or our own rename was sent twice; no new file can be made in "
                      "a folder that was removed", _RENAME, _NEW),
    errno.ETIMEDOUT: Row(_HOLD, "no answer: the mount hangs", _BOTH),
    errno.EHOSTDOWN: Row(_HOLD, _LINK, _BOTH),
    errno.EHOSTUNREACH: Row(_HOLD, _LINK, _BOTH),
    errno.ENETDOWN: Row(_HOLD, _LINK, _BOTH),
    errno.ENETUNREACH: Row(_HOLD, _LINK, _BOTH),
    errno.ECONNREFUSED: Row(_HOLD, _LINK, _BOTH),
    errno.ECONNRESET: Row(_HOLD, _LINK, _BOTH),
    errno.ECONNABORTED: Row(_HOLD, _LINK, _BOTH),
    errno.EPIPE: Row(_HOLD, _LINK, _BOTH),
    errno.ENOTCONN: Row(_HOLD, "the process behind a FUSE mount ended, or the share isn't open",
                        _BOTH),
    errno.ENODEV: Row(_HOLD, "the file system was taken away", _BOTH),
    errno.ENXIO: Row(_HOLD, "the file system was taken away", _BOTH),
    errno.EKEYEXPIRED: Row(_HOLD, "the ticket for the server (Kerberos) ran out", _BOTH),
    errno.ENOKEY: Row(_HOLD, "there is no ticket for the server (Kerberos)", _BOTH),
    errno.EACCES: Row(_FAIL, "another process holds the file (SMB); if nothing new can be made, "
                      "the folder's permissions", _BOTH, _NEW),
    errno.EPERM: Row(_FAIL, "the file is protected; if nothing new can be made, the folder is",
                     _BOTH, _NEW),
    errno.EROFS: Row(_HOLD, "mounted, or exported, read-only"),
    errno.EDQUOT: Row(_HOLD, "the quota is used up"),
    errno.ENOSPC: Row(_HOLD, "the disk is full"),
    errno.EMFILE: Row(_HOLD, "this process has too many files open"),
    errno.ENFILE: Row(_HOLD, "this host has too many files open"),
    errno.ENOMEM: Row(_HOLD, "this host has too little memory"),
    errno.EBUSY: Row(_FAIL, "another process holds the file", _BOTH),
    errno.ETXTBSY: Row(_FAIL, "another process holds the file", _BOTH),
    errno.ENAMETOOLONG: Row(_FAIL, "the other file system allows shorter names only"),
    errno.EINVAL: Row(_FAIL, "the other file system refuses the name or the call"),
    errno.EILSEQ: Row(_FAIL, "the other file system can't spell the name"),
    errno.EFBIG: Row(_FAIL, "the other file system allows smaller files only"),
    errno.EXDEV: Row(_FAIL, "two file systems where one should be"),
    errno.ELOOP: Row(_FAIL, "a link stands where a file should be"),
    errno.EISDIR: Row(_FAIL, "a folder stands where a file should be"),
    errno.ENOTDIR: Row(_FAIL, "a file stands where a folder should be", others=_NEW),
}
# fmt: on

_UNKNOWN = Row(_FAIL, "not known", _BOTH)


def verdict(operation: Operation, number: int | None, *, looked: bool = False) -> Verdict:
    """What follows from error `number` of an operation; `looked`: a look showed no effect of it."""
    row = TABLE.get(number or 0, _UNKNOWN)
    if operation in row.look and not looked:
        return Verdict.LOOK
    return row.for_operation(operation)


class Hung(OSError):
    """A mounted share didn't answer in time (ETIMEDOUT)."""

    def __init__(self, share: str, since: str) -> None:
        super().__init__(errno.ETIMEDOUT, f"hung since {since}: the mount doesn't answer", share)


class ShareGone(OSError):
    """What is open, or at the path, is no longer the share that was verified (ESTALE)."""

    def __init__(self, share: str, reason: str) -> None:
        super().__init__(errno.ESTALE, f"no longer the share that was verified: {reason}", share)


def during(operation: Operation, error: OSError) -> OSError:
    """Note on an error what was being done; returns it."""
    vars(error).setdefault("operation", operation)
    return error


def operation_of(error: OSError) -> Operation:
    """What was being done when an error came; reading, if nobody noted it."""
    found = vars(error).get("operation")
    return found if isinstance(found, Operation) else Operation.READ


def of_share(share: str, error: OSError) -> OSError:
    """Note on an error that a mounted share gave it, unless it is known better; returns it."""
    vars(error).setdefault("share", share)
    return error


def of_own_disk(error: OSError) -> OSError:
    """Note on an error that what was to be copied to a share gave it; returns it."""
    vars(error)["share"] = None
    return error


def is_of_own_disk(error: OSError) -> bool:
    """Whether `of_own_disk` was said of this error."""
    return vars(error).get("share", error) is None


def share_of(error: OSError) -> str | None:
    """The mounted share that gave this error; None if it came from elsewhere, the own disk say."""
    found = vars(error).get("share")
    return found if isinstance(found, str) else None


def holds_share(error: OSError) -> bool:
    """Whether an error means that the mounted share as a whole can't be worked on now."""
    if share_of(error) is None:
        return False
    return verdict(operation_of(error), error.errno, looked=True) is Verdict.HOLD
