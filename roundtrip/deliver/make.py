"""From settings to an adapter: the only place that knows all kinds, each imported when needed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from roundtrip.deliver.broker_settings import AmqpSettings, RedisSettings, ZeromqSettings
from roundtrip.deliver.port import Delivery
from roundtrip.deliver.settings import (
    DeliverySettings,
    ExecSettings,
    MailSettings,
    PluginSettings,
    TcpSettings,
    WebhookSettings,
)

KINDS: dict[type, tuple[str, str]] = {
    ExecSettings: ("roundtrip.deliver.exec", "Exec"),
    MailSettings: ("roundtrip.deliver.mail", "Mail"),
    WebhookSettings: ("roundtrip.deliver.http", "Webhook"),
    TcpSettings: ("roundtrip.deliver.tcp", "Feed"),
    AmqpSettings: ("roundtrip.deliver.amqp", "Amqp"),
    RedisSettings: ("roundtrip.deliver.redis", "Redis"),
    ZeromqSettings: ("roundtrip.deliver.zeromq", "Zeromq"),
    PluginSettings: ("roundtrip.deliver.plugin", "load"),
}
"""Module and name of what makes the adapter of each kind of `DeliverySettings.action`.

It is called with (settings: DeliverySettings, action), inside the event loop.
"""


def maker(settings: DeliverySettings) -> Callable[[], Delivery]:
    """What makes the adapter of a delivery, once it is needed."""

    def make() -> Delivery:
        module, name = KINDS[type(settings.action)]
        made: Delivery = getattr(import_module(module), name)(settings, settings.action)
        return made

    return make
