"""The lab's inventory, and ansible/ run with it: once from bare, once more without a change."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from tests.e2e.world import pipelines
from tests.lab.names import ADDRESSES, API_URL, INSIDE, LIMITED, REPOSITORY, RUN
from tests.lab.shell import LabError, run

_PYTHON = "3.11"  # Debian 12's
TRANSPORTS = ("nfs4", "sshfs", "smb", "nfs3")

_SHARES: dict[str, dict[str, str]] = {
    "nfs4": {"share_transport": "nfs", "nfs_version": "4.2"},
    "nfs3": {"share_transport": "nfs", "nfs_version": "3"},
    "sshfs": {"share_transport": "sshfs"},
    "smb": {"share_transport": "smb"},
}
_RECAP = re.compile(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)


def _bundle(*extras: str) -> str:
    """Make what the playbook installs, out here: in the lab's network there is no package index."""
    words = ("--python", _PYTHON, "--machine", os.uname().machine, "--extras", ",".join(extras))
    path = run("nice", REPOSITORY / "scripts/wheelhouse", *words).split()[-1]
    return str(REPOSITORY / path)


def inventory(transport: str, broker: str = "") -> Path:
    """Write the inventory of two bare guests, or with a broker of three; returns its path."""
    common = {
        "roundtrip_bundle": _bundle(),
        "ansible_ssh_common_args": f"-F {RUN}/ssh_config",
        "ansible_user": "root",
        # Debian's user-mode-linux has nf_tables without the families for IP, so no rule can be
        # loaded in a guest. tests/lab/test_firewall.py tests them elsewhere.
        "firewall_enabled": False,
        **_SHARES[transport],
    }
    hosts: dict[str, Any] = {}
    for name in ("a", "b"):
        of_role: dict[str, Any] = {"roundtrip_role": name}
        if name == "b":
            of_role |= {"roundtrip_pipelines": pipelines(API_URL)}
        if name == "b" and broker:
            of_role |= _queue(broker)
        host: dict[str, Any] = {name: {"roundtrip_address": ADDRESSES[name]}}
        hosts[f"roundtrip_{name}"] = {"hosts": host, "vars": of_role}
    if broker:
        bundle = hosts["roundtrip_b"]["vars"]["roundtrip_bundle"]
        worker = {"roundtrip_address": ADDRESSES["w"], "roundtrip_workers": 2}
        hosts["roundtrip_workers"] = {"hosts": {"w": {**worker, "roundtrip_bundle": bundle}}}
    path = RUN / "inventory.yml"
    path.write_text(json.dumps({"roundtrip": {"children": hosts, "vars": common}}, indent=1))
    return path


def _queue(broker: str) -> dict[str, Any]:
    """What makes workers of host B's: one there, and a broker that has a password."""
    extra = {"redis": "redis", "rabbitmq": "amqp"}[broker]
    return {
        "roundtrip_bundle": _bundle(extra),
        "roundtrip_extras": [extra],
        "roundtrip_workers": 1,
        "roundtrip_broker": broker,
        "roundtrip_secrets": {"BROKER_PASSWORD": "only-for-the-lab-0"},
        "roundtrip_pipelines": {**_limited(), **pipelines(API_URL)},
    }


def _limited() -> dict[str, Any]:
    """Look-ups as they usually are, but that only so many calls may be made."""
    (item,) = pipelines(API_URL)["items"]["steps"]
    return {
        word: {
            "match": [f"{word}-*.csv", f"{word}-*.jsonl"],
            "steps": [{**item, "http": {"url": f"{API_URL}/{word}/{{key}}"}, **limit}],
        }
        for word, limit in LIMITED.items()
    }


def play(book: str, *words: str) -> tuple[int, float]:
    """Run a playbook in the lab's network; returns how many tasks changed something, and seconds.

    Raises:
        LabError: a task failed; the log tells.
    """
    begun = time.monotonic()
    log = RUN / "ansible.log"
    start = log.stat().st_size if log.exists() else 0
    program = Path(sys.executable).with_name("ansible-playbook")
    try:
        told = run(*INSIDE, "env", f"--chdir={REPOSITORY / 'ansible'}", "nice", program, "-i",
                   RUN / "inventory.yml", book, *words, log=log,
                   variables={"ANSIBLE_NOCOLOR": "1"})  # fmt: skip
    except LabError as error:
        raise LabError(f"{error}\n(all of it: {log}, from byte {start})") from None
    changed = sum(int(count) for _, count, _, _ in _RECAP.findall(told))
    return changed, time.monotonic() - begun


def deploy(transport: str, broker: str = "") -> dict[str, Any]:
    """From bare to a running pair, with a broker and workers; returns what it took.

    Raises:
        LabError: a task failed, or the second run changed something.
    """
    inventory(transport, broker)
    changed, first = play("site.yml")
    print(f"{transport}: deployed in {first:.0f} s, {changed} changes", flush=True)
    changed, second = play("site.yml")
    print(f"{transport}: again in {second:.0f} s, {changed} changes", flush=True)
    if changed:
        raise LabError(f"the second run made {changed} changes; see {RUN}/ansible.log")
    _, verified = play("verify.yml")
    print(f"{transport}: verified in {verified:.0f} s", flush=True)
    return {"first": first, "again": second, "verified": verified}
