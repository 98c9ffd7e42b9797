"""Settings made into the kinds of step that call no host: `command`, `python` and `lookup`."""

from __future__ import annotations

from roundtrip.enrich.limits import Governor
from roundtrip.enrich.settings import CommandSettings, LookupSettings, PythonSettings, StepSettings
from roundtrip.enrich.steps import Step


def local_step(pipeline: str, settings: StepSettings, governor: Governor) -> Step:
    """The step, ready to run. Raises ValueError, one line, when its settings can't be used."""
    try:
        return _made(pipeline, settings, governor)
    except ValueError as error:
        raise ValueError(f"step {settings.name}: {error}") from None


def _made(pipeline: str, settings: StepSettings, governor: Governor) -> Step:
    action = settings.action
    if isinstance(action, CommandSettings):
        from roundtrip.enrich.steps.command import Command

        return Command(pipeline, settings, action, governor)
    if settings.batch is not None:
        raise ValueError("batch is for http and command only")
    if isinstance(action, PythonSettings):
        from roundtrip.enrich.steps.plugin import Plugin

        return Plugin(pipeline, settings, action, governor)
    if isinstance(action, LookupSettings):
        from roundtrip.enrich.steps.lookup import Lookup

        return Lookup(settings, action)
    raise ValueError("http steps are made elsewhere")
