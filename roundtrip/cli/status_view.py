"""How `roundtrip status` looks on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from roundtrip.cli.words import progress_words
from roundtrip.survey import Report

_BAR = 24  # columns


def render(report: Report, *, bars: bool = False) -> RenderableType:
    """The report as a few short tables; `bars` where they can move."""
    parts: list[RenderableType] = [_agents(report), _shares(report), _states(report)]
    if report["progress"]:
        parts.append(_progress(report, bars=bars))
    return Group(*parts)


def _agents(report: Report) -> Table:
    table = _table("role", "agent", "host", "version", "last heartbeat")
    agent = report["agent"]
    state = f"running, pid {agent.get('pid')}" if agent else "not running"
    table.add_row(report["role"], state, *_columns(agent, "host", "version"), "")
    peer = report["peer"]
    if peer:
        sign = f"{peer['age']} s ago" if peer["age"] is not None else peer["time"]
        table.add_row(peer["role"], "peer", *_columns(peer, "host", "version"), sign)
    else:
        table.add_row("a" if report["role"] == "b" else "b", "peer", "", "", "none seen")
    return table


def _shares(report: Report) -> Table:
    table = _table("share", "home", "path", "health")
    for name, share in report["shares"].items():
        health = Text(share["health"], style="green" if share["health"] == "ok" else "red")
        table.add_row(name, share["home"] or "?", share["path"], health)
    return table


def _states(report: Report) -> Table:
    table = _table("exchanges", "count")
    for state, count in report["states"].items():
        if count:
            table.add_row(state, str(count))
    for folder, count in report["folders"].items():
        table.add_row(f"{folder}/", str(count))
    for role, rate in report["rates"].items():
        table.add_row(f"role {role}, a minute", str(rate))
    if oldest := report["oldest"]:
        table.add_row("oldest", Text(f"{oldest['exchange']} ({oldest['age']} s)"))
    return table


def _progress(report: Report, *, bars: bool) -> Table:
    table = _table("under way", *([""] if bars else []), "how far")
    for item in report["progress"]:
        bar = [ProgressBar(total=1.0, completed=item["done"], width=_BAR)] if bars else []
        table.add_row(Text(item["exchange"]), *bar, Text(progress_words(item)))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _columns(fields: dict[str, Any] | None, *keys: str) -> list[Text]:
    return [Text(str((fields or {}).get(key, ""))) for key in keys]
