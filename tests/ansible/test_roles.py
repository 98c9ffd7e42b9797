"""What ansible/ would write on two hosts, judged by who reads it; and its settings' page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
ROLES = REPOSITORY / "ansible/roles"
NAMES = sorted(path.name for path in ROLES.iterdir())
PAGE = (REPOSITORY / "docs/reference/ansible.md").read_text()
AGENT = "roundtrip/templates/roundtrip.service.j2"
WORKER = "roundtrip/templates/roundtrip-worker@.service.j2"
WORST = 15
"""What the units may have of systemd-analyze's badness, in tenths."""

SETTINGS: dict[str, Any] = {
    "roundtrip_broker": "",
    "roundtrip_export": "/srv/roundtrip/share",
    "roundtrip_gid": 6410,
    "roundtrip_is_worker": False,
    "roundtrip_memory_max": "1G",
    "roundtrip_metrics_listen": "127.0.0.1:9464",
    "roundtrip_metrics_sources": [],
    "roundtrip_destinations": [],
    "roundtrip_peer_address": "192.0.2.1",
    "roundtrip_prefix": "/opt/roundtrip",
    "roundtrip_queue_path": "/srv/roundtrip/queue",
    "roundtrip_root": "/srv/roundtrip",
    "roundtrip_share_uid": 6411,
    "roundtrip_share_user": "roundtrip-share",
    "roundtrip_stop_timeout": 10,
    "roundtrip_tasks_max": 64,
    "roundtrip_user": "roundtrip",
    "roundtrip_watchdog": "60s",
    "share_smb_folder": "/etc/roundtrip/smb",
    "share_smb_port": 445,
    "share_smb_state": "/var/lib/roundtrip-smb",
}
OF_ROLE: dict[str, dict[str, Any]] = {
    "a": {
        "roundtrip_away_share": "Unenriched",
        "roundtrip_home_path": "/srv/roundtrip/share/Enriched",
        "roundtrip_home_share": "Enriched",
        "roundtrip_mount_unit": "srv-roundtrip-Unenriched",
        "roundtrip_role": "a",
        "roundtrip_secrets": {},
    },
    "b": {
        "roundtrip_away_share": "Enriched",
        "roundtrip_home_path": "/srv/roundtrip/share/Unenriched",
        "roundtrip_home_share": "Unenriched",
        "roundtrip_mount_unit": "srv-roundtrip-Enriched",
        "roundtrip_role": "b",
        "roundtrip_secrets": {"GEO_TOKEN": "hush"},
    },
}


def render(template: str, role: str, **changed: Any) -> str:
    """A role's template as Ansible would fill it in: no name may be missing."""
    path = ROLES / template
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(path.name).render({**SETTINGS, **OF_ROLE[role], **changed})


def rate(unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={WORST}",
            "--no-pager",
            unit,
        ],
        capture_output=True,
        text=True,
    )


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("listen", ["127.0.0.1:9464", ""])
@pytest.mark.parametrize("role", ["a", "b"])
def test_an_agent_is_exposed_to_little(role: str, listen: str, tmp_path: Path) -> None:
    unit = tmp_path / "roundtrip.service"
    template = "roundtrip/templates/roundtrip.service.j2"
    unit.write_text(render(template, role, roundtrip_metrics_listen=listen))
    seen = rate(unit)
    assert seen.returncode == 0, seen.stdout + seen.stderr


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("role", ["a", "b"])
def test_an_agents_unit_has_no_key_that_systemd_does_not_know(role: str, tmp_path: Path) -> None:
    unit = tmp_path / "roundtrip.service"
    text = render("roundtrip/templates/roundtrip.service.j2", role, roundtrip_prefix="/opt/rt")
    unit.write_text(text.replace("/opt/rt/current/bin/roundtrip", "/bin/true"))
    told = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert "Unknown" not in told.stderr and "ignoring" not in told.stderr, told.stderr


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("own_host", [False, True])
def test_a_worker_is_exposed_to_as_little(own_host: bool, tmp_path: Path) -> None:
    unit = tmp_path / "roundtrip-worker@1.service"
    text = render(WORKER, "b", roundtrip_is_worker=own_host, roundtrip_prefix="/opt/rt")
    unit.write_text(text.replace("/opt/rt/current/bin/roundtrip", "/bin/true"))
    seen = rate(unit)
    assert seen.returncode == 0, seen.stdout + seen.stderr
    told = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert "Unknown" not in told.stderr and "ignoring" not in told.stderr, told.stderr


def test_a_worker_beside_the_agent_writes_nothing_but_its_state_and_the_queue() -> None:
    text = render(WORKER, "b")
    assert re.findall("(?:ReadWrite|Inaccessible)Paths=.*", text) == [
        "ReadWritePaths=/srv/roundtrip/state/workers /srv/roundtrip/queue",
        "InaccessiblePaths=/srv/roundtrip/share",
    ]


@pytest.mark.parametrize("stop_timeout", [0, 10, 300])
def test_systemd_waits_longer_than_what_is_in_hand_may_take(stop_timeout: int) -> None:
    for template, needed in ((AGENT, stop_timeout), (WORKER, 2 * stop_timeout + 5)):
        text = render(template, "b", roundtrip_stop_timeout=stop_timeout)
        (given,) = re.findall(r"TimeoutStopSec=(\d+)", text)
        assert int(given) > needed


@pytest.mark.needs("systemd-analyze")
def test_fanotify_is_let_through_after_what_else_is_privileged_was_taken_out() -> None:
    for template in (AGENT, WORKER):
        filters = re.findall("SystemCallFilter=(.*)", render(template, "b"))
        assert filters[-2:] == ["~@privileged @resources", "fanotify_init fanotify_mark"]


def test_host_a_may_talk_to_nobody() -> None:
    text = render("roundtrip/templates/roundtrip.service.j2", "a", roundtrip_metrics_listen="")
    assert "IPAddressDeny=any" in text and "IPAddressAllow" not in text
    assert "RestrictAddressFamilies=AF_UNIX\n" in text and "PrivateNetwork=yes" in text


def test_host_as_deliveries_reach_their_destinations_only(tmp_path: Path) -> None:
    text = render(
        "roundtrip/templates/roundtrip.service.j2", "a", roundtrip_metrics_listen="",
        roundtrip_destinations=[{"address": "192.0.2.25", "port": 587}],
    )  # fmt: skip
    assert re.findall("IPAddress.*", text) == [
        "IPAddressDeny=any", "IPAddressAllow=localhost", "IPAddressAllow=192.0.2.25"
    ]  # fmt: skip


def test_secrets_reach_the_agent_as_credentials_only() -> None:
    for template in ("roundtrip.service.j2", "roundtrip-worker@.service.j2", "roundtrip.sh.j2"):
        text = render(f"roundtrip/templates/{template}", "b")
        assert "LoadCredential=GEO_TOKEN:/etc/roundtrip/credentials/GEO_TOKEN" in text
        assert "hush" not in text


@pytest.mark.parametrize(
    ("workers", "listens"), [([], ["127.0.0.1"]), (["192.0.2.3"], ["127.0.0.1", "192.0.2.2"])]
)
def test_a_broker_listens_elsewhere_than_on_loopback_for_other_hosts_workers_only(
    workers: list[str], listens: list[str]
) -> None:
    known = {"roundtrip_worker_addresses": workers, "roundtrip_address": "192.0.2.2"}
    text = render("roundtrip/templates/redis.conf.j2", "b", **known)
    assert re.findall("^bind (.*)", text, re.MULTILINE) == [" ".join(listens)]
    text = render("roundtrip/templates/rabbitmq.conf.j2", "b", **known)
    assert re.findall(r"^listeners.tcp.\d = (.*):5672", text, re.MULTILINE) == listens


@pytest.mark.needs("testparm")
@pytest.mark.parametrize("role", ["a", "b"])
def test_samba_reads_its_configuration_without_complaint(role: str, tmp_path: Path) -> None:
    configuration = tmp_path / "smb.conf"
    for name in ("lock", "state", "cache"):
        (tmp_path / name).mkdir(0o755)
    text = render("share_smb/templates/smb.conf.j2", role, share_smb_state=tmp_path)
    configuration.write_text(text)
    told = subprocess.run(
        ["testparm", "--suppress-prompt", configuration], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert "case sensitive = Yes" in told.stdout
    assert not re.search("Unknown|Ignoring|WARNING", told.stderr), told.stderr


@pytest.mark.parametrize("role", NAMES)
def test_each_default_is_specified_and_each_setting_is_documented(role: str) -> None:
    specs = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    assert set(defaults) <= set(options)
    for name, option in options.items():
        assert f"| `{name}` |" in PAGE, f"{name} is missing in docs/reference/ansible.md"
        assert option["description"]


def test_no_setting_is_documented_that_is_not_there() -> None:
    known = set()
    for role in NAMES:
        specs = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())
        known |= set(specs["argument_specs"]["main"]["options"])
    assert set(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)) <= known
