"""The keys below `hosts`: limits and connection of one API host."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from roundtrip.config.values import Calls, Count, Model, Number, PathText, Pause, Secret, Short


class QuotaModel(Model):
    """Calls in calendar windows of UTC."""

    minute: Number | None = Field(default=None, description="Most calls in a minute.")
    day: Number | None = Field(default=None, description="Most calls in a day.")
    month: Number | None = Field(default=None, description="Most calls in a month.")


class BreakerModel(Model):
    """When a host that fails is left alone."""

    failures: Count = Field(default=20, description="Failed calls in a row that open it.")
    pause: Pause = Field(default=10.0, description="Wait before the first probe.")
    max_pause: Pause = Field(default=300.0, description="Longest wait between two probes.")


class HostModel(Model):
    """What holds for every step that calls this host."""

    concurrency: Count | None = Field(
        default=None, description="Calls at once; without it, as many as the steps make."
    )
    rate: Calls | None = Field(default=None, description="Most calls in a time.")
    quota: QuotaModel = Field(default_factory=QuotaModel)
    breaker: Annotated[BreakerModel | None, Short(None, words="a mapping or off", off=True)] = (
        Field(default_factory=BreakerModel)
    )
    adaptive: bool = Field(
        default=True, description="Whether fewer calls are made at once while it is slow."
    )
    private: bool = Field(
        default=False,
        description="Whether its name may stand for a loopback, link-local or private address.",
    )
    proxy: Secret | None = Field(default=None, description="http:// URL of a proxy to it.")
    ca: PathText | None = Field(
        default=None, description="File (PEM) of the authorities that may vouch for it."
    )
    cert: PathText | None = Field(
        default=None, description="File (PEM) of our certificate, for mutual TLS."
    )
    key: PathText | None = Field(default=None, description="File (PEM) of the certificate's key.")
