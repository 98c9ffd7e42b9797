"""Whether a share is the one it should be, decided without pinning or changing anything."""

from __future__ import annotations

import shlex

from roundtrip.doctor.findings import ERROR, OK, Verdict


def may_write(found: str, found_home: str, home: str, pinned: str | None) -> bool:
    """Whether this is the right share, so that probes may be made in it."""
    return found_home == home and pinned in (None, found)


def identity(
    found: dict[str, str] | None, home: str, pinned: str | None, pin: str, absent: Verdict
) -> Verdict:
    """Judge a share's identity (`id`, `home`) against what it should be.

    `home` is the role whose disk should hold it, `pin` the file that keeps `pinned`, the id found
    at first contact; `absent` is what to say of a folder without an identity.
    """
    if found is None:
        return absent
    if found["home"] != home:
        return Verdict(
            ERROR,
            f"this share's home is role {found['home']}, not {home}: are unenriched and enriched "
            "swapped in the configuration, or in the mounts?",
        )
    if pinned is None:
        return Verdict(OK, f"{found['id']}, home role {home}; at first contact it will be pinned")
    if pinned != found["id"]:
        return Verdict(
            ERROR,
            f"this is share {found['id']}, but {pinned} was here before: another mount? "
            "Only if the change is meant, forget the old one",
            f"rm {shlex.quote(pin)}",
        )
    return Verdict(OK, f"{found['id']}, home role {home}, as at first contact")
