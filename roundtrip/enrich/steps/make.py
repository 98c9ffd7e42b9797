"""Settings made into steps that run: which module serves which kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roundtrip.enrich.limits import Governor
from roundtrip.enrich.settings import HttpSettings, StepSettings
from roundtrip.enrich.steps import Step

if TYPE_CHECKING:
    import httpx


def made(
    pipeline: str, settings: StepSettings, transport: httpx.AsyncBaseTransport, governor: Governor
) -> Step:
    """The step, ready to run. Raises ValueError, one line, when its settings can't be used."""
    action = settings.action
    if isinstance(action, HttpSettings):
        from roundtrip.enrich.steps.http import Http

        return Http(pipeline, settings, action, transport, governor)
    from roundtrip.enrich.steps.local import local_step

    return local_step(pipeline, settings, governor)
