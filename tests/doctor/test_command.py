"""`roundtrip doctor` on hosts whose folders are as they should be, and on others."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import jsonschema
import pytest

from tests.doctor.hosts import Hosts
from tests.e2e.world import wait_until

SCHEMA = {
    "type": "object",
    "required": ["worst", "role", "file", "findings", "facts"],
    "additionalProperties": False,
    "properties": {
        "worst": {"enum": ["ok", "notice", "warning", "error"]},
        "role": {"enum": ["a", "b", None]},
        "file": {"type": ["string", "null"]},
        "facts": {"type": "object", "required": ["host"]},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["key", "severity", "about", "text", "mend"],
                "additionalProperties": False,
                "properties": {
                    "key": {"type": "string", "pattern": "^[a-z-]+$"},
                    "severity": {"enum": ["ok", "notice", "warning", "error"]},
                    "about": {
                        "enum": [
                            "configuration", "host", "folders", "unenriched", "enriched",
                            "deliveries", "apis",
                        ]
                    },
                    "text": {"type": "string", "minLength": 1},
                    "mend": {"type": ["string", "null"]},
                },
            },
        },
    },
}  # fmt: skip


def _everything(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every file and folder below: mode, and content; times of files, too."""
    found = {}
    for path in folder.rglob("*"):
        status = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        when = status.st_mtime_ns if path.is_file() else 0
        found[str(path)] = (status.st_mode, when, content)
    return found


def _is_well(hosts: Hosts, role: str) -> bool:
    return not hosts.examine(role).bad()


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_fresh_host_lacks_only_the_other_side(hosts: Hosts, role: str) -> None:
    before = _everything(hosts.folder)
    found = hosts.examine(role)
    assert found.bad() == {"heartbeat"}
    assert found.code == 9
    assert _everything(hosts.folder) == before
    jsonschema.validate(found.report, SCHEMA)
    home = "enriched" if role == "a" else "unenriched"
    assert found.one("events")["about"] == home
    assert "inotify" in found.one("events")["text"]
    assert len(found.all("rename")) == 2
    assert len(found.all("internet")) == 1


def test_two_running_agents_are_well(hosts: Hosts) -> None:
    agents = {
        role: subprocess.Popen(hosts.command("agent", role), stderr=subprocess.DEVNULL)
        for role in ("a", "b")
    }
    try:
        for role, agent in agents.items():
            wait_until(partial(_is_well, hosts, role), "they see each other", 40)
            found = hosts.examine(role)
            assert found.code == 0
            assert f"pid {agent.pid}" in found.one("agent")["text"]
            assert found.severity("protocol") == "ok"
            assert "first contact" in found.one("identity", "enriched")["text"]
    finally:
        for agent in agents.values():
            agent.send_signal(signal.SIGTERM)
        for agent in agents.values():
            agent.wait(20)


def test_what_is_printed_is_plain_and_each_mend_is_a_whole_line(hosts: Hosts) -> None:
    done = hosts.run("doctor", "b")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith("roundtrip doctor on ")
    assert f"    roundtrip agent --config {hosts.config('b')}" in done.stdout
    sections = [line for line in lines if line and not line.startswith(" ")]
    assert sections[1:] == [
        "Configuration", "This host", "Folders", f"Share unenriched: {hosts.b / 'Unenriched'}",
        f"Share enriched: {hosts.a / 'Enriched'}", "API hosts", lines[-1],
    ]  # fmt: skip
    assert re.fullmatch(r"1 warning, \d+ notices?, \d+ ok", lines[-1])


def test_what_another_host_writes_can_t_talk_to_the_terminal(hosts: Hosts) -> None:
    sign = {"v": 1, "time": "2026-01-01T00:00:00Z", "version": "\x1b[2J", "host": "\x1b]0;x\x07"}
    name = "alive-b-01ARZ3NDEKTSV4RRFFQ69G5FAV.json"
    (hosts.a / "Enriched/.roundtrip" / name).write_text(json.dumps(sign))
    done = hosts.run("doctor", "a")
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "heartbeat" in done.stdout


def test_a_silent_peer_with_another_clock_and_version_is_told(hosts: Hosts) -> None:
    sign = {"v": 1, "time": "2020-01-01T00:00:00Z", "version": "9.9", "protocol": 7, "host": "nuc"}
    path = hosts.a / "Enriched/.roundtrip/alive-b-01ARZ3NDEKTSV4RRFFQ69G5FAV.json"
    path.write_text(json.dumps(sign))
    os.utime(path, (time.time() - 1000,) * 2)
    found = hosts.examine("a")
    assert found.severity("heartbeat") == "warning"
    assert "nuc" in found.one("heartbeat")["text"]
    assert found.severity("protocol") == "error"
    assert found.severity("clock-skew", "enriched") == "warning"
    assert found.code == 10


def test_conditions_of_the_running_agent_are_shown(hosts: Hosts) -> None:
    lock = hosts.a / "state/agent-a.lock"
    holder = subprocess.Popen(
        ["flock", "--no-fork", str(lock), "sh", "-c", "echo ready; exec sleep 60"],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        lock.write_text(json.dumps({"pid": 1, "since": "2026-01-01T00:00:00Z"}))
        conditions = [
            {"key": "disk", "severity": severity, "text": "nearly full", "since": "then"}
            for severity in ("notice", "warning", "alarm")
        ]
        health = {"v": 1, "time": "now", "pid": 1, "conditions": [*conditions, "nonsense"]}
        (hosts.a / "state/health-a.json").write_text(json.dumps(health))
        found = hosts.examine("a")
        told = [(each["severity"], each["text"]) for each in found.all("condition")]
        text = "disk: nearly full (since then)"
        assert told == [("notice", text), ("warning", text), ("error", text)]
    finally:
        holder.kill()
        holder.wait()
    assert hosts.examine("a").all("condition") == []


def test_a_broken_pipeline_does_not_keep_the_folders_from_being_looked_at(hosts: Hosts) -> None:
    hosts.configure("b", pipelines={"p": {"steps": [{"name": "s", "htp": {}}]}})
    found = hosts.examine("b")
    assert found.code == 10
    assert {each["key"] for each in found.findings if each["severity"] == "error"} == {
        "configuration"
    }
    assert found.one("identity", "unenriched")["severity"] == "ok"
    assert "mended first" in found.one("internet")["text"]
    mend = found.all("configuration")[0]["mend"]
    assert re.fullmatch(rf"\$\{{EDITOR:-vi\}} \+\d+ {hosts.config('b')}", mend)


@pytest.mark.parametrize("content", ["{", "role: c\n", "shares: 7\nrole: a\n", "[]", "\0"])
def test_a_useless_configuration_leaves_the_host_to_look_at(hosts: Hosts, content: str) -> None:
    hosts.config("a").write_text(content)
    found = hosts.examine("a")
    assert found.code == 10
    assert found.severity("python") == "ok"
    assert {each["about"] for each in found.findings} == {"configuration", "host"}
    jsonschema.validate(found.report, SCHEMA)


def test_a_missing_configuration_is_a_finding(hosts: Hosts) -> None:
    hosts.config("a").unlink()
    found = hosts.examine("a")
    assert found.code == 10
    assert "No such file" in found.one("configuration")["text"]


def test_a_missing_secret_is_an_error_and_all_else_is_looked_at(hosts: Hosts) -> None:
    http = {"url": "https://127.0.0.1:9/", "headers": {"Authorization": "Bearer ${NO_TOKEN}"}}
    hosts.configure("b", pipelines={"p": {"steps": [{"name": "s", "http": http}]}})
    found = hosts.examine("b", "--offline")
    assert "NO_TOKEN" in found.one("secrets")["text"]
    assert found.severity("secrets") == "error"
    assert found.severity("configuration") == "ok"
    assert "offline" in found.one("internet")["text"]


def test_host_a_needs_the_secrets_of_its_deliveries(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        return str(hosts.examine("a", "--offline").one("secrets")["text"])

    assert said() == "host A needs no secrets as it is configured"
    monkeypatch.setenv("HUSH", "hushhush-hushhush")
    for given in (
        {"deliver": {"x": {"http": {"url": "http://h/", "headers": {"A": "${HUSH}"}}}}},
        {"mail": {"server": "h", "from": "a@b.c", "user": "u", "password": "${HUSH}"}},
        {"look": {"listen": "127.0.0.1:9465", "token": "${HUSH}"}},
    ):
        hosts.configure("a", **given)
        assert said() == "all secrets are there"


def test_missing_folders_are_named_with_the_command_that_makes_them(hosts: Hosts) -> None:
    shutil.rmtree(hosts.a / "outbox")
    shutil.rmtree(hosts.a / "Enriched")
    found = hosts.examine("a")
    init = f"roundtrip init --config {hosts.config('a')}"
    assert found.one("folders")["mend"] == init
    assert found.one("there", "enriched")["mend"] == init
    done = hosts.run("init", "a")
    assert done.returncode == 0
    assert "error" not in {each["severity"] for each in hosts.examine("a").findings}


def test_a_mount_point_without_its_mount_is_not_written_to(hosts: Hosts, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    hosts.point["a"] = empty
    hosts.configure("a")
    found = hosts.examine("a")
    assert found.severity("identity", "unenriched") == "error"
    assert found.one("identity", "unenriched")["mend"] == f"sudo mount {empty}"
    assert not list(empty.iterdir())
    assert found.all("rename", "unenriched") == []


def test_swapped_shares_are_told_and_not_written_to(hosts: Hosts) -> None:
    shares = {"unenriched": str(hosts.a / "Enriched"), "enriched": str(hosts.b / "Unenriched")}
    hosts.configure("a", shares=shares)
    found = hosts.examine("a")
    for name in ("unenriched", "enriched"):
        assert "swapped" in found.one("identity", name)["text"]
        assert found.all("rename", name) == []


def test_another_share_than_the_pinned_one_is_told_and_not_written_to(hosts: Hosts) -> None:
    pin = hosts.a / "state/pins-a/unenriched.share"
    pin.write_text("another-id")
    found = hosts.examine("a")
    told = found.one("identity", "unenriched")
    assert (told["severity"], told["mend"]) == ("error", f"rm {pin}")
    assert found.all("rename", "unenriched") == []
    assert pin.read_text() == "another-id"


@pytest.mark.parametrize("content", ["", "{}", "[" * 5000, '{"id": 7, "home": "x"}'])
def test_an_unreadable_identity_is_told(hosts: Hosts, content: str) -> None:
    (hosts.b / "Unenriched/.roundtrip/share.json").write_text(content)
    assert hosts.examine("a").severity("identity", "unenriched") == "error"


def test_a_fifo_in_the_place_of_the_identity_does_not_hang_doctor(hosts: Hosts) -> None:
    path = hosts.b / "Unenriched/.roundtrip/share.json"
    path.unlink()
    os.mkfifo(path)
    found = hosts.examine("a")
    assert found.severity("identity", "unenriched") == "error"
    assert found.seconds < 5


def test_what_a_killed_doctor_left_goes_when_it_is_old(hosts: Hosts) -> None:
    internal = hosts.b / "Unenriched/.roundtrip"
    for name, age in (("probe-a-00000001", 4000), ("probe-a-00000002", 100), ("probe-x", 4000)):
        (internal / name).mkdir()
        (internal / name / ".x.part").write_text("x")
        os.utime(internal / name, (time.time() - age,) * 2)
    found = hosts.examine("a")
    assert found.report["facts"]["unenriched"]["leftovers"] == 1
    assert sorted(path.name for path in internal.iterdir()) == [
        "probe-a-00000002", "probe-x", "share.json",
    ]  # fmt: skip


def test_a_doctor_interrupted_in_the_middle_leaves_nothing(hosts: Hosts) -> None:
    internal = hosts.a / "Enriched/.roundtrip"
    for step in range(4):
        process = subprocess.Popen(
            hosts.command("doctor", "a"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        wait_until(lambda: len(list(internal.iterdir())) > 1, "a probe")
        time.sleep(step * 0.002)  # in the middle of another probe each time
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=20)
        assert b"Traceback" not in error
        wait_until(lambda: [path.name for path in internal.iterdir()] == ["share.json"], "removed")


@pytest.mark.needs("root", "setpriv")
def test_another_user_is_told_what_it_may_not_do(hosts: Hosts) -> None:
    # May look everywhere, since Python itself may lie where only root can look; may write nowhere.
    nobody = (
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
        "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
    )  # fmt: skip
    found = hosts.examine("b", under=nobody)
    assert found.code == 10
    assert found.severity("user") == "warning"
    assert found.one("user")["mend"].startswith("sudo -u root roundtrip doctor --config ")
    assert {each["severity"] for each in found.all("folder-access")} == {"error"}
    for name in ("unenriched", "enriched"):
        assert "Permission denied" in found.one("writable", name)["text"]


@pytest.mark.parametrize("name", ["state", "quarantine"])
def test_private_folders_that_others_may_read_are_told(hosts: Hosts, name: str) -> None:
    (hosts.b / name).chmod(0o755)
    found = hosts.examine("b")
    [told] = [each for each in found.all("private") if each["severity"] == "warning"]
    assert told["mend"] == f"chmod 700 {hosts.b / name}"
    subprocess.run(told["mend"], shell=True, check=True)
    assert {each["severity"] for each in hosts.examine("b").all("private")} == {"ok"}


def test_a_reserve_larger_than_the_disk_is_told(hosts: Hosts) -> None:
    hosts.configure("a", limits={"reserve": "900 TiB"})
    found = hosts.examine("a")
    assert "lower it" in found.one("space", "folders")["text"]


def test_too_few_open_files_are_told(hosts: Hosts) -> None:
    hosts.configure("a", limits={"exchanges": 10_000})
    found = hosts.examine("a", under=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh"))
    assert found.severity("open-files") == "warning"
    assert found.one("open-files")["mend"] == "ulimit -n 40064"


@pytest.mark.needs("root", "unshare")
def test_a_kernel_without_a_watch_left_is_told(hosts: Hosts) -> None:
    # A user namespace has a limit of its own, so nobody else on this machine goes without.
    script = 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"'
    found = hosts.examine("a", under=("unshare", "-Ur", "sh", "-ec", script, "sh"))
    told = found.one("events")
    assert told["severity"] in ("warning", "error")
    assert "inotify" in told["text"]


def test_what_lies_in_a_missing_folder_is_not_told_apart(hosts: Hosts) -> None:
    shutil.rmtree(hosts.b / "state")
    assert hosts.examine("b").one("folders")["text"].startswith(f"{hosts.b}/state:")
