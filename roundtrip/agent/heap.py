"""Makes the C library give freed memory back: an agent needs no more after weeks than at first.

glibc keeps a heap for each thread, and stops taking large blocks from the kernel one by one as soon
as the first of them was freed (mallopt(3), M_MMAP_THRESHOLD). Payloads pass through changing
threads, in blocks of up to 1 MiB, and leave holes in each of those heaps.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_LARGE = 128 * 1024  # bytes: what glibc begins with


def keep_small() -> None:
    """One heap for all threads, and pages of their own for large blocks; before threads begin."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return  # Another C library: musl has one heap in any case.
    for parameter, value in (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_THRESHOLD, _LARGE),
        (_M_TRIM_THRESHOLD, _LARGE),
    ):
        mallopt(parameter, value)
