"""roundtrip: files handed from host to host through shared folders, and back enriched."""

from __future__ import annotations

TYPE_CHECKING = False  # As of `typing`, which takes long enough to be interrupted.
__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Restarts", "__version__"]

if TYPE_CHECKING:
    from roundtrip.client import AsyncClient, Client, Restarts


def __getattr__(name: str) -> object:
    # Lazily, so that `roundtrip --version` doesn't pay for what only programs need.
    if name in ("AsyncClient", "Client", "Restarts"):
        from roundtrip import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
