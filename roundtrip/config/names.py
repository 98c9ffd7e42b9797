"""What may stand where the file names something: steps, hosts, headers, fields, encodings.

Each check returns the text, or what stands for it, or raises ValueError with a sentence for the
user.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from roundtrip.addresses import is_address
from roundtrip.config.units import shown

SECRET_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_ADDRESS = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_ELEMENT = re.compile(r"[^\W\d][\w.-]*(?:/[^\W\d][\w.-]*)*")
_WAY = re.compile(r"[^\s.]+(?:\.[^\s.]+)*")
_LEAST_TOKEN = 16  # characters of `look.token`


def check_name(text: str) -> str:
    """Check the name of a pipeline, step or target: it becomes a folder, a column, a field."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            "is not a usable name; use up to 64 letters, digits, '_', '-' and '.', "
            "beginning with a letter or digit"
        )
    return text


def check_path(text: str) -> str:
    """Check the text of a path; whether it exists is not looked at."""
    if not text or "\0" in text:
        raise ValueError("is not a path; give a folder's or file's name")
    return text


def check_glob(text: str) -> str:
    """Check a glob over original names."""
    if not text:
        raise ValueError("is an empty glob and matches nothing; write '*' to match all")
    return text


def check_secret_name(text: str) -> str:
    """Check a key of `secrets`."""
    if not re.fullmatch(SECRET_NAME, text):
        raise ValueError("is not a secret's name; use letters, digits, '_', '-' and '.'")
    return text


def check_variable(text: str) -> str:
    """Check the name of an environment variable."""
    if not _VARIABLE.fullmatch(text):
        raise ValueError("is not a variable's name; use letters, digits and '_'")
    return text


def check_field(text: str) -> str:
    """Check the name of a record's field, written without braces; `*` is all of them."""
    if not text or "{" in text or "}" in text:
        raise ValueError("is not a field's name; write it without braces, or '*' for all fields")
    return text


def check_header_name(text: str) -> str:
    """Check a header's name (a token of RFC 9110 section 5.6.2)."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("is not a header's name; use letters, digits and '-'")
    return text


def check_key_header(value: object) -> object:
    """Check the header of idempotency keys; `off` and false mean that none is sent."""
    if value is False:
        return "off"
    return check_header_name(value) if isinstance(value, str) else value


def check_host(text: str) -> str:
    """Return a key of `hosts` in lower case: a name or address, with a port or without."""
    if "://" in text or "/" in text:
        raise ValueError("is not a host; write its name only, without http:// and path")
    if not _is_address(text):
        raise ValueError("is not a host; write it like api.example.org or 10.0.0.1:8080")
    return text.lower()


def check_bare_host(text: str) -> str:
    """Check the name or address of a host, without a port."""
    found = _ADDRESS.fullmatch(text)
    if found is None or found["port"] is not None:
        raise ValueError("is not a host's name or address; its port goes into port")
    return text


def check_mail_address(text: str) -> str:
    """Check one plain mail address: `local@domain`, nothing around it (RFC 5321 section 4.1.2)."""
    if not is_address(text):
        raise ValueError(f"{shown(text)} is not a mail address; write it like name@example.org")
    return text


def check_listen(text: str) -> str:
    """Check an address and port to listen on."""
    found = _ADDRESS.fullmatch(text)
    if not _is_address(text) or not (found and found["port"]):
        raise ValueError(f"{shown(text)} is not HOST:PORT; write it like 127.0.0.1:9464")
    return text


def check_loopback(text: str) -> str:
    """Check an address and port to listen on that no other host can reach."""
    check_listen(text)
    host = text.rpartition(":")[0].strip("[]")
    try:
        is_local = host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise ValueError(f"{shown(text)} is not on the loopback; write it like 127.0.0.1:9465")
    return text


def check_look_token(text: str) -> str:
    """Check what a caller has to know: it must be hard to guess."""
    if len(text) < _LEAST_TOKEN:
        raise ValueError(
            f"is short: it has {len(text)} characters, and needs {_LEAST_TOKEN}; make one: see "
            "docs/how-to/webhook.md"
        )
    return text


def check_delimiter(text: str) -> str:
    """Check a character that a table is written with."""
    if len(text) != 1 or text in "\r\n\0":
        raise ValueError(
            f'{shown(text)} is not one character; write it like ";", or "\\t" for a tab'
        )
    return text


def check_encoding(text: str) -> str:
    """Check the name of a text encoding that Python knows."""
    try:
        "".encode(text)
    except (LookupError, ValueError):
        raise ValueError(
            f"{shown(text)} is not a known encoding; write it like utf-8, latin-1 or cp1252"
        ) from None
    return text


def check_way(text: str) -> str:
    """Check the way to an array inside a JSON document: member names with dots between."""
    if not _WAY.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the way to an array; write it like data.items")
    return text


def check_element(text: str) -> str:
    """Check the name of an XML element, or the way to it."""
    if not _ELEMENT.fullmatch(text):
        raise ValueError(f"{shown(text)} is not an element; write it like invoice or orders/order")
    return text


def _is_address(text: str) -> bool:
    found = _ADDRESS.fullmatch(text)
    return found is not None and (found["port"] is None or 0 < int(found["port"]) < 65536)
