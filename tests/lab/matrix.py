"""`scripts/lab test`: for each transport from bare to the last sheet, and how long that took."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

from tests.lab import lab, nas, workers
from tests.lab.cases import CASES, ON_NAS, Case
from tests.lab.deploy import TRANSPORTS, deploy
from tests.lab.pair import Pair, Sheet, faults
from tests.lab.shell import LabError

_LONG = "cut_300"
_RULE = "-" * 100


@dataclass(slots=True)
class Line:
    """One test's outcome."""

    transport: str
    name: str
    seconds: float
    sheet: Sheet = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def show(self) -> str:
        """As text."""
        told = ", ".join(
            f"{key} {value}" for key, value in self.sheet.items() if _worth(key, value)
        )
        verdict = "ok" if not self.faults else f"FAULT {'; '.join(self.faults)}"
        return f"{self.transport:9}{self.name:20}{self.seconds:6.0f} s  {verdict}: {told}"


def _worth(key: str, value: Any) -> bool:
    return bool(value) or key in ("sent", "delivered", "waiting", "lost", "doubled")


def run_all(arguments: argparse.Namespace) -> int:
    """Do it; returns 1 if a sheet is bad."""
    begun = time.monotonic()
    lines: list[Line] = []
    third = arguments.nas or arguments.workers
    for transport in ("nfs4",) if third else arguments.transport or TRANSPORTS:
        lines += _transport(transport, arguments)
    print(_RULE)
    for line in lines:
        print(line.show())
    bad = sum(bool(line.faults) for line in lines)
    print(f"{len(lines) - bad} good sheets, {bad} bad ones, {lab.timed(begun)}")
    return 1 if bad else 0


def _transport(transport: str, arguments: argparse.Namespace) -> list[Line]:
    if not arguments.keep:
        lab.down()
    guests = lab.up(lab.guests(arguments))
    lines = []
    if not arguments.keep:
        begun = time.monotonic()
        try:
            deploy(transport, arguments.workers)
        except LabError as error:
            return [Line(transport, "deploy", time.monotonic() - begun, faults=[str(error)])]
        lines.append(Line(transport, "deploy", time.monotonic() - begun))
    pair = Pair(guests["a"], guests["b"], transport)
    if arguments.nas:
        pair.label = "nas"
        nas.serve(guests["nas"])
        nas.move(pair, guests["nas"])
    cases = {name: CASES[name] for name in ON_NAS} if arguments.nas else CASES
    if arguments.workers:
        pair = Pair(guests["a"], guests["b"], arguments.workers, guests["w"])
        cases = workers.CASES
    names = [name for name in cases if not arguments.only or name in arguments.only]
    for name in names:
        if name != _LONG or not arguments.quick:
            lines.append(_case(pair, name, cases[name]))
            print(lines[-1].show(), flush=True)
    if not arguments.keep:
        lab.down()
    return lines


def _case(pair: Pair, name: str, case: Case) -> Line:
    begun = time.monotonic()
    since = pair.a.do("date", "'+%F %T'").strip()
    try:
        pair.clean()
        sheet = case(pair)
        found = faults(sheet) + pair.defects(since)
    except LabError as error:
        sheet, found = {}, [str(error)]
    return Line(pair.label, name, time.monotonic() - begun, sheet, found)
