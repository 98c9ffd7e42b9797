"""Packages that only some deliveries need, and that need not be installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from roundtrip.deliver.port import Undelivered


def needed(module: str, extra: str) -> Any:
    """The module; Undelivered says how to install it. Somebody may do that: it is tried again."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        text = f"the package {error.name} is not installed; pip install 'roundtrip[{extra}]'"
        raise Undelivered(True, text, away=True) from None
