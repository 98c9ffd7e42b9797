"""What deliveries are told to do: plain, frozen values that config/ builds and deliver/ obeys.

Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

DAY = 86400.0
OUTCOMES = ("enriched", "partial", "failed")


@dataclass(frozen=True, slots=True)
class ExecSettings:
    """A program, run without a shell. `{field}` in an argument becomes part of that argument."""

    run: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server that takes all mail (RFC 5321); `password` needs `user`."""

    host: str
    port: int = 587
    tls: str = "starttls"  # starttls | tls | none
    user: str | None = None
    password: str = field(default="", repr=False)
    sender: str = "roundtrip@localhost"  # what stands in From, and the envelope's sender
    ca: str | None = None  # file (PEM) of the authorities that are believed; None: the system's


@dataclass(frozen=True, slots=True)
class MailSettings:
    """A mail. All texts but `reply_to` are templates over the fields of the file and its record.

    With `attach`, the file is attached.
    """

    server: Server
    to: tuple[str, ...]
    subject: str = "{original_name}: {outcome}"
    text: str = ""  # "": a few lines that say what it is
    cc: tuple[str, ...] = ()
    reply_to: str | None = None
    attach: bool = True
    most: int = 25 * 1024 * 1024  # bytes of an attachment; a larger file is told of instead


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """An HTTP request, signed with each of `secrets` as the specification Standard Webhooks says.

    `body` is `event` (JSON about the file) or `file` (the file itself). `proxy` is an http:// URL.
    """

    url: str = field(repr=False)  # may hold secrets
    method: str = "POST"
    body: str = "event"  # event | file
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    secrets: tuple[str, ...] = field(default=(), repr=False)  # the newest first
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    ca: str | None = None  # file (PEM) of the authorities that are believed; None: the system's


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """A line feed: a line of JSON for each file, and what one client sends goes to the others."""

    listen: str  # HOST:PORT
    clients: int = 32  # connected at once
    line: int = 4096  # bytes of a line that a client sends
    buffer: int = 256 * 1024  # bytes that wait for a client before it is dropped
    keep: int = 1000  # events kept in memory for clients that ask for what they missed
    relay: bool = True  # whether what one client sends is passed to the others


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """A delivery of an installed package, by its entry point in group roundtrip.deliveries."""

    use: str
    options: Mapping[str, object] = field(default_factory=dict, repr=False)  # may hold secrets


class OtherSettings:
    """What the settings of every further kind of delivery inherit: see `make.KINDS`."""

    __slots__ = ()

    @property
    def listens(self) -> bool:
        """See `DeliverySettings.listens`."""
        return False


Action = (
    ExecSettings | MailSettings | WebhookSettings | TcpSettings | PluginSettings | OtherSettings
)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Further fields from a CSV file: of the first row whose `column` equals the `key` template."""

    file: Path
    key: str
    column: str


@dataclass(frozen=True, slots=True)
class FieldSettings:
    """Where templates find fields beyond those of the file.

    `name` is a regular expression with named groups for the whole original name. With `record`,
    the first record of a CSV, JSON or JSON Lines result gives fields, too.
    """

    name: str | None = None
    lookup: Lookup | None = None
    record: bool = True


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """One delivery. `pipelines` is None for all.

    The pause before another attempt grows from `min_delay` to `max_delay`; `expire` after it was
    due, a parcel that can't be delivered is dead. `timeout` is for one attempt. With `asked`, only
    exchanges whose sender has asked for a mail are delivered.
    """

    name: str
    action: Action
    pipelines: tuple[str, ...] | None = None
    on: tuple[str, ...] = ("enriched", "partial")
    match: tuple[str, ...] = ("*",)
    fields: FieldSettings = FieldSettings()
    min_delay: float = 1.0
    max_delay: float = 600.0
    expire: float = 7 * DAY
    timeout: float = 60.0
    concurrency: int = 4
    asked: bool = False

    @property
    def listens(self) -> bool:
        """Whether receivers may come by themselves, so that it begins with the agent."""
        other = isinstance(self.action, OtherSettings) and self.action.listens
        return other or isinstance(self.action, TcpSettings | PluginSettings)

    def wants(self, outcome: str, pipeline: str | None, original_name: str, *, asked: bool) -> bool:
        """Whether the end of an exchange is to be delivered. Globs are compared as a pipeline's."""
        if outcome not in self.on or (self.asked and not asked):
            return False
        if self.pipelines is not None and pipeline not in self.pipelines:
            return False
        name = original_name.lower()
        return any(fnmatchcase(name, glob.lower()) for glob in self.match)
