"""What `roundtrip demo` shows: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from roundtrip.demo.journey import Journey

SHOWN = ("1001", "1006")
"""An order that is enriched, and the one whose country is unknown."""


class View:
    """The demo's output on stdout."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    def opening(self, folder: Path, api: str) -> None:
        """Say what is about to be seen."""
        self._say(
            f"[bold]Two hosts, two shared folders[/] in {escape(str(folder))}, API at {api}\n"
            "  host A: outbox -> pending ==> Unenriched (host B's disk)\n"
            "  host B: Unenriched -> API ==> Enriched (host A's disk) -> inbox\n"
        )

    def show(self, journeys: list[Journey], changes: Iterable[Journey]) -> None:
        """Show each file's way until the changes end."""
        if not self._console.is_terminal:
            for journey in changes:
                moment, place = journey.seen[-1]
                self._say(f"{moment:7.3f} s  {journey.name:<14} {place}")
            return
        # Drawn by a thread of its own: drawing takes longer than some of the states last.
        with Live(
            get_renderable=lambda: _ways(journeys), console=self._console, refresh_per_second=15
        ):
            deque(changes, maxlen=0)

    def compare(self, before: str, journey: Journey) -> None:
        """Show an input beside its enriched result, record by record, or why there is none."""
        if journey.result is None or journey.place != "inbox":
            self._say(f"[red]{escape(journey.name)} failed[/], see {escape(str(journey.result))}")
            return
        after = list(csv.DictReader(journey.result.read_text(encoding="utf-8").splitlines()))
        table = Table(title="\norders.csv, before and after", title_justify="left")
        table.add_column("field", style="bold")
        table.add_column("outbox/orders.csv")
        table.add_column("inbox/orders.csv", overflow="fold")
        for old, new in zip(csv.DictReader(before.splitlines()), after, strict=True):
            if old["order"] in SHOWN:
                _add_record(table, old, new)
        self._console.print(table)

    def closing(self, kept: Path | None, port: int) -> None:
        """Say what to try next."""
        if kept is None:
            self._say("\nNext: scripts/demo --keep leaves the folders; README.md does it by hand.")
            return
        python = ".venv/bin/roundtrip"
        self._say(
            f"\nKept in {escape(str(kept))}. To go on there, each in a terminal of its own:\n"
            f"  {python} demo --api --port {port}\n"
            f"  {python} agent --config {escape(str(kept))}/hostB/roundtrip.yaml\n"
            f"  {python} agent --config {escape(str(kept))}/hostA/roundtrip.yaml\n"
            f"then copy files into {escape(str(kept))}/hostA/outbox and look into inbox beside it."
        )

    def _say(self, text: str) -> None:
        self._console.print(text)


def _ways(journeys: list[Journey]) -> Table:
    table = Table(title="Each file's way, read from the names in the folders", title_justify="left")
    table.add_column("file", no_wrap=True)
    table.add_column("states")
    table.add_column("seconds", justify="right")
    for journey in journeys:
        way = Text(" > ".join(place for _, place in journey.seen))
        way.stylize("green" if journey.over else "yellow", len(way) - len(journey.place))
        table.add_row(journey.name, way, f"{journey.seconds:.3f}")
    return table


def _add_record(table: Table, old: dict[str, str], new: dict[str, str]) -> None:
    for field, value in new.items():
        is_error = "error" in field and value
        style = "red" if is_error else "" if field in old else "green"
        table.add_row(Text(field), Text(old.get(field, "")), Text(value, style=style))
    table.add_section()
