"""What can go wrong and be told: the exit codes, and the errors that carry one clear line."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class ExitCode(IntEnum):
    """What a command's exit status means (documented in docs/reference/exit-codes.md)."""

    OK = 0
    """It did what was asked, perhaps for a reader that left before the end, as `head` does."""
    FAILED = 1
    """The exchange was answered, and the answer is `failed`; of `watch --once`: a run failed."""
    USAGE = 2
    """The command line is wrong (argparse's own code), or a standard stream is closed."""
    CONFIG = 3
    """The configuration is wrong or missing; each error was printed with its line."""
    SHARE = 4
    """A share, folder or broker is missing, not initialised, another one, not writable, or full."""
    BUSY = 5
    """Another agent of this role holds this share or this state folder."""
    WAITING = 6
    """Time ran out while the exchange was still under way; nothing is lost."""
    INPUT = 7
    """A file can't be sent: missing, not a regular file, unreadable; or nothing has this name."""
    TEST = 8
    """A test of a pipeline failed; what differs was printed."""
    WARNED = 9
    """`doctor` found something that will become worse unless somebody does something."""
    UNWELL = 10
    """`doctor` found something that keeps exchanges from being done, or may soon."""
    UNFIT = 11
    """`torture` saw the share break a rule that the protocol needs, or hang."""
    EXPIRED = 12
    """The exchange was given up at its deadline."""
    TAKEN = 13
    """The answer was delivered, and has been taken from there or changed since."""
    INTERNAL = 70
    """A defect in roundtrip itself (EX_SOFTWARE of sysexits.h); the log has the details."""
    INTERRUPTED = 130
    """Ended by Ctrl-C (128 + SIGINT, as shells report it)."""


class RoundtripError(Exception):
    """An error whose text is one line for the user: what, where, what to do."""

    exit_code: ExitCode = ExitCode.INTERNAL


class ConfigError(RoundtripError):
    """The configuration can't be used; `problems` has one line for each error found."""

    exit_code = ExitCode.CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ShareError(RoundtripError):
    """A share or one of the agent's own folders can't be used as it is."""

    exit_code = ExitCode.SHARE


class ShareAway(ShareError):
    """A share isn't there now, or doesn't answer; it may come back by itself."""


class BusyError(RoundtripError):
    """Another agent already does this job."""

    exit_code = ExitCode.BUSY


class InputError(RoundtripError):
    """What the user asked to send can't be sent."""

    exit_code = ExitCode.INPUT


class StillWaiting(RoundtripError):
    """The exchange goes on, but the caller's patience ended."""

    exit_code = ExitCode.WAITING


class UnusableMarker(RoundtripError):
    """A marker is not what section 3.5 of the protocol asks for."""


class UnusableName(RoundtripError):
    """A name is outside the protocol's grammar."""

    exit_code = ExitCode.INPUT


class PipelineError(RoundtripError):
    """A request can't be enriched at all: unknown pipeline, unparsable payload, a failing step."""


class RecordFault(RoundtripError):
    """One record's error: it is written into the record, and the other records go on.

    `detail` names the step, the host and the status; never headers, query or body, which may hold
    secrets.
    """

    members: Mapping[str, object] = MappingProxyType({})
    """What a problem document says besides; a record that is annotated doesn't."""
    lasting = True  # whether the same call would fail the same way again, whenever it is made

    def __init__(self, title: str, detail: str, status: int | None = None) -> None:
        super().__init__(f"{title}: {detail}")
        self.title = title
        self.detail = detail
        self.status = status

    def of(self, step: str) -> RecordFault:
        """The same fault, its detail beginning with the step's name."""
        prefix = f"step {step}: "
        if self.detail.startswith(prefix):
            return self
        return type(self)(self.title, prefix + self.detail, self.status)

    def as_dict(self) -> dict[str, object]:
        """The members that stand in an annotated record (names as in RFC 9457)."""
        found = {"title": self.title, "status": self.status, "detail": self.detail}
        return {key: value for key, value in found.items() if value is not None}
