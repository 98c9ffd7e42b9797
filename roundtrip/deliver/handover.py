"""One attempt: the adapter, made when it is first needed, and a limit to its time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from roundtrip.deliver.entry import Entry
from roundtrip.deliver.port import Delivery, Listening, Undelivered
from roundtrip.deliver.settings import DeliverySettings

log = logging.getLogger("roundtrip.deliver")


class Handover:
    """Hands entries to the adapter of one delivery."""

    def __init__(
        self, settings: DeliverySettings, folder: Path, make: Callable[[], Delivery]
    ) -> None:
        """`folder` is where the contents are; `make` may raise what `Delivery.deliver` may."""
        self._settings = settings
        self._folder = folder
        self._make = make
        self._delivery: Delivery | None = None

    async def ready(self) -> Undelivered | None:
        """Make the adapter, and let it listen if it does; returns why that can't be done."""
        try:
            await self._adapter()
        except Undelivered as told:
            return told
        except Exception as error:
            log.debug("delivery raised", exc_info=error, extra=self._about())
            return _unexpected(error)
        return None

    async def _adapter(self) -> Delivery:
        if self._delivery is None:
            made = self._make()
            if isinstance(made, Listening):
                await made.open()
            self._delivery = made
        return self._delivery

    async def attempt(self, entry: Entry) -> Undelivered | None:
        """Hand over; returns why it didn't work, None if it did."""
        limit = asyncio.timeout(self._settings.timeout)
        try:
            async with limit:
                delivery = await self._adapter()
                await delivery.deliver(entry.parcel(self._settings.name, self._folder))
        except Undelivered as told:
            return told
        except TimeoutError as error:
            if not limit.expired():
                return _unexpected(error)
            return Undelivered(True, f"no end within {self._settings.timeout:g} s")
        except Exception as error:
            log.debug("delivery raised", exc_info=error, extra=self._about(exchange=entry.exchange))
            return _unexpected(error)
        return None

    async def aclose(self) -> None:
        """Nothing is handed over any more."""
        if self._delivery is not None:
            await self._delivery.aclose()

    def _about(self, **extra: object) -> dict[str, object]:
        return {"delivery": self._settings.name, **extra}


def _unexpected(error: BaseException) -> Undelivered:
    return Undelivered(True, f"{type(error).__name__}: {' '.join(str(error).split())}")
