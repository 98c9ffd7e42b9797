"""Secrets by their names only, for what shows requests without sending them.

Each `${NAME}` becomes a stand-in: a text that goes through any encoding as it is, and into a host
too. `written` puts the names back. So nothing that is shown can hold a secret, and none is needed.
"""

from __future__ import annotations

import base64
import binascii
import re
from re import Match
from typing import Protocol

from roundtrip.config.names import SECRET_NAME
from roundtrip.config.secrets import Filled
from roundtrip.config.texts import REFERENCE

# Lower-case letters and digits only: hosts are lowered, the rest is percent-encoded or escaped.
_STAND_IN = re.compile(
    r"(?:(?:https://)?secretorigin|secretnamed)((?:[0-9a-f]{2})+)x", re.IGNORECASE
)
_BASIC = re.compile(r"Basic ([A-Za-z0-9+/]+=*)\Z")


class Filler(Protocol):
    """What puts secrets into texts. Each method raises ValueError with a sentence."""

    def fill(self, text: str) -> str:
        """Return a template with each `${NAME}` filled in and each `$${` as `${`."""

    def fill_url(self, text: str) -> str:
        """Do the same for a URL."""

    def fill_sent(self, text: str) -> str:
        """Do the same for a text that is sent but is no template: braces mean nothing in it."""

    def fill_local(self, text: str) -> str:
        """Do the same for a text that is no template and stays on this host."""


class NamedSecrets:
    """Implements `Filler` without looking up a secret."""

    def fill(self, text: str) -> str:
        """See `Filler`."""
        return Filled(REFERENCE.sub(_stand_in, text), text) if "${" in text else text

    def fill_url(self, text: str) -> str:
        """See `Filler`. A secret that the URL begins with holds its scheme and host."""
        first = REFERENCE.match(text)
        if first is None or not first["name"]:
            return self.fill(text)
        origin = f"https://secretorigin{first['name'].encode().hex()}x"
        return Filled(origin + self.fill(text[first.end() :]), text)

    def fill_sent(self, text: str) -> str:
        """See `Filler`."""
        return self.fill(text)

    def fill_local(self, text: str) -> str:
        """See `Filler`. Nothing encodes such a text, so the names themselves stay in it."""
        return text.replace("$${", "${")


def written(text: str) -> str:
    """Return a text with `${NAME}` for each stand-in."""
    return _STAND_IN.sub(_name, text)


def written_header(value: str) -> str:
    """Do the same for a header's value; basic credentials are shown as they are before encoding."""
    basic = _BASIC.match(value)
    if basic is not None:
        try:
            inside = base64.b64decode(basic[1], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return written(value)
        if _STAND_IN.search(inside):
            return f"Basic base64({written(inside)})"
    return written(value)


def _name(found: Match[str]) -> str:
    name = bytes.fromhex(found[1]).decode(errors="replace")
    if re.fullmatch(SECRET_NAME, name) is None:
        return found[0]  # a payload's own text that happens to look like one
    return f"${{{name}}}"


def _stand_in(reference: Match[str]) -> str:
    name = reference["name"]
    return f"secretnamed{name.encode().hex()}x" if name else "${"
