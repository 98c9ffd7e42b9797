"""The Link header (RFC 8288): which URL is the next page's."""

from __future__ import annotations

import re

_TARGET = re.compile(r"[\s,]*<([^>]*)>")  # one class: two would take quadratic time to fail
_PARAMETER = re.compile(
    r"""\s*;\s*([!#$%&'*+.^_`|~\w-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*)))?""", re.ASCII
)


def next_link(header: str | None) -> str | None:
    """The first target whose relation is `next`, as written; None when there is none.

    Of a link's parameters only the first `rel` counts (section 3.3). A link with an `anchor` is
    about something else than this answer.
    """
    at = 0
    while found := _TARGET.match(header or "", at):
        relations: str | None = None
        anchored = False
        at = found.end()
        while parameter := _PARAMETER.match(header or "", at):
            name, quoted, plain = parameter.groups()
            at = parameter.end()
            if name.lower() == "rel" and relations is None:
                relations = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain or ""
            anchored = anchored or name.lower() == "anchor"
        if not anchored and "next" in (relations or "").lower().split():
            return found[1]
    return None
