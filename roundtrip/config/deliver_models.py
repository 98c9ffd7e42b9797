"""The keys of `deliver` and `mail`: what host A does with ends of exchanges beyond the inbox."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from roundtrip.config import names, texts
from roundtrip.config.broker_models import AmqpModel, RedisModel, ZeromqModel
from roundtrip.config.deliver_checks import KINDS
from roundtrip.config.values import (
    Bytes,
    Count,
    Glob,
    HeaderName,
    Listen,
    LocalTemplate,
    Model,
    Name,
    PathText,
    Pause,
    Secret,
    Short,
    Text,
    VariableName,
    one_of,
)

Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, AfterValidator(names.check_mail_address)]
Pattern = Annotated[str, AfterValidator(texts.check_pattern)]
PlainUrl = Annotated[str, AfterValidator(texts.check_plain_url)]
ProxyUrl = Annotated[str, AfterValidator(texts.check_proxy)]
Templates = Annotated[list[LocalTemplate], Field(min_length=1)]
_listed = BeforeValidator(lambda given: [given] if isinstance(given, str) else given)
_one_or_more = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ]
    }
)
OneOrMore = Annotated[Templates, _listed, _one_or_more]
Secrets = Annotated[list[Secret], Field(min_length=1), _listed, _one_or_more]


def _referenced(value: Any) -> Any:
    """Check the references to secrets in all texts of some data."""
    if isinstance(value, str):
        texts.check_references(value)
    for each in value.values() if isinstance(value, dict) else ():
        _referenced(each)
    for each in value if isinstance(value, list) else ():
        _referenced(each)
    return value


class MailServerModel(Model):
    """The server that all mail goes through."""

    server: Annotated[str, AfterValidator(names.check_bare_host)] = Field(
        description="Its name or address."
    )
    port: Port | None = Field(
        default=None, description="Its port; without it 587, with tls 465, with none 25."
    )
    tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection is encrypted."
    )
    user: Secret | None = Field(default=None, description="Who logs in; without it, nobody does.")
    password: Secret = Field(default="", description="The user's password.")
    from_: Address = Field(alias="from", description="The sender's address.")
    ca: PathText | None = Field(
        default=None, description="PEM file of the authorities that are believed."
    )
    timeout: Pause = Field(default=60.0, description="Longest time for one `reply` mail.")
    expire: Pause = Field(
        default=7 * 86400.0, description="How long a `reply` mail is tried before it is dead."
    )


class LookModel(Model):
    """A local URL that asks the agent to look at once."""

    listen: Annotated[str, AfterValidator(names.check_loopback)] = Field(
        description="HOST:PORT on this host's loopback."
    )
    token: Secret = Field(description="What a caller has to know.")


class ExecModel(Model):
    """A program, run without a shell."""

    run: Templates = Field(description="The program and its arguments.")
    environment: dict[VariableName, Secret] = Field(
        default={}, description="Variables that the program gets."
    )
    timeout: Pause = Field(default=60.0, description="Longest run; then it is ended.")


class MailModel(Model):
    """A mail through the server of the section `mail`."""

    to: OneOrMore = Field(description="Who gets it.")
    cc: list[LocalTemplate] = Field(default=[], description="Who gets it besides.")
    reply_to: Address | None = Field(default=None, description="Where answers go.")
    subject: LocalTemplate = Field(default="{original_name}: {outcome}", description="The subject.")
    text: LocalTemplate = Field(default="", description="The text; without it, a few lines.")
    attach: bool = Field(default=True, description="Whether the file is attached.")
    most: Bytes = Field(default=25 * 1024 * 1024, description="The largest file to attach.")
    timeout: Pause = Field(default=60.0, description="Longest time for one mail.")


class WebhookModel(Model):
    """An HTTP request."""

    url: PlainUrl = Field(description="Where it goes; it has no fields.")
    method: Literal["POST", "PUT", "PATCH"] = Field(default="POST", description="Its method.")
    body: Literal["event", "file"] = Field(
        default="event", description="JSON about the file, or the file itself."
    )
    headers: dict[HeaderName, Secret] = Field(default={}, description="Further headers.")
    secret: Secrets | None = Field(
        default=None, description="What it is signed with: whsec_..., the newest first."
    )
    proxy: ProxyUrl | None = Field(default=None, description="http:// URL of a proxy to it.")
    ca: PathText | None = Field(
        default=None, description="PEM file of the authorities that are believed."
    )
    timeout: Pause = Field(default=30.0, description="Longest time for one request.")


class TcpModel(Model):
    """A line feed for clients that connect."""

    listen: Listen = Field(description="HOST:PORT where clients connect.")
    clients: Count = Field(default=32, description="Clients connected at once.")
    line: Bytes = Field(default=4096, description="The longest line that a client may send.")
    buffer: Bytes = Field(
        default=256 * 1024, description="What may wait for a client before it is dropped."
    )
    keep: Count = Field(default=1000, description="Events kept for clients that missed some.")
    relay: bool = Field(
        default=True, description="Whether what one client sends is passed to the others."
    )
    timeout: Pause = Field(default=10.0, description="Longest time to begin to listen.")


class PluginModel(Model):
    """A delivery of an installed package."""

    use: Name = Field(description="The name of its entry point in the group roundtrip.deliveries.")
    options: Annotated[dict[str, Any], AfterValidator(_referenced)] = Field(
        default={}, description="What it is made with."
    )
    timeout: Pause = Field(default=60.0, description="Longest time for one delivery.")


class LookupFieldsModel(Model):
    """Fields from the row of a table."""

    file: PathText = Field(description="A CSV file whose first line names its columns.")
    key: LocalTemplate = Field(description="What is looked for.")
    column: Text = Field(description="Where it is looked for.")


class FieldsModel(Model):
    """Where templates find fields beyond those of the file."""

    name: Pattern | None = Field(
        default=None, description="A regular expression for original names, with named groups."
    )
    lookup: LookupFieldsModel | None = None
    record: bool = Field(
        default=True, description="Whether the first record of the result gives fields, too."
    )


class DeliverRetryModel(Model):
    """How long to wait before another attempt."""

    min_delay: Pause = Field(default=1.0, description="The first pause; each is twice as long.")
    max_delay: Pause = Field(default=600.0, description="The longest pause.")


class DeliverModel(Model):
    """One delivery; it has exactly one of the kinds."""

    model_config = one_of(*KINDS)

    pipelines: Annotated[list[Name], Field(min_length=1)] | None = Field(
        default=None, description="Pipelines whose answers are delivered; without it, all."
    )
    on: Annotated[list[Literal["enriched", "partial", "failed"]], Field(min_length=1)] = Field(
        default=["enriched", "partial"], description="Outcomes that are delivered."
    )
    match: Annotated[list[Glob], Field(min_length=1)] = Field(
        default=["*"], description="Original names that it is for."
    )
    exec: Annotated[
        ExecModel | None, Short("run", list, words="a list like [program, argument] or a mapping")
    ] = Field(default=None)
    mail: MailModel | None = None
    http: Annotated[WebhookModel | None, Short("url", words="a URL or a mapping")] = Field(
        default=None
    )
    amqp: AmqpModel | None = None
    redis: RedisModel | None = None
    zeromq: ZeromqModel | None = None
    tcp: Annotated[TcpModel | None, Short("listen", words="HOST:PORT or a mapping")] = Field(
        default=None
    )
    plugin: Annotated[PluginModel | None, Short("use", words="a name or a mapping")] = Field(
        default=None
    )
    fields: FieldsModel = Field(default_factory=FieldsModel)
    retry: DeliverRetryModel = Field(default_factory=DeliverRetryModel)
    expire: Pause = Field(
        default=7 * 86400.0, description="How long it is tried before it is dead."
    )
    concurrency: Count = Field(default=4, description="Parcels delivered at once.")
