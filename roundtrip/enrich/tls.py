"""TLS for one host: whose certificates are believed, and which one is shown. Never: no check."""

from __future__ import annotations

import ssl

from roundtrip.enrich.egress import Refused
from roundtrip.enrich.settings import HostSettings


def context(settings: HostSettings) -> ssl.SSLContext | None:
    """The host's own TLS context; None when the system's trust is all it needs.

    `ca` stands instead of the system's certificate authorities, not beside them. Raises Refused
    when a file can't be used.
    """
    if not (settings.ca or settings.cert or settings.key):
        return None
    made = _trusting(settings)
    made.set_alpn_protocols(["http/1.1"])
    if settings.cert:
        _show(made, settings)
    elif settings.key:
        raise Refused(f"hosts: {settings.name}: key needs cert")
    return made


def _trusting(settings: HostSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except (OSError, ValueError) as error:
        raise Refused(f"hosts: {settings.name}: ca: {_reason(error)}") from None


def _show(made: ssl.SSLContext, settings: HostSettings) -> None:
    try:
        # without a password function, OpenSSL would ask on the terminal and wait
        made.load_cert_chain(settings.cert or "", settings.key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = _reason(error)
        raise Refused(f"hosts: {settings.name}: cert, key: {reason}") from None


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return "not a PEM file that can be used, or its key is encrypted"
    return f"{error.strerror}"
