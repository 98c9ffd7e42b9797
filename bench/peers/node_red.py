"""Node-RED: watch -> file in -> http request -> file."""

from __future__ import annotations

import json
import shutil
from typing import Any

from bench.api import free_port
from bench.peers.base import Peer
from bench.processes import Argv

SETTINGS = """\
module.exports = {{
    uiPort: {port}, uiHost: "127.0.0.1", flowFile: "flows.json", userDir: "{root}",
    credentialSecret: false, httpAdminRoot: false, httpNodeRoot: false,
    telemetry: {{ enabled: false, updateNotification: false }},
    logging: {{ console: {{ level: "warn", metrics: false, audit: false }} }},
}};
"""
NAME = 'msg.filename.slice(msg.filename.lastIndexOf("/") + 1)'


class NodeRed(Peer):
    """One process with the editor switched off; its own nodes only."""

    name = "node-red"
    quiet = 8.0

    def prepare(self) -> None:
        self._modules = self.cache.npm("node-red", ["node-red@4.1.8"])

    def configure(self) -> None:
        root = self.place / "node-red"
        root.mkdir()
        (root / "settings.js").write_text(SETTINGS.format(port=free_port(), root=root))
        (root / "flows.json").write_text(json.dumps(self._flow()))

    def start_agents(self) -> None:
        node = shutil.which("node") or "node"
        root = self.place / "node-red"
        argv: Argv = [node, self._modules / "node-red/red.js", "--settings", root / "settings.js"]
        self.agents = [self.spawn("node-red", argv)]

    def _flow(self) -> list[dict[str, Any]]:
        created = 'if (msg.event !== "update" || msg.type !== "file") return null; return msg;'
        named = f'msg.input = msg.filename; msg.filename = "{self.output}/" + {NAME}; return msg;'
        done = "msg.filename = msg.input; return msg;"
        return [
            {"id": "tab", "type": "tab", "label": "bench"},
            node("watch", "watch", ["new"], files=str(self.input), recursive=""),
            node("new", "function", ["read"], func=created, outputs=1, libs=[]),
            node("read", "file in", ["call"], filename="filename", filenameType="msg", format=""),
            node("call", "http request", ["name"], method="POST", ret="bin", url=self.api,
                  persist=True, paytoqs="ignore"),
            node("name", "function", ["write"], func=named, outputs=1, libs=[]),
            node("write", "file", ["done"], filename="filename", filenameType="msg",
                  appendNewline=False, overwriteFile="true", createDir=False),
            node("done", "function", ["drop"], func=done, outputs=1, libs=[]),
            node("drop", "file", [], filename="filename", filenameType="msg",
                  overwriteFile="delete"),
        ]  # fmt: skip


def node(name: str, kind: str, wires: list[str], **more: Any) -> dict[str, Any]:
    """One node of a flow; all its outputs are one."""
    return {"id": name, "type": kind, "z": "tab", "x": 0, "y": 0, "wires": [wires], **more}
