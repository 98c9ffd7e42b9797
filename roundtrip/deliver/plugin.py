"""The `plugin` delivery: another package's, found by its entry point."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from roundtrip.deliver.port import Delivery, Parcel
from roundtrip.deliver.settings import DeliverySettings, PluginSettings
from roundtrip.offers import entry_point

log = logging.getLogger("roundtrip.deliver")

GROUP = "roundtrip.deliveries"
_LONGEST = 300  # characters of what a package says is wrong


class Plugin:
    """Calls a package's delivery; implements `Delivery`, though the package may lack `aclose`."""

    def __init__(self, made: Any) -> None:
        self._made = made

    async def deliver(self, parcel: Parcel) -> None:
        """See `Delivery`: whatever it raises says that it wasn't delivered."""
        await self._made.deliver(parcel)

    async def aclose(self) -> None:
        """See `Delivery`."""
        close = getattr(self._made, "aclose", None)
        if close is not None:
            await close()


class Listener(Plugin):
    """One that also has `open`: it begins with the agent."""

    async def open(self) -> None:
        """See `Listening`."""
        await self._made.open()


def load(settings: DeliverySettings, action: PluginSettings) -> Delivery:
    """Make the delivery. ValueError, in one line, if that can't be done."""
    point = entry_point(GROUP, action.use)
    factory = factory_of(point, action.options)
    try:
        made = factory(**action.options)
    except Exception as error:  # whatever its author has thought of
        log.debug("plugin not made", exc_info=error)
        raise ValueError(f"{_where(point)} can't be made: {_line(error)}") from None
    if not inspect.iscoroutinefunction(getattr(made, "deliver", None)):
        raise ValueError(f"{_where(point)} has no async method deliver")
    return Listener(made) if hasattr(made, "open") else Plugin(made)


def factory_of(point: EntryPoint, options: Mapping[str, object]) -> Callable[..., Any]:
    """What makes the delivery. ValueError, in one line, if it can't be called so."""
    try:
        factory: Callable[..., Any] = point.load()
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        log.debug("plugin not loaded", exc_info=error)
        raise ValueError(f"{_where(point)} can't be loaded: {_line(error)}") from None
    try:
        inspect.signature(factory).bind(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_where(point)} can't be made with these options: {error}") from None
    return factory


def _where(point: EntryPoint) -> str:
    return f"{point.name} ({point.value})"


def _line(error: BaseException) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    return f"{type(error).__name__}: {text}"[:_LONGEST]
