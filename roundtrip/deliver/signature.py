"""Signatures of webhooks, as the specification Standard Webhooks 1.0 says.

The receiver computes the same HMAC-SHA256 over `id.timestamp.body`, and refuses old timestamps.
While secrets are changed, each of them signs, and the receiver takes any that it can verify.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence

PREFIX = "whsec_"
_LEAST = 24  # bytes; the specification's


def key_of(secret: str) -> bytes:
    """The key that a secret stands for: base64 after `whsec_`. ValueError, in one line, if not."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not whsec_ and base64; make one: see docs/how-to/webhook.md") from None
    if len(key) < _LEAST:
        raise ValueError(f"is short: its base64 stands for {len(key)} bytes, and needs {_LEAST}")
    return key


def message_id(parcel_id: str) -> str:
    """The value of `webhook-id`: without a dot, which would let two signed texts be one."""
    return parcel_id.replace(".", "%2E")


def signatures(keys: Sequence[bytes], identity: str, timestamp: int, body: Iterable[bytes]) -> str:
    """The value of `webhook-signature`: one for each key, in their order, with spaces between.

    The body may come in pieces, and is read once.
    """
    begin = f"{identity}.{timestamp}.".encode()
    digests = [hmac.new(key, begin, hashlib.sha256) for key in keys]
    for piece in body:
        for digest in digests:
            digest.update(piece)
    return " ".join("v1," + base64.b64encode(digest.digest()).decode() for digest in digests)
