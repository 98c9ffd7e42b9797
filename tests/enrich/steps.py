"""Short ways to write the settings of a step."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from roundtrip.enrich.settings import HttpSettings, StepSettings

_HTTP = {field.name for field in fields(HttpSettings)}


def http_step(name: str, url: str, **settings: Any) -> StepSettings:
    """A step that calls `url`; each setting goes where it belongs, to the call or to the step."""
    http = {key: settings.pop(key) for key in _HTTP & settings.keys()}
    return StepSettings(name, HttpSettings(url, **http), **settings)
