"""What doctor makes of facts, decision by decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roundtrip import __version__
from roundtrip.doctor import apis, behaviour, folders, machine, mount_options, peer, room
from roundtrip.doctor.disposable import Facts
from roundtrip.doctor.findings import CHECKS, Finding, Severity, Verdict, finding, worst
from roundtrip.doctor.identity import identity, may_write
from roundtrip.doctor.trials import OWN_NAMES
from roundtrip.mounts import Mount
from roundtrip.protocol.states import Role

MIB = 1024**2
ABSENT = Verdict(Severity.ERROR, "absent")


@pytest.mark.parametrize(
    ("version", "hit"),
    [
        ((3, 6, 23), False),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_the_versions_of_sqlite_with_the_wal_reset_bug_are_known(
    version: tuple[int, ...], hit: bool
) -> None:
    assert machine.has_wal_reset_bug(version) is hit
    assert machine.sqlite(version).severity == ("notice" if hit else "ok")


@pytest.mark.parametrize(
    ("limit", "used", "needed", "severity"),
    [
        (128, 1, 1, "ok"),
        (128, 100, 1, "ok"),
        (128, 120, 1, "warning"),
        (128, 127, 1, "warning"),
        (128, 128, 1, "error"),
        (128, 128, 0, "warning"),
        (10, 3, 8, "error"),
        (10, 0, 8, "warning"),
    ],
)
def test_inotify_limits_are_judged_by_what_is_left(
    limit: int, used: int, needed: int, severity: str
) -> None:
    found = machine.inotify("watches", limit, used, needed)
    assert found.severity == severity
    assert (found.mend is None) == (severity == "ok")


@pytest.mark.parametrize(
    ("verdict", "severity"),
    [
        (machine.open_files(1024, 384), "ok"),
        (machine.open_files(256, 384), "warning"),
        (machine.queue(16384), "ok"),
        (machine.queue(1000), "notice"),
        (machine.clock(synchronised=True), "ok"),
        (machine.clock(synchronised=False), "notice"),
        (room.space(1000 * MIB, 2000 * MIB, 100 * MIB), "ok"),
        (room.space(150 * MIB, 2000 * MIB, 100 * MIB), "warning"),
        (room.space(99 * MIB, 2000 * MIB, 100 * MIB), "error"),
        (room.space(50 * MIB, 64 * MIB, 100 * MIB), "error"),
        (room.space(0, 0, 100 * MIB), "ok"),
        (room.space(0, 2000 * MIB, 0), "ok"),
        (room.inodes(0, 10), "error"),
        (room.inodes(500, 1000), "warning"),
        (room.inodes(5000, 10000), "ok"),
        (behaviour.skew(0.0), "ok"),
        (behaviour.skew(-4.9), "ok"),
        (behaviour.skew(-30.0), "notice"),
        (behaviour.skew(30.0), "notice"),
        (behaviour.skew(3600.0), "warning"),
        (behaviour.skew(-3600.0), "warning"),
        (behaviour.readable(0o644, 0), "ok"),
        (behaviour.readable(0o640, 0), "ok"),
        (behaviour.readable(0o600, 0), "notice"),
        (behaviour.exclusive(True), "ok"),
        (behaviour.exclusive(False), "warning"),
        (behaviour.exclusive({"error": "x"}), "warning"),
        (behaviour.rename("refuses"), "ok"),
        (behaviour.rename("emulated"), "ok"),
        (behaviour.rename("replaces"), "error"),
        (behaviour.rename({"error": "x"}), "error"),
        (behaviour.case(True, "ext4"), "ok"),
        (behaviour.case(False, "cifs"), "notice"),
        (behaviour.names([]), "ok"),
        (behaviour.names(["ends-with."]), "notice"),
        (behaviour.names([OWN_NAMES[0]]), "error"),
        (behaviour.names({"error": "x"}), "error"),
        (behaviour.long_names(True), "ok"),
        (behaviour.long_names(False), "error"),
        (behaviour.visibility(0.01), "ok"),
        (behaviour.visibility(1.5), "notice"),
        (behaviour.visibility(None), "warning"),
        (behaviour.fsync(True), "ok"),
        (behaviour.fsync({"error": "x"}), "warning"),
        (behaviour.file_times(1), "ok"),
        (behaviour.file_times(0), "notice"),
        (behaviour.event({"error": "x"}, "inotify", 1.0), "error"),
        (behaviour.event({"backend": "inotify", "seconds": None}, "inotify", 1.0), "warning"),
        (behaviour.event({"backend": "poll", "seconds": None}, "poll", 1.0), "warning"),
        (behaviour.event({"backend": "inotify", "seconds": 0.1}, "inotify", 1.0), "ok"),
        (behaviour.event({"backend": "poll", "seconds": 0.9}, "poll", 1.0), "notice"),
        (behaviour.event({"backend": "poll", "seconds": 0.9}, "inotify", 1.0), "warning"),
        (folders.private("/x", 0o700), "ok"),
        (folders.private("/x", 0o710), "warning"),
        (folders.private("/x", 0o704), "warning"),
        (folders.state_disk("ext4", Role.RESPONDER), "ok"),
        (folders.state_disk("nfs4", Role.RESPONDER), "error"),
        (folders.state_disk("nfs4", Role.REQUESTER), "warning"),
        (peer.heartbeat("b", {}, 91.0, 30.0), "ok"),
        (peer.heartbeat("b", {}, 91.1, 30.0), "warning"),
        (peer.heartbeat("b", {"every": 60}, 181.0, 30.0), "ok"),
        (peer.heartbeat("b", {"every": 1e9}, 181.0, 30.0), "warning"),
        (peer.heartbeat("b", {"every": "x"}, 181.0, 30.0), "warning"),
        (peer.protocol("b", {"v": 1, "protocol": 2}), "error"),
        (peer.protocol("b", {"v": 1, "version": "0.0.1"}), "notice"),
        (peer.protocol("b", {"v": 1, "version": __version__}), "ok"),
        (apis.expiry(20 * 86400.0, 0.0), "ok"),
        (apis.expiry(13 * 86400.0, 0.0), "warning"),
        (apis.expiry(-1.0, 0.0), "warning"),
    ],
)  # fmt: skip
def test_each_fact_has_its_severity(verdict: Verdict, severity: str) -> None:
    assert verdict.severity == severity
    assert verdict.text
    assert "\n" not in verdict.text + (verdict.mend or "")


@pytest.mark.parametrize(
    ("time", "ahead"), [(9.0, -1.0), (10.0, 0.0), (10.5, 0.0), (11.0, 0.0), (13.0, 2.0)]
)
def test_a_file_s_time_is_compared_with_the_time_in_which_it_was_written(
    time: float, ahead: float
) -> None:
    assert behaviour.offset(time, 10.0, 11.0) == ahead


NFS = Mount(1, 0, "/mnt/x y", "nfs4", "10.0.0.2:/srv/x", ("rw", "relatime", "vers=4.2"))
SSHFS = Mount(1, 0, "/mnt/x", "fuse.sshfs", "u@h:/srv/x", ("rw",))


@pytest.mark.parametrize(
    ("mount", "command", "home", "severities", "words"),
    [
        (NFS._replace(options=("rw", "hard")), None, False, [], ""),
        (NFS._replace(options=("rw", "soft")), None, False, ["warning"], "-o hard"),
        (NFS._replace(options=("rw", "softerr")), None, False, ["warning"], "'/mnt/x y'"),
        (NFS._replace(options=("hard",)), None, True, ["notice"], "up to 60 s late"),
        (NFS._replace(options=("hard", "acdirmax=30")), None, True, ["notice"], "up to 30 s late"),
        (NFS._replace(options=("hard", "acdirmax=1")), None, True, [], ""),
        (NFS._replace(options=("hard", "noac")), None, True, [], ""),
        (SSHFS, None, False, [], ""),
        (SSHFS, ["sshfs", "u@h:/srv/x", "/mnt/x"], False, ["warning"], "stays dead"),
        (SSHFS, ["sshfs", "-o", "reconnect"], False, ["warning"], "calls hang"),
        (SSHFS, ["sshfs", "-o", "rw,reconnect,ServerAliveInterval=5"], False, [], ""),
        (Mount(1, 0, "/m", "cifs", "//h/x", ("rw", "soft")), None, False, ["notice"], "serverino"),
        (Mount(1, 0, "/m", "cifs", "//h/x", ("rw", "serverino")), None, False, [], ""),
        (Mount(1, 0, "/", "ext4", "/dev/sda", ("rw",)), None, True, [], ""),
    ],
)
def test_mount_options_that_lose_data_or_hang_are_known(
    mount: Mount, command: list[str] | None, home: bool, severities: list[str], words: str
) -> None:
    found = list(mount_options.options(mount, command, home=home))
    assert [each.severity for each in found] == severities
    assert words in " ".join(f"{each.text} {each.mend}" for each in found)


@pytest.mark.parametrize(
    ("fstype", "home", "severity"),
    [
        ("ext4", True, "ok"),
        ("ext4", False, "notice"),
        ("nfs4", False, "ok"),
        ("fuse.sshfs", False, "ok"),
        ("nfs4", True, "notice"),
    ],
)
def test_a_share_should_lie_on_the_disk_of_its_home(fstype: str, home: bool, severity: str) -> None:
    assert mount_options.kind(NFS._replace(fstype=fstype), home=home).severity == severity


def test_the_command_line_of_a_mount_s_sshfs_is_found_among_processes(tmp_path: Path) -> None:
    for number, line in (("1", b"init\0"), ("22", b"/usr/bin/sshfs\0u@h:/srv/x\0/mnt/x\0-o\0ro\0")):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_bytes(line)
    (tmp_path / "self").mkdir()
    assert mount_options.sshfs_command(SSHFS, tmp_path) == [
        "/usr/bin/sshfs", "u@h:/srv/x", "/mnt/x", "-o", "ro", "",
    ]  # fmt: skip
    assert mount_options.sshfs_command(SSHFS._replace(source="u@other:/"), tmp_path) is None


@pytest.mark.parametrize(
    ("found", "pinned", "severity", "writes"),
    [
        ({"id": "1", "home": "b"}, None, "ok", True),
        ({"id": "1", "home": "b"}, "1", "ok", True),
        ({"id": "1", "home": "b"}, "2", "error", False),
        ({"id": "1", "home": "a"}, None, "error", False),
        ({"id": "1", "home": "a"}, "1", "error", False),
        (None, "1", "error", None),
    ],
)
def test_probes_are_made_in_the_right_share_only(
    found: dict[str, str] | None, pinned: str | None, severity: str, writes: bool | None
) -> None:
    assert identity(found, "b", pinned, "/pins/x", ABSENT).severity == severity
    if found is not None:
        assert may_write(found["id"], found["home"], "b", pinned) is writes


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("certificate has expired", "renew"),
        ("certificate is not yet valid", "clock"),
        ("unable to get local issuer certificate", "`ca`"),
        ("self-signed certificate in certificate chain", "`ca`"),
        ("Hostname mismatch, certificate is not valid for 'x'.", "mismatch"),
    ],
)
def test_a_certificate_s_fault_comes_with_advice(reason: str, words: str) -> None:
    assert words in apis.certificate_fault(reason)


def test_the_worst_finding_counts() -> None:
    found = [Finding("case", severity, "host", "x") for severity in Severity]
    assert worst([]) is Severity.OK
    for number, severity in enumerate(Severity):
        assert worst(reversed(found[: number + 1])) is severity


def test_a_finding_that_is_not_documented_can_t_be_made() -> None:
    with pytest.raises(AssertionError):
        finding("case", "host", Verdict(Severity.ERROR, "x"))
    with pytest.raises(KeyError):
        finding("nonsense", "host", Verdict(Severity.ERROR, "x"))
    assert all(Severity.OK not in severities for severities in CHECKS.values())


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"pid": "x"}', "[" * 100_000])
def test_an_odd_lock_or_health_file_does_no_harm(content: str | None) -> None:
    facts: Any = Facts(holder=content, health=content)
    assert len(list(folders.agent(facts, str))) == 1
    assert folders.pid_of(facts) is None


def test_the_kernel_says_whether_the_clock_is_synchronised() -> None:
    assert machine.clock_synchronised() in (True, False)
