"""What the playbooks say of an inventory that can't be meant, before anything is changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ANSIBLE = Path(__file__).resolve().parents[2] / "ansible"
PLAY = [
    {
        "hosts": "roundtrip",
        "gather_facts": False,
        "tasks": [
            {"import_role": {"name": "roundtrip", "tasks_from": "check"}},
            {"debug": {"msg": "queue {{ roundtrip_configuration.queue | default({}) | to_json }}"}},
        ],
    }
]
QUEUED: dict[str, Any] = {
    "roundtrip_workers": 1,
    "roundtrip_broker": "redis",
    "roundtrip_extras": ["redis"],
    "roundtrip_secrets": {"BROKER_PASSWORD": "0123456789abcdef"},
    "roundtrip_pipelines": {"p": {"steps": [{"name": "s", "command": ["cat"]}]}},
}


def check(folder: Path, b: dict[str, Any], limit: str = "all", **common: Any) -> str:
    """What Ansible says of hosts a, b and w; nothing but the inventory is looked at."""
    hosts = {
        f"roundtrip_{group}": {"hosts": {name: {"roundtrip_address": f"192.0.2.{number}"}}}
        for number, (group, name) in enumerate([("a", "a"), ("b", "b"), ("workers", "w")], 1)
    }
    hosts["roundtrip_b"]["vars"] = b
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    variables = {"share_transport": "nfs", "roundtrip_version": "1", **local, **common}
    (folder / "inventory.yml").write_text(
        json.dumps({"roundtrip": {"children": hosts, "vars": variables}})
    )
    (folder / "play.yml").write_text(json.dumps(PLAY))
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", folder / "inventory.yml", "--limit", limit, folder / "play.yml"],
        capture_output=True, text=True, check=False, cwd=ANSIBLE,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
    )  # fmt: skip
    return done.stdout


def test_hosts_of_workers_have_what_host_b_has_but_the_way_to_the_broker(tmp_path: Path) -> None:
    told = check(tmp_path, QUEUED)
    assert "fatal" not in told, told
    queues = dict(re.findall(r'ok: \[(\w)\] => \{\s*"msg": "queue (\{.*\})"', told))
    found = {host: json.loads(text.replace('\\"', '"')) for host, text in queues.items()}
    assert found["a"] == {}
    assert found["b"]["url"] == "redis://:${BROKER_PASSWORD}@127.0.0.1:6379/0"
    assert found["w"]["url"] == "redis://:${BROKER_PASSWORD}@192.0.2.2:6379/0"
    assert found["b"]["folder"] == found["w"]["folder"] == "/srv/roundtrip/queue"


@pytest.mark.parametrize(
    ("b", "common", "says"),
    [
        ({"roundtrip_extras": []}, {}, "roundtrip_extras lacks redis"),
        ({"roundtrip_extras": ["kafka"]}, {}, "value of roundtrip_extras must be one or more of"),
        ({"roundtrip_secrets": {}}, {}, "BROKER_PASSWORD in roundtrip_secrets"),
        ({}, {"share_transport": "smb"}, "roundtrip_queue_folder below roundtrip_root"),
    ],
)
def test_what_workers_lack_is_said_in_words(
    b: dict[str, Any], common: dict[str, Any], says: str, tmp_path: Path
) -> None:
    told = check(tmp_path, {**QUEUED, **b}, "b", **common)
    assert "fatal: [b]" in told and says in told, told
