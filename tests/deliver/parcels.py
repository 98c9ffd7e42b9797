"""Parcels as the runner hands them over."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from roundtrip.deliver.port import Parcel


def parcel_of(
    folder: Path, content: bytes, number: int = 0, name: str = "orders.csv", **more: Any
) -> Parcel:
    """A parcel whose content lies in `folder`."""
    exchange = f"01ARZ3NDEKTSV4RRFFQ69G5F{number:02d}-orders.csv"
    own, seen = folder / f"~{exchange}", folder / name
    for path in (own, seen):
        path.unlink(missing_ok=True)
    own.write_bytes(content)
    seen.hardlink_to(own)
    parcel = Parcel(
        delivery="tell",
        exchange=exchange,
        outcome="enriched",
        original_name=name,
        path=seen,
        content=own,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        created="2026-11-21T10:00:00.000Z",
        ended="2026-11-21T10:00:01.000Z",
        pipeline="invoices",
        stats={"records": 2},
    )
    return replace(parcel, **more)
