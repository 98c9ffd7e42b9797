"""The `exec` delivery: runs a program for each file, its arguments made of the file's fields.

    fields -> argv, environment -> program, in a process group of its own -> exit code

No shell is involved. The program's standard input is empty, its output is not kept.
"""

from __future__ import annotations

import asyncio
import os
import shutil

from roundtrip.arguments import Arguments
from roundtrip.deliver.fields import Fielding
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings, ExecSettings
from roundtrip.errors import RecordFault
from roundtrip.processes import NotStarted, piped, started
from roundtrip.programs import NEVER, NOT_RUN, environment, printable, signal_name


class Exec:
    """Runs the program of one delivery; implements `Delivery`."""

    def __init__(self, settings: DeliverySettings, action: ExecSettings) -> None:
        self._program = action.run[0]
        self._arguments = Arguments(action.run, "exec.run", names=True)
        self._fields = Fielding(settings.fields)
        self._own = dict(action.environment)

    async def deliver(self, parcel: Parcel) -> None:
        """Run the program to its end: exit code 0 is delivered, all others are tried again."""
        fields = await self._fields.of(parcel, self._arguments.fields)
        try:
            arguments = self._arguments.render(fields)
        except RecordFault as fault:
            raise Undelivered(False, fault.detail) from None
        given = environment({**_told(parcel), **self._own})
        program = shutil.which(self._program, path=given["PATH"])
        if program is None:
            raise Undelivered(True, f"{self._program}: no such program, or no right to it")
        try:
            async with started([os.fsencode(program), *arguments], given) as child:
                errors = await piped(child, _nothing, _dropped)
        except NotStarted as refused:
            raise _unstarted(refused.error, self._program) from None
        if child.code:
            raise Undelivered(True, self._failed(child.code, errors))

    def _failed(self, code: int, errors: bytes) -> str:
        said = printable(errors, self._own.values())
        after = f": {said}" if said else ""
        if code < 0:
            return f"{self._program}: ended by {signal_name(-code)}{after}"
        missing = " (not found, or not run)" if code in NOT_RUN else ""
        return f"{self._program}: exit code {code}{missing}{after}"

    async def aclose(self) -> None:
        """Nothing is left: each program ends with its delivery."""


def _told(parcel: Parcel) -> dict[str, str]:
    """What the program finds in its environment, whatever its arguments are."""
    found = {
        "ROUNDTRIP_ID": parcel.id,
        "ROUNDTRIP_DELIVERY": parcel.delivery,
        "ROUNDTRIP_EXCHANGE": parcel.exchange,
        "ROUNDTRIP_OUTCOME": parcel.outcome,
        "ROUNDTRIP_ORIGINAL_NAME": parcel.original_name,
        "ROUNDTRIP_PATH": str(parcel.path),
        "ROUNDTRIP_CONTENT": str(parcel.content),
        "ROUNDTRIP_SHA256": parcel.sha256,
        "ROUNDTRIP_SIZE": str(parcel.size),
        "ROUNDTRIP_ATTEMPT": str(parcel.attempt),
    }
    return {**found, "ROUNDTRIP_PIPELINE": parcel.pipeline} if parcel.pipeline else found


async def _nothing(stdin: asyncio.StreamWriter) -> None:
    """Its standard input ends at once."""


async def _dropped(piece: bytes) -> None:
    """What it prints is nobody's."""


def _unstarted(error: OSError, program: str) -> Undelivered:
    text = f"{program}: {os.strerror(error.errno or 0)}"
    # Also what will not change by itself is tried again: somebody may install the program.
    return Undelivered(True, text, away=error.errno in NEVER)
