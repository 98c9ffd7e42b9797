"""What can go wrong with one record, and with a whole payload."""

from __future__ import annotations

from collections.abc import Mapping

from roundtrip.errors import PipelineError, RoundtripError


class RecordFault(RoundtripError):
    """One record's error: it is written into the record, and the other records go on.

    `detail` names the step, the host and the status; never headers, query or body, which may hold
    secrets.
    """

    def __init__(self, title: str, detail: str, status: int | None = None) -> None:
        super().__init__(f"{title}: {detail}")
        self.title = title
        self.detail = detail
        self.status = status

    def as_dict(self) -> dict[str, object]:
        """The members that stand in an annotated record (names as in RFC 9457)."""
        found = {"title": self.title, "status": self.status, "detail": self.detail}
        return {key: value for key, value in found.items() if value is not None}


class PayloadFault(PipelineError):
    """The whole payload fails; the responder makes an RFC 9457 problem document of it.

    `position` says where, as far as it is known: `line`, `column`, `byte`, `record`, from 1
    (`byte` from 0).
    """

    def __init__(
        self,
        title: str,
        detail: str,
        *,
        status: int | None = None,
        position: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(f"{title}: {detail}")
        self.title = title
        self.detail = detail
        self.status = status
        self.position = dict(position or {})


class Withdrawn(PipelineError):
    """The requester dropped the request while it was being enriched; nobody wants the result."""

    def __init__(self) -> None:
        super().__init__("The request was withdrawn while it was being enriched")
