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
WORST = 15
"""What the units may have of systemd-analyze's badness, in tenths."""

SETTINGS: dict[str, Any] = {
    "roundtrip_export": "/srv/roundtrip/share",
    "roundtrip_gid": 6410,
    "roundtrip_memory_max": "1G",
    "roundtrip_metrics_listen": "127.0.0.1:9464",
    "roundtrip_metrics_sources": [],
    "roundtrip_destinations": [],
    "roundtrip_peer_address": "192.0.2.1",
    "roundtrip_prefix": "/opt/roundtrip",
    "roundtrip_root": "/srv/roundtrip",
    "roundtrip_share_uid": 6411,
    "roundtrip_share_user": "roundtrip-share",
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
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    text = (ROLES / template).read_text()
    return environment.from_string(text).render({**SETTINGS, **OF_ROLE[role], **changed})


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
    for template in ("roundtrip.service.j2", "roundtrip.sh.j2"):
        text = render(f"roundtrip/templates/{template}", "b")
        assert "LoadCredential=GEO_TOKEN:/etc/roundtrip/credentials/GEO_TOKEN" in text
        assert "hush" not in text


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
