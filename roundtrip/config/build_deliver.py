"""From the models of `deliver` and `mail` to settings of deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from roundtrip.config import build_brokers
from roundtrip.config.deliver_checks import REPLY
from roundtrip.config.deliver_models import (
    DeliverModel,
    ExecModel,
    FieldsModel,
    MailModel,
    MailServerModel,
    PluginModel,
    TcpModel,
    WebhookModel,
)
from roundtrip.config.document import Path as Keys
from roundtrip.config.filling import Filling
from roundtrip.config.texts import proxy_of
from roundtrip.deliver.settings import (
    OUTCOMES,
    Action,
    DeliverySettings,
    ExecSettings,
    FieldSettings,
    Lookup,
    MailSettings,
    PluginSettings,
    Server,
    TcpSettings,
    WebhookSettings,
)
from roundtrip.deliver.signature import key_of

_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def server(filling: Filling, model: MailServerModel) -> Server:
    """The mail server."""
    user = model.user
    return Server(
        host=model.server,
        port=model.port or _PORTS[model.tls],
        tls=model.tls,
        user=None if user is None else filling.own(("mail", "user"), user),
        password=filling.own(("mail", "password"), model.password),
        sender=model.from_,
        ca=filling.file(("mail", "ca"), model.ca),
    )


def deliveries(
    filling: Filling, models: dict[str, DeliverModel], model: MailServerModel | None
) -> Iterator[DeliverySettings]:
    """All deliveries; with a mail server, the one that mails to those who asked for it."""
    mailer = None if model is None else server(filling, model)
    for name, each in models.items():
        if (found := _delivery(filling, name, each, mailer)) is not None:
            yield found
    if model is not None and mailer is not None:
        yield DeliverySettings(
            name=REPLY,
            action=MailSettings(mailer, to=("{mail}",)),
            on=OUTCOMES,
            fields=FieldSettings(record=False),
            expire=model.expire,
            timeout=model.timeout,
            asked=True,
        )


def _delivery(
    filling: Filling, name: str, model: DeliverModel, mailer: Server | None
) -> DeliverySettings | None:
    """None where the checks between keys have said what is wrong."""
    found = _action(filling, ("deliver", name), model, mailer)
    if found is None:
        return None
    action, timeout = found
    return DeliverySettings(
        name=name,
        action=action,
        pipelines=None if model.pipelines is None else tuple(model.pipelines),
        on=tuple(model.on),
        match=tuple(model.match),
        fields=_fields(filling, ("deliver", name, "fields"), model.fields),
        min_delay=model.retry.min_delay,
        max_delay=max(model.retry.max_delay, model.retry.min_delay),
        expire=model.expire,
        timeout=timeout,
        concurrency=model.concurrency,
    )


def _action(
    filling: Filling, at: Keys, model: DeliverModel, mailer: Server | None
) -> tuple[Action, float] | None:
    """What is done, and its time limit in seconds."""
    if model.exec is not None:
        return _exec(filling, (*at, "exec"), model.exec), model.exec.timeout
    if model.mail is not None and mailer is not None:
        return _mail(model.mail, mailer), model.mail.timeout
    if model.http is not None:
        return _webhook(filling, (*at, "http"), model.http), model.http.timeout
    if model.tcp is not None:
        return _tcp(model.tcp), model.tcp.timeout
    if (found := build_brokers.action(filling, at, model)) is not None:
        return found
    if model.plugin is not None:
        return _plugin(filling, (*at, "plugin"), model.plugin), model.plugin.timeout
    return None


def _exec(filling: Filling, at: Keys, model: ExecModel) -> ExecSettings:
    environment = {
        name: filling.own((*at, "environment", name), text)
        for name, text in model.environment.items()
    }
    return ExecSettings(tuple(model.run), environment)


def _mail(model: MailModel, mailer: Server) -> MailSettings:
    return MailSettings(
        server=mailer,
        to=tuple(model.to),
        subject=model.subject,
        text=model.text,
        cc=tuple(model.cc),
        reply_to=model.reply_to,
        attach=model.attach,
        most=model.most,
    )


def _webhook(filling: Filling, at: Keys, model: WebhookModel) -> WebhookSettings:
    headers = {
        name: filling.own((*at, "headers", name), text) for name, text in model.headers.items()
    }
    given, proxy = model.secret or [], model.proxy
    where: list[Keys] = [(*at, "secret", number) for number in range(len(given))]
    if len(given) == 1:
        where = [(*at, "secret")]  # As most files have it: not in a list.
    secrets = tuple(map(filling.own_checked, where, given, [key_of] * len(given)))
    return WebhookSettings(
        url=filling.own_url((*at, "url"), model.url),
        method=model.method,
        body=model.body,
        headers=headers,
        secrets=secrets,
        proxy=None if proxy is None else filling.own_checked((*at, "proxy"), proxy, proxy_of),
        ca=filling.file((*at, "ca"), model.ca),
    )


def _tcp(model: TcpModel) -> TcpSettings:
    return TcpSettings(**model.model_dump(exclude={"timeout"}))


def _plugin(filling: Filling, at: Keys, model: PluginModel) -> PluginSettings:
    options = {
        name: _filled(filling, (*at, "options", name), value)
        for name, value in model.options.items()
    }
    return PluginSettings(model.use, options)


def _filled(filling: Filling, at: Keys, value: Any) -> Any:
    """The same data with secrets in all its texts."""
    if isinstance(value, str):
        return filling.own(at, value)
    if isinstance(value, list):
        return [_filled(filling, (*at, number), each) for number, each in enumerate(value)]
    if isinstance(value, dict):
        return {key: _filled(filling, (*at, key), each) for key, each in value.items()}
    return value


def _fields(filling: Filling, at: Keys, model: FieldsModel) -> FieldSettings:
    lookup = model.lookup
    found = None
    if lookup is not None:
        file = filling.path((*at, "lookup", "file"), lookup.file)
        found = Lookup(file, lookup.key, lookup.column)
    return FieldSettings(model.name, found, model.record)
