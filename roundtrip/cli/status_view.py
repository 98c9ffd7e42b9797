"""How `roundtrip status` looks on a terminal."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from roundtrip.cli.words import attempts_words, local_time, printable, progress_words
from roundtrip.survey import Report

_BAR = 24  # columns
_COUNTS = ("due", "failing", "dead")
_SKEW = 2.0  # seconds by which clocks may differ without a word
_STYLES = {"alarm": "bold red", "warning": "yellow", "notice": "cyan"}


def render(report: Report, *, bars: bool = False) -> RenderableType:
    """The report as a few short tables; `bars` where they can move."""
    parts: list[RenderableType] = [_agents(report), _shares(report), _states(report)]
    if report["conditions"]:
        parts.insert(0, _conditions(report))
    if report["deliveries"]:
        parts.append(_deliveries(report))
    if queue := (report["agent"] or {}).get("queue"):
        parts.append(_queue(queue))
    if report["attempts"]:
        parts.append(_attempts(report))
    if report["progress"]:
        parts.append(_progress(report, bars=bars))
    return Group(*parts)


def _conditions(report: Report) -> Table:
    table = _table("what is wrong", "since", "")
    for item in report["conditions"]:
        style = _STYLES.get(item["severity"], "")
        since = local_time(item["since"]) or ""
        text = printable(item["text"])
        table.add_row(Text(f"{item['severity']} {item['key']}", style=style), since, Text(text))
    return table


def _agents(report: Report) -> Table:
    table = _table("role", "agent", "host", "version", "last heartbeat")
    agent = report["agent"]
    state = f"running, pid {agent.get('pid')}" if agent else "not running"
    table.add_row(report["role"], state, *_columns(agent, "host", "version"), "")
    peer = report["peer"]
    if peer:
        table.add_row(peer["role"], "peer", *_columns(peer, "host", "version"), Text(_sign(peer)))
    else:
        table.add_row("a" if report["role"] == "b" else "b", "peer", "", "", "none seen")
    return table


def _sign(peer: dict[str, Any]) -> str:
    """When the other side gave its last sign of life, and how its clock goes."""
    sign = f"{peer['age']} s ago" if peer["age"] is not None else printable(str(peer["time"]))
    ahead = peer["skew"]
    if ahead is None or abs(ahead) < _SKEW:
        return sign
    return f"{sign}, its clock is {abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} ours"


def _shares(report: Report) -> Table:
    table = _table("share", "home", "path", "health")
    for name, share in report["shares"].items():
        fine = share["health"] == "ok"
        health = Text(printable(share["health"]), style="green" if fine else "red")
        table.add_row(name, share["home"] or "?", Text(share["path"]), health)
    return table


def _states(report: Report) -> Table:
    table = _table("exchanges", "count")
    if report["states"] is None:
        table.add_row("on the shares", "unknown")
    for state, count in (report["states"] or {}).items():
        if count:
            table.add_row(state, str(count))
    for folder, count in report["folders"].items():
        table.add_row(f"{folder}/", str(count))
    for role, rate in report["rates"].items():
        table.add_row(f"role {role}, a minute", str(rate))
    canary = (report["agent"] or {}).get("canary")
    if canary and canary["last_success"]:
        when = local_time(canary["last_success"])
        table.add_row("canary", f"{canary['latency']:.3f} s, last back {when}")
    if oldest := report["oldest"]:
        age = "" if oldest["age"] is None else f" ({oldest['age']} s)"
        table.add_row("oldest", Text(f"{oldest['exchange']}{age}"))
    return table


def _deliveries(report: Report) -> Table:
    table = _table("delivery", "due", "failing", "dead", "last error")
    for item in report["deliveries"]:
        error = printable(item["error"] or "")
        if not item["configured"]:
            error = "not configured any more; " + error
        style = "red" if item["dead"] else "yellow" if item["failing"] else ""
        numbers = ["?" if item[key] is None else str(item[key]) for key in _COUNTS]
        table.add_row(item["delivery"], *numbers, Text(error, style=style))
    return table


def _queue(queue: dict[str, Any]) -> Table:
    """Who works on the queue, and what waits in it, as of the agent's last look."""
    counts = [
        f"{queue[key]} {words}"
        for key, words in (("waiting", "waiting"), ("taken", "taken"), ("dead", "dead letters"))
        if queue.get(key) is not None
    ]
    table = _table("queue", ", ".join(counts) or "depth not known", "", "", "")
    if queue.get("workers"):
        table.add_row("worker", "host", "jobs in hand", "jobs done", "")
    for worker in queue.get("workers", []):
        standing = "" if worker.get("works") else "standing by"
        table.add_row(
            Text(printable(str(worker.get("worker")))),
            *_columns(worker, "host", "jobs", "done"),
            standing,
        )
    return table


def _attempts(report: Report) -> Table:
    table = _table("tried again", "after")
    for item in report["attempts"]:
        words = attempts_words(item, time.time())
        table.add_row(Text(item["exchange"]), Text(words))
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
    return [Text(printable(str((fields or {}).get(key, "")))) for key in keys]
