"""Two initialised hosts on one machine, and doctor on one of them."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from roundtrip.cli.main import main
from tests.e2e.world import REPOSITORY

PIPELINES: dict[str, Any] = {"p": {"steps": [{"name": "s", "command": {"run": ["true"]}}]}}


class Examined:
    """What doctor printed with --json, and its exit code."""

    def __init__(self, code: int, output: str, seconds: float) -> None:
        self.code, self.seconds = code, seconds
        self.report: dict[str, Any] = json.loads(output)
        self.findings: list[dict[str, Any]] = self.report["findings"]

    def all(self, key: str, about: str | None = None) -> list[dict[str, Any]]:
        """The findings of a check."""
        found = [each for each in self.findings if each["key"] == key]
        return [each for each in found if about in (None, each["about"])]

    def one(self, key: str, about: str | None = None) -> dict[str, Any]:
        """The only finding of a check."""
        [found] = self.all(key, about)
        return found

    def severity(self, key: str, about: str | None = None) -> str:
        """How bad the only finding of a check is."""
        return str(self.one(key, about)["severity"])

    def bad(self) -> set[str]:
        """The keys of warnings and errors."""
        severe = ("warning", "error")
        return {each["key"] for each in self.findings if each["severity"] in severe}


class Hosts:
    """Hosts A and B below one folder; each sees the other's share where `share` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.a, self.b = folder / "a", folder / "b"
        self.settings: dict[str, dict[str, Any]] = {"a": {}, "b": {"pipelines": PIPELINES}}
        self.point = {"a": self.b / "Unenriched", "b": self.a / "Enriched"}
        for role in ("a", "b"):
            (folder / role).mkdir(exist_ok=True)
            self.configure(role)

    def init(self) -> None:
        """Make all folders."""
        for role in ("a", "b"):
            done = self.run("init", role)
            assert done.returncode == 0, done.stderr

    def configure(self, role: str, **more: Any) -> None:
        """Write a host's configuration, with the keys given before and now."""
        self.settings[role] |= more
        away = "unenriched" if role == "a" else "enriched"
        shares = {"shares": {away: str(self.point[role])}}
        content = {"role": role, **shares, **self.settings[role]}
        self.config(role).write_text(json.dumps(content, indent=1))

    def config(self, role: str) -> Path:
        """A host's configuration."""
        return self.folder / role / "roundtrip.yaml"

    def command(self, name: str, role: str, *more: str) -> list[str]:
        """The command line of a command on a host."""
        config = str(self.config(role))
        return [sys.executable, "-m", "roundtrip", name, "--config", config, *more]

    def run(
        self, name: str, role: str, *more: str, under: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, `under` another program."""
        return subprocess.run(
            [*under, *self.command(name, role, *more)],
            capture_output=True, text=True, timeout=60, check=False, cwd=REPOSITORY,
        )  # fmt: skip

    def examine(self, role: str, *more: str, under: tuple[str, ...] = ()) -> Examined:
        """Run `doctor --json`: `under` another program as a process, else in this one."""
        began = time.monotonic()
        if under:
            done = self.run("doctor", role, "--json", *more, under=under)
            assert not done.stderr, done.stderr
            return Examined(done.returncode, done.stdout, time.monotonic() - began)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            code = main(["doctor", "--config", str(self.config(role)), "--json", *more])
        return Examined(code, output.getvalue(), time.monotonic() - began)

    def examine_mounted(self, role: str, *mounts: str) -> Examined:
        """Run doctor in a mount namespace of its own, after these commands of a shell."""
        script = " && ".join([*mounts, 'exec "$@"'])
        return self.examine(role, under=("unshare", "-m", "sh", "-ec", script, "sh"))
