"""What other installed packages offer roundtrip: one entry point of a group, by its name."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points


def entry_point(group: str, use: str) -> EntryPoint:
    """The entry point of this name. ValueError, in one line, if there is none, or more than one."""
    offered = entry_points(group=group)
    found = {(point.value, package_of(point)): point for point in offered if point.name == use}
    if len(found) == 1:
        return found.popitem()[1]
    if found:
        packages = ", ".join(sorted(package for _, package in found))
        raise ValueError(f"several packages offer {use!r}: {packages}")
    names = ", ".join(sorted(offered.names)) or "none"
    raise ValueError(
        f"no installed package has {use!r} in entry point group {group}; there: {names}"
    )


def package_of(point: EntryPoint) -> str:
    """The name of the package that an entry point comes with."""
    return point.dist.name if point.dist else "a package"
