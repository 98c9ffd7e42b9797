"""What can be told of a delivery's settings before there is anything to deliver."""

from __future__ import annotations

import re
from collections.abc import Iterator

from roundtrip.arguments import Arguments
from roundtrip.deliver.fields import OF_FILE
from roundtrip.deliver.message import Letters
from roundtrip.deliver.plugin import GROUP, factory_of
from roundtrip.deliver.settings import (
    DeliverySettings,
    ExecSettings,
    MailSettings,
    PluginSettings,
)
from roundtrip.offers import entry_point
from roundtrip.template import Field

Finding = tuple[tuple[str, ...], str]
"""Keys below the delivery, and a sentence."""


def problems(settings: DeliverySettings) -> Iterator[Finding]:
    """Yield what keeps a delivery from ever working."""
    action = settings.action
    if isinstance(action, ExecSettings):
        try:
            fields = Arguments(action.run, "exec.run", names=True).fields
        except ValueError as error:
            yield ("exec", "run"), str(error).removeprefix("exec.run: ")
            return
        yield from _unknown(settings, fields, ("exec", "run"))
    elif isinstance(action, MailSettings):
        yield from _unknown(settings, Letters(action).fields, ("mail",))
    elif isinstance(action, PluginSettings):
        try:
            factory_of(entry_point(GROUP, action.use), action.options)
        except ValueError as error:
            yield ("plugin",), str(error)


def _unknown(
    settings: DeliverySettings, fields: list[Field], keys: tuple[str, ...]
) -> Iterator[Finding]:
    """Fields that no file will ever have; a record or a table may have any."""
    known = settings.fields
    if known.record or known.lookup is not None:
        return
    groups = re.compile(known.name).groupindex if known.name else {}
    for field in fields:
        if field.path[0] not in OF_FILE and field.name not in groups:
            text = f"no file has a field {field.name!r}; there are {', '.join(OF_FILE)}"
            yield keys, text
