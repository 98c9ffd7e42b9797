"""Secrets of a running host B: on the wire, and in no file, log line, metric or answer of its."""

from __future__ import annotations

import json
import socket
import stat
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeWorld
from tests.e2e.world import World, wait_until

SECRETS = {name: f"hunter2-{name}" for name in ("HEAD", "QUERY", "BASIC", "URL", "BODY", "ENV")}


def steps(url: str) -> list[dict[str, Any]]:
    """Steps that fail in different ways, each with a secret."""
    name = url.removeprefix("http://")
    head = {"Authorization": "Bearer ${HEAD}"}
    basic = {"basic": {"user": "me", "password": "${BASIC}"}}
    told = "echo cannot use $T, nor $(echo $T | cut -d ' ' -f 2) >&2; exit 3"
    return [
        {"name": "good", "cache": "1h", "http": {"url": f"{url}/1?k=${{QUERY}}", "headers": head}},
        {"name": "none", "http": {"url": f"{url}/no/such/place", "auth": basic}},
        {"name": "user", "http": {"url": f"http://me:${{BASIC}}@{name}/2"}},
        {"name": "body", "http": {"method": "POST", "url": f"{url}/3", "body": "${BODY}"}},
        {"name": "shut", "http": {"url": "http://127.0.0.1:1/${URL}", "query": {"k": "${QUERY}"}},
         "retry": {"attempts": 2, "max_delay": "10ms"}},
        {"name": "told", "command": {"run": ["sh", "-c", told],
                                     "environment": {"T": "Bearer ${ENV}"}}},
    ]  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_no_secret_is_in_any_file_or_answer(
    make_world: MakeWorld, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    served = f"127.0.0.1:{free_port()}"
    b = {
        "pipelines": {"p": {"steps": steps(api.url)}},
        "log": {"level": "debug"},
        "metrics": {"listen": served},
    }
    world = make_world(b=b)
    world.start()
    world.drop("a.jsonl", b'{"ip": "192.0.2.1"}\n')
    result = world.inbox / "a.jsonl"
    wait_until(result.exists, "the result is there")
    answer = json.loads(result.read_bytes())
    assert "cannot use ***, nor ***" in answer["told"]["error"]["detail"]
    assert "error" in answer["shut"]
    with urllib.request.urlopen(f"http://{served}/metrics") as scraped:
        (tmp_path / "metrics.txt").write_bytes(scraped.read())
    world.b.kill()  # so that the ledger's -wal and notes stay
    assert world.a.stop() == 0
    assert b'"debug"' in world.b.log.read_bytes()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_what_host_b_keeps_is_its_users_alone(world: World) -> None:
    for name in ("state", "quarantine"):
        assert stat.S_IMODE(world.b.folder(name).stat().st_mode) == 0o700
    for path in world.b.folder("state").iterdir():
        assert not path.is_dir() or stat.S_IMODE(path.stat().st_mode) == 0o700
