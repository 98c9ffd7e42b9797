"""The content of a parcel: what arrived, and not what somebody has made of it since.

The agent's name for it is a hard link to what applications see in inbox/, so an application that
writes into that file, instead of putting another in its place, changes it here, too.
"""

from __future__ import annotations

import hashlib
import mimetypes
from pathlib import Path
from typing import BinaryIO

from roundtrip.deliver.port import Parcel, Undelivered

PIECE = 1024 * 1024  # bytes
_CHANGED = "its content was changed after it arrived, in place: deliver what is in {path} yourself"
_TYPES = mimetypes.MimeTypes()  # Python's own table: the same on every host
_BYTES = "application/octet-stream"
_COMPOSITE = ("message/", "multipart/")  # may not be encoded as base64 (RFC 2045 section 6.4)
PROBLEM_TYPE = "application/problem+json"  # RFC 9457


def opened(parcel: Parcel) -> BinaryIO:
    """The content, opened for reading from its beginning; Undelivered if it can't be."""
    try:
        return open(parcel.content, "rb", buffering=0)
    except OSError as error:
        raise Undelivered(False, f"{parcel.content}: {error.strerror}") from None


def whole(parcel: Parcel) -> bytes:
    """The content in memory, verified; Undelivered if it is not what arrived any more."""
    with opened(parcel) as source:
        content = source.read(parcel.size + 1)
    if hashlib.sha256(content).hexdigest() != parcel.sha256:
        raise changed(parcel)
    return content


def verify(parcel: Parcel) -> None:
    """Undelivered if the content is not what arrived any more."""
    digest = hashlib.sha256()
    with opened(parcel) as source:
        while piece := source.read(PIECE):
            digest.update(piece)
    if digest.hexdigest() != parcel.sha256:
        raise changed(parcel)


def changed(parcel: Parcel) -> Undelivered:
    """What to raise when the content is not what arrived any more."""
    return Undelivered(False, _CHANGED.format(path=parcel.path))


def media_type(parcel: Parcel) -> str:
    """What kind of file it is, by its original's name; bytes (RFC 2046) if that says nothing."""
    if parcel.problem:
        return PROBLEM_TYPE
    kind, encoding = _TYPES.guess_type(Path(parcel.original_name).name)
    if kind is None or encoding or kind.startswith(_COMPOSITE):
        return _BYTES
    return kind
