"""What all tests share: what a test may need from the machine, and Hypothesis without deadlines."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import settings

settings.register_profile("roundtrip", deadline=None)  # shared machines pause
settings.load_profile("roundtrip")


def _can_fuse() -> bool:
    library = importlib.util.find_spec("mfusepy") and ctypes.util.find_library("fuse3")
    return bool(library) and os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


ABILITIES: dict[str, Callable[[], bool]] = {
    "atheris": lambda: importlib.util.find_spec("atheris") is not None,
    "fuse": _can_fuse,
    "root": lambda: os.geteuid() == 0,
}
"""What `needs` knows besides programs on PATH."""


def missing(part: str) -> bool:
    """Whether this machine lacks a part: an ability listed above, or a program on PATH."""
    has = ABILITIES.get(part, lambda: shutil.which(part) is not None)
    return not has()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `needs(...)` where a part is missing; with CI=true, fail it."""
    parts = [part for mark in item.iter_markers("needs") for part in mark.args]
    lacking = ", ".join(part for part in parts if missing(part))
    if not lacking:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"needs {lacking}, missing here; with CI=true that is a failure", pytrace=False)
    pytest.skip(f"needs {lacking}, missing here")
