"""What this host allows of fanotify(7): to whom, and how much of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roundtrip.doctor.findings import NOTICE, OK, Verdict
from roundtrip.watch.fanotify import refusal
from roundtrip.watch.fanotify_tree import refused_filesystem

_LIMITS = Path("/proc/sys/fs/fanotify")
_NAMES = ("max_user_groups", "max_user_marks", "max_queued_events")


def facts() -> dict[str, Any]:
    """Why this process may not watch folders or file systems (None: it may), and the limits."""
    return {
        "folders": refusal(Path("/")),
        "filesystems": refused_filesystem(Path("/")),
        **{name: _number(_LIMITS / name) for name in _NAMES},
    }


def verdict(found: dict[str, Any], *, wanted: bool) -> Verdict:
    """Judge what `facts` found; `wanted` is whether the configuration asks for fanotify."""
    refused = found["folders"]
    if refused is not None:
        text = f"no fanotify here: {refused}"
        return Verdict(NOTICE, f"{text}; inotify is used instead") if wanted else Verdict(OK, text)
    whole = found["filesystems"]
    scope = "folders and, as this user, whole file systems" if whole is None else "folders"
    room = ", ".join(
        f"{found[name]:,} {word}"
        for name, word in zip(_NAMES, ("groups", "marks", "events kept"), strict=True)
        if found[name] is not None
    )
    return Verdict(OK, f"fanotify can watch {scope}" + (f" ({room})" if room else ""))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # A kernel before 5.13, or a /proc that shows less.
