"""Node-RED doing the same: read the file line by line, call for each, write lines; once.

Its http request node has no bound on calls in flight, so the flow keeps one: a function node that
lets the next line go when an answer is there.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from bench import processes
from bench.api import free_port
from bench.cache import Cache
from bench.errors import Unavailable
from bench.peers.node_red import SETTINGS, node

PATIENCE = 300.0  # seconds

GATE = """
const s = context.get("s") || {wait: [], open: 0};
if (msg.done) s.open--; else s.wait.push(msg.payload);
while (s.open < LIMIT && s.wait.length) {
    const line = s.wait.shift();
    if (!line) continue;
    const record = JSON.parse(line);
    if (!flow.get("began")) flow.set("began", Date.now());
    s.open++;
    node.send([{record, url: "URL" + record.id}, null]);
}
context.set("s", s);
return null;
"""
MERGE = """
const answer = JSON.parse(msg.payload);
msg.record.geo = {status: answer.status, score: answer.score};
const n = (context.get("n") || 0) + 1;
context.set("n", n);
const out = {payload: JSON.stringify(msg.record)};
const end = n === COUNT ? {payload: String(Date.now() - flow.get("began"))} : null;
return [out, {done: true}, end];
"""


def run(cache: Cache, place: Path, source: Path, url: str, limit: int) -> dict[str, float]:
    """Start it, let it enrich `source` once, end it. Raises Unavailable."""
    modules = cache.npm("node-red", ["node-red@4.1.8"])
    root = place / "node-red"
    root.mkdir()
    (root / "settings.js").write_text(SETTINGS.format(port=free_port(), root=root))
    count = sum(1 for _ in source.open())
    (root / "flows.json").write_text(json.dumps(_flow(place, source, url, limit, count)))
    argv: processes.Argv = [
        shutil.which("node") or "node",
        modules / "node-red/red.js",
        "--settings",
        root / "settings.js",
    ]
    process = processes.start(argv, place / "node-red.log")
    took = place / "took"
    try:
        deadline = time.monotonic() + PATIENCE
        while not (took.exists() and took.read_text().strip()):
            if time.monotonic() > deadline or process.poll() is not None:
                raise Unavailable(f"Node-RED didn't finish; see {place}/node-red.log")
            time.sleep(0.1)
        rss = sum(processes.usage([process.pid]).peak_rss.values())
    finally:
        processes.end([process])
    return {"seconds": int(took.read_text()) / 1000, "calls": count, "rss": rss}


def _flow(place: Path, source: Path, url: str, limit: int, count: int) -> list[dict[str, Any]]:
    gate = GATE.replace("LIMIT", str(limit)).replace("URL", url)
    merge = MERGE.replace("COUNT", str(count))
    return [
        {"id": "tab", "type": "tab", "label": "bench"},
        node("begin", "inject", ["read"], once=True, onceDelay=1, repeat="", props=[]),
        node("read", "file in", ["gate"], filename=str(source), filenameType="str",
             format="lines", chunk=False, allProps=False),
        node("gate", "function", ["call"], func=gate, outputs=1, libs=[]),
        node("call", "http request", ["merge"], method="GET", ret="txt", url="", persist=True,
             paytoqs="ignore"),
        {**node("merge", "function", [], func=merge, outputs=3, libs=[]),
         "wires": [["write"], ["gate"], ["took"]]},
        node("write", "file", [], filename=str(place / "out"), filenameType="str",
             appendNewline=True, overwriteFile="false", createDir=False),
        node("took", "file", [], filename=str(place / "took"), filenameType="str",
             appendNewline=True, overwriteFile="true", createDir=False),
    ]  # fmt: skip
