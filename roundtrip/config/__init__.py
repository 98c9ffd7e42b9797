"""YAML to typed, validated settings, with the line of every error.

pydantic takes 130 ms to import, so nothing here imports it before a file is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from roundtrip.config.settings import Settings

__all__ = ["Settings", "load", "schema"]


def load(
    path: Path | None = None,
    role: str | None = None,
    *,
    secrets: Literal["filled", "named"] = "filled",
) -> Settings:
    """Return the settings of `path`, else of $ROUNDTRIP_CONFIG, else of the usual files.

    `role` ("a" or "b") overrides the file's. With `secrets="named"`, none is looked up: what would
    be sent has stand-ins, which `roundtrip.config.named.written` makes `${NAME}` again.
    Raises ConfigError with one line for each error.
    """
    from roundtrip.config import loading

    return loading.load(path, role, named=secrets == "named")


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the configuration file."""
    from roundtrip.config import loading

    return loading.schema()
