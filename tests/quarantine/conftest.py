"""Both hosts' folders as `init` makes them, and the command run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from roundtrip.cli.main import main
from roundtrip.protocol.names import Namer
from roundtrip.protocol.problem import Problem

_STEP = {"name": "x", "http": {"url": "http://127.0.0.1:9/{k}"}}
_MORE = {"a": {}, "b": {"pipelines": {"echo": {"match": ["*"], "steps": [_STEP]}}}}


@dataclass
class Site:
    """One host: its folder, and its commands with what they print."""

    root: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run `roundtrip quarantine <arguments>`; returns exit code, output, errors."""
        self.capsys.readouterr()
        action, *rest = arguments
        config = str(self.root / "roundtrip.yaml")
        try:
            code = main(["quarantine", action, "--config", config, *rest])
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
        found = self.capsys.readouterr()
        return code, found.out, found.err

    def json(self, *arguments: str) -> Any:
        """What a command prints with `--json`."""
        return json.loads(self(*arguments, "--json")[1])

    def labels(self) -> list[str]:
        """What `list` shows, by label."""
        return [item["label"] for item in self.json("list")]


MakeSite = Callable[[str], Site]


@pytest.fixture
def make_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> MakeSite:
    def make(role: str) -> Site:
        away = {"a": "unenriched", "b": "enriched"}[role]
        shares = {away: "../away", {"a": "enriched", "b": "unenriched"}[role]: "here"}
        root = tmp_path / role
        root.mkdir()
        settings = {"role": role, "shares": shares, **_MORE[role]}
        (root / "roundtrip.yaml").write_text(json.dumps(settings))
        assert main(["init", "--config", str(root / "roundtrip.yaml")]) == 0
        return Site(root, capsys)

    return make


@pytest.fixture
def a(make_site: MakeSite) -> Site:
    return make_site("a")


@pytest.fixture
def b(make_site: MakeSite) -> Site:
    return make_site("b")


def failed(site: Site, name: str, content: bytes = b"original", **request: Any) -> str:
    """A failed original with its problem document, as A's agent leaves them; returns the exchange.

    The file in failed/ is called `name`, the original what `request` says.
    """
    exchange = Namer()(name)
    asked = {"original_name": name, "pipeline": None, "attempt": 1, **request}
    document = Problem("payload", "Unreadable", "line 1", exchange).extended({"request": asked})
    (site.root / "failed" / name).write_bytes(content)
    (site.root / "failed" / f"{name}.problem.json").write_bytes(document)
    return exchange
