"""What can go wrong with one record, and with a whole payload."""

from __future__ import annotations

from collections.abc import Mapping

from roundtrip.errors import PipelineError
from roundtrip.errors import RecordFault as RecordFault


class PassingFault(RecordFault):
    """One record's error that may be over when the call is made again (a dead host, say)."""

    lasting = False


class StepFault(PassingFault):
    """The step can't work for any record (wrong credentials): no more calls in this payload."""


class Transient(Exception):
    """One attempt failed, and another may succeed; it counts as an attempt."""

    def __init__(self, fault: RecordFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Postponed(Exception):
    """The other side asks to come back in `after` seconds (Retry-After); counts as no attempt."""

    def __init__(self, fault: RecordFault, after: float) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.after = after


class PayloadFault(PipelineError):
    """The whole payload fails; the responder makes an RFC 9457 problem document of it.

    `position` says where, as far as it is known: `line`, `column`, `byte`, `record`, from 1
    (`byte` from 0). `members` is what the document says besides.
    """

    def __init__(
        self,
        title: str,
        detail: str,
        *,
        status: int | None = None,
        position: Mapping[str, int] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{title}: {detail}")
        self.members = dict(members or {})
        self.title = title
        self.detail = detail
        self.status = status
        self.position = dict(position or {})


class Withdrawn(PipelineError):
    """The requester dropped the request while it was being enriched; nobody wants the result."""

    def __init__(self) -> None:
        super().__init__("The request was withdrawn while it was being enriched")
