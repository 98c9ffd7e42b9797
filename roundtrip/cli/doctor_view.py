"""How `roundtrip doctor` looks: a line for each finding, by what it is about, mends below."""

from __future__ import annotations

import socket
from collections import Counter

from rich.console import Console
from rich.text import Text

from roundtrip.cli.words import printable
from roundtrip.doctor.examination import Examination
from roundtrip.doctor.findings import About, Finding, Severity

_TITLES: dict[About, str] = {
    "configuration": "Configuration",
    "host": "This host",
    "folders": "Folders",
    "unenriched": "Share unenriched",
    "enriched": "Share enriched",
    "deliveries": "Deliveries",
    "queue": "Workers' queue",
    "apis": "API hosts",
}
_STYLES = {
    Severity.OK: "green",
    Severity.NOTICE: "cyan",
    Severity.WARNING: "yellow",
    Severity.ERROR: "bold red",
}
_KEY = 18  # columns
_SEVERITY = 8


def show(found: Examination) -> None:
    """Print an examination; no line is wrapped, so that commands can be copied whole."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(_heading(found), style="bold"))
    for about, title in _TITLES.items():
        findings = [each for each in found.findings if each.about == about]
        if findings:
            console.print()
            console.print(Text(title + _place(found, about), style="bold"))
            for each in findings:
                _show_one(console, each)
    console.print()
    console.print(_summary(found.findings))


def _heading(found: Examination) -> str:
    settings = found.settings
    where = f"roundtrip doctor on {socket.gethostname()}"
    return where if settings is None else f"{where}: role {settings.role}, {settings.root}"


def _place(found: Examination, about: About) -> str:
    if found.settings is None or about not in ("unenriched", "enriched"):
        return ""
    shares = found.settings.shares
    return f": {printable(str(shares.unenriched if about == 'unenriched' else shares.enriched))}"


def _show_one(console: Console, each: Finding) -> None:
    line = Text("  ")
    line.append(f"{each.severity:{_SEVERITY}}", style=_STYLES[each.severity])
    line.append(f"{each.key:{_KEY}}", style="dim" if each.severity is Severity.OK else "")
    line.append(printable(each.text))
    console.print(line)
    if each.mend is not None:
        console.print(Text(" " * (2 + _SEVERITY + _KEY) + printable(each.mend), style="magenta"))


def _summary(findings: list[Finding]) -> Text:
    counts = Counter(each.severity for each in findings)
    said = Text("")
    for severity in reversed(Severity):
        if counts[severity]:
            plural = "s" if counts[severity] > 1 and severity is not Severity.OK else ""
            said.append(", " if said else "")
            said.append(f"{counts[severity]} {severity}{plural}", style=_STYLES[severity])
    return said
