"""The arguments of a step's program: only fields that it may see can stand in them."""

from __future__ import annotations

from collections.abc import Sequence

from roundtrip.arguments import Arguments
from roundtrip.enrich.steps.sent import Sent


def arguments(run: Sequence[str], sent: Sent, *, batch: bool) -> Arguments:
    """What follows the program's name. ValueError, in one line, when `run` can't be used."""
    found = Arguments(run, "command.run")
    for field in found.fields:
        if batch:
            raise ValueError(f"command.run: with batch, no argument can hold {{{field.name}}}")
        if not sent.allows(field):
            raise ValueError(f"command.run: {{{field.name}}} is not among the step's send")
    return found
