"""Mail addresses: the plain ones, which can't be mistaken for a header, a list or an option."""

from __future__ import annotations

import re

LONGEST = 254  # characters; RFC 3696, erratum 1690
_ADDRESS = re.compile(r"[^@\s<>,;:\"\\()\[\]\x00-\x1f\x7f-]"
                      r"[^@\s<>,;:\"\\()\[\]\x00-\x1f\x7f]*"
                      r"@[^@\s<>,;:\"\\()\[\]\x00-\x1f\x7f]+")  # fmt: skip


def is_address(text: str) -> bool:
    """Whether mail can be sent there: one `local@domain`, and nothing around it."""
    if len(text) > LONGEST or not text.isprintable():
        return False
    return _ADDRESS.fullmatch(text) is not None
