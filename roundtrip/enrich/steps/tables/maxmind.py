"""A MaxMind database (.mmdb): what is known of an IP address, by the network that it is in."""

from __future__ import annotations

import shutil
import tempfile
from ipaddress import ip_address

import maxminddb

from roundtrip.enrich.settings import LookupSettings
from roundtrip.enrich.steps.tables import UnusableKey, broken


class MaxmindTable:
    """Implements `Table`. A copy of the file is mapped into memory; it has no name.

    Of the file itself, a page that someone cuts off while it is mapped would end the process
    (SIGBUS, mmap(2)).
    """

    def __init__(self, settings: LookupSettings) -> None:
        """Raises BrokenTable and OSError."""
        self._settings = settings
        try:
            with open(settings.file, "rb") as source, tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(source, copy)
                copy.flush()
                self._reader = maxminddb.open_database(f"/proc/self/fd/{copy.fileno()}")
        except (maxminddb.InvalidDatabaseError, ValueError):
            raise broken(settings, "it is no whole MaxMind database") from None
        self._has_v6 = self._reader.metadata().ip_version == 6

    def get(self, key: str) -> object:
        """See `Table.get`."""
        try:
            address = ip_address(key.strip())
        except ValueError:
            raise UnusableKey("the key is no IP address") from None
        if address.version == 6 and not self._has_v6:
            return None
        try:
            return self._reader.get(address)
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise broken(self._settings, str(error)) from None

    def close(self) -> None:
        """See `Table.close`."""
        self._reader.close()
