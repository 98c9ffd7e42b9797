"""The names of an exchange: one grammar and one validator, used when writing and when listing.

An exchange `N` is `<ULID>-<slug>` when our own requester makes it, anything matching `_EXCHANGE`
when another program does. Names that begin with a dot are in flight or internal.
"""

from __future__ import annotations

import re
import secrets
import time
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from roundtrip.errors import UnusableName

MARKER_SUFFIX = ".done"
PART_SUFFIX = ".part"
INTERNAL_FOLDER = ".roundtrip"
MAX_SLUG = 120
CANARY = "~canary"
"""The slug of a canary, and the pipeline that answers it: no file's slug and no configured pipeline
can be called that, since neither has a tilde."""

_EXCHANGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@+-]{0,199}")
_OURS = re.compile(r"([0-7][0-9A-HJKMNP-TV-Z]{25})-(~canary|[A-Za-z0-9._-]{1,120})")
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # https://github.com/ulid/spec
_EXTENSION = re.compile(r"(?<=.)\.[A-Za-z0-9]{1,19}\Z")
_UNPORTABLE = re.compile(r"[^A-Za-z0-9._-]+")


def is_exchange(name: str) -> bool:
    """Whether `name` may name an exchange (and so its payload)."""
    return _EXCHANGE.fullmatch(name) is not None and not name.endswith(MARKER_SUFFIX)


def check_exchange(name: str) -> str:
    """Return `name` if it may name an exchange.

    Raises:
        UnusableName: it may not; the text is safe for a terminal.
    """
    if not is_exchange(name):
        raise UnusableName(
            f"{name!r} can't name an exchange: use 1 to 200 of A-Z a-z 0-9 . _ ~ @ + -, "
            f"starting with a letter or digit, not ending in {MARKER_SUFFIX}"
        )
    return name


def marker_of(exchange: str) -> str:
    """The name of the exchange's marker."""
    return exchange + MARKER_SUFFIX


class Split(NamedTuple):
    """A name found on a share: which exchange it belongs to, and whether it is the marker."""

    exchange: str
    is_marker: bool


def split(name: str) -> Split | None:
    """What a name found on a share means; None for names that are no part of any exchange."""
    exchange = name.removesuffix(MARKER_SUFFIX)
    return Split(exchange, len(exchange) < len(name)) if is_exchange(exchange) else None


def is_internal(name: str) -> bool:
    """Whether readers ignore this name: in flight, internal, or an NFS client's `.nfs*`."""
    return name.startswith(".")


def part_of(name: str) -> str:
    """A fresh in-flight name for writing what will be renamed to `name`."""
    return f".{name}.{secrets.token_hex(4)}{PART_SUFFIX}"


def is_part(name: str) -> bool:
    """Whether `name` is an in-flight name as `part_of` makes them."""
    return _PART.fullmatch(name) is not None


def slug(original: str) -> str:
    """A portable, cosmetic form of an original name: extension kept, at most 120 bytes.

    Letters with accents lose them; everything else outside `[A-Za-z0-9._-]` becomes `-`.
    """
    apart = unicodedata.normalize("NFKD", original)
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    plain = _UNPORTABLE.sub("-", plain).rstrip("-.")
    found = _EXTENSION.search(plain)
    extension = found[0] if found else ""
    stem = plain.removesuffix(extension)[: MAX_SLUG - len(extension)].strip("-.")
    short = (stem or "file") + extension
    if short.endswith(MARKER_SUFFIX):
        short = short.removesuffix(MARKER_SUFFIX) + "-done"
    return short


def _base32(number: int) -> str:
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


class Namer:
    """Makes exchange names whose order is the order in which they were made.

    ULIDs (https://github.com/ulid/spec): 48 bits of milliseconds, then 80 bits that are random for
    the first name of a millisecond and counted up for the others.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        randbits: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._clock = clock
        self._randbits = randbits
        self._last = 0

    def __call__(self, original: str) -> str:
        """A new exchange's name for a file that is called `original`."""
        return f"{self._next()}-{slug(original)}"

    def canary(self) -> str:
        """A new canary's name."""
        return f"{self._next()}-{CANARY}"

    def _next(self) -> str:
        stamp = int(self._clock() * 1000) << 80
        fresh = stamp | self._randbits(80)
        # A clock that stands still or is set back must not put a later exchange before an earlier.
        self._last = fresh if fresh >> 80 > self._last >> 80 else self._last + 1
        return _base32(self._last)


def ulid_of(exchange: str) -> str | None:
    """The ULID of an exchange that our requester named; None for another program's name."""
    match = _OURS.fullmatch(exchange)
    return match[1] if match else None


def is_canary(exchange: str) -> bool:
    """Whether the exchange is nobody's: a requester sent it to see whether the way is open."""
    return exchange.endswith(f"-{CANARY}") and ulid_of(exchange) is not None


def created_of(exchange: str) -> float | None:
    """When our requester named this exchange, in seconds since 1970; None for other names."""
    ulid = ulid_of(exchange)
    if ulid is None:
        return None
    number = 0
    for letter in ulid[:10]:
        number = number << 5 | _CROCKFORD.index(letter)
    return number / 1000
