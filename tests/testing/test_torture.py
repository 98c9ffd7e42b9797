"""`roundtrip torture` on real folders: what it finds, what it leaves behind, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roundtrip.errors import ExitCode
from roundtrip.shares.posix import PosixFolder
from roundtrip.testing import supervise
from roundtrip.testing.ground import OLD, sweep
from roundtrip.testing.rules import Rules
from roundtrip.testing.timing import Timings

COMMAND = [sys.executable, "-m", "roundtrip", "torture"]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def share(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    folder.mkdir()
    (folder / "users.txt").write_text("not ours")
    return folder


def environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


def test_a_sound_folder_fits_and_nothing_is_left_behind(share: Path, temporary: Path) -> None:
    ran = subprocess.run(
        [*COMMAND, str(share), "--seconds", "1.5", "--seed", "5", "--json"],
        env=environment(temporary),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == ExitCode.OK, ran.stdout + ran.stderr
    report = json.loads(ran.stdout)
    assert report["broken"] == []
    assert report["sent"] == report["delivered"] + report["failed"] + report["waiting"] > 5
    assert report["waiting"] == 0
    assert report["rules_tried"] > 10
    assert {"put", "rename", "unlink", "list", "visible"} <= report["latency"].keys()
    assert report["latency"]["put"]["p50_ms"] <= report["latency"]["put"]["p99_ms"]
    assert report["seed"] == 5
    assert [path.name for path in share.iterdir()] == ["users.txt"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("wrong", ["missing", "users.txt"])
def test_what_is_no_folder_is_refused(share: Path, wrong: str) -> None:
    ran = subprocess.run([*COMMAND, str(share / wrong)], capture_output=True, text=True)
    assert ran.returncode == ExitCode.SHARE
    assert "not an existing folder" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], ExitCode.INPUT, "a folder"),
        ([".", "--seconds", "0"], ExitCode.USAGE, "--seconds: must be more than 0"),
        ([".", "--seconds", "nan"], ExitCode.USAGE, "--seconds: 'nan' is not a duration"),
    ],
)
def test_a_command_line_that_says_too_little_is_refused(
    arguments: list[str], code: ExitCode, words: str
) -> None:
    ran = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
    assert ran.returncode == code
    assert words in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_it_its_folder_goes(
    share: Path, temporary: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [*COMMAND, str(share), "--seconds", "60"],
        env=environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: any(share.glob(".roundtrip-torture-*/enriched/*.done")))
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    if number == signal.SIGINT:
        assert process.returncode == ExitCode.INTERRUPTED
        assert output + errors == b""
    wait_for(lambda: [path.name for path in share.iterdir()] == ["users.txt"])
    wait_for(lambda: not any(temporary.iterdir()))


def wait_for(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 90  # A busy machine takes its time to start three processes.
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_folder_of_a_killed_torture_goes_after_a_day(share: Path) -> None:
    now = time.time()
    ages = {".roundtrip-torture-00000001": OLD + 60, ".roundtrip-torture-00000002": 60.0,
            ".roundtrip-torture-mine": OLD * 9, "other": OLD * 9}  # fmt: skip
    for name, age in ages.items():
        (share / name / "rules").mkdir(parents=True)
        os.utime(share / name, (now - age, now - age))
    (share / ".roundtrip-torture-00000003").symlink_to(share / "other")
    assert sweep(share, now) == 1
    left = {path.name for path in share.iterdir()}
    assert ".roundtrip-torture-00000001" not in left
    assert len(left) == 5


def broken_by(tmp_path: Path, seconds: float = 0.6) -> dict[str, int]:
    folder = tmp_path / "rules"
    folder.mkdir()
    rules = Rules(folder, random.Random(1), Timings())
    end = time.monotonic() + seconds

    async def main() -> None:
        await rules.go_on(lambda: time.monotonic() > end)

    asyncio.run(main())
    rules.close()
    return dict(rules.broken)


def test_a_local_folder_breaks_no_rule(tmp_path: Path) -> None:
    assert broken_by(tmp_path) == {}


def test_a_rename_that_replaces_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def replacing(self: PosixFolder, name: str, to: PosixFolder, new_name: str) -> None:
        os.rename(self.path / name, to.path / new_name)

    monkeypatch.setattr(PosixFolder, "move", replacing)
    assert "a rename replaced an existing file" in broken_by(tmp_path)


def test_exclusive_creation_that_is_not_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def careless(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        return real(path, flags & ~os.O_EXCL, mode, dir_fd=dir_fd)

    monkeypatch.setattr("roundtrip.testing.rules.os.open", careless)
    assert "O_EXCL was not honoured" in broken_by(tmp_path)


def test_names_that_are_changed_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = PosixFolder.names

    async def folded(self: PosixFolder) -> list[str]:
        return [name.lower() for name in await real(self)]

    monkeypatch.setattr(PosixFolder, "names", folded)
    monkeypatch.setattr("roundtrip.testing.rules.VISIBLE_WITHIN", 0.05)
    assert "a name was not listed, or under another spelling" in broken_by(tmp_path)


def test_torn_contents_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = PosixFolder.read

    async def short(self: PosixFolder, name: str, limit: int) -> bytes:
        return (await real(self, name, limit))[:600]

    monkeypatch.setattr(PosixFolder, "read", short)
    assert "a content was torn" in broken_by(tmp_path)


@pytest.mark.needs("fuse")
def test_a_share_that_loses_written_data_does_not_fit(tmp_path: Path, share: Path) -> None:
    from tests.mounts.shaky import ShakyMount

    with ShakyMount(share, tmp_path / "mount", tmp_path / "scratch") as mount:
        mount.fault("write", lose=True, match="/rules/.*part$", times=1000)
        report = supervise.torture(mount.point, 1.5, 1)
    assert any("content" in text for text in report["broken"]), report
    assert report["sent"] == report["delivered"] + report["failed"] + report["waiting"]


@pytest.mark.needs("fuse")
def test_errors_of_a_share_are_counted_and_survived(tmp_path: Path, share: Path) -> None:
    from tests.mounts.shaky import ShakyMount

    with ShakyMount(share, tmp_path / "mount", tmp_path / "scratch") as mount:
        mount.fault("rename", error="EIO", match="riched/", after=True, skip=4, times=3)
        mount.fault("create", error="EDQUOT", match="unenriched/", skip=8, times=2)
        report = supervise.torture(mount.point, 2.0, 1)
    assert report["broken"] == [], report
    assert report["waiting"] == 0
    assert any("EDQUOT" in name for name in report["errors"]), report["errors"]
    assert [path.name for path in share.iterdir()] == ["users.txt"]


@pytest.mark.needs("fuse")
def test_a_share_that_hangs_is_given_up(
    tmp_path: Path, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.mounts.shaky import ShakyMount

    monkeypatch.setattr(supervise, "CALM", 0.0)
    monkeypatch.setattr(supervise, "_BEYOND", 1.0)
    monkeypatch.setattr(supervise, "_TIDYING", 0.5)
    with ShakyMount(share, tmp_path / "mount", tmp_path / "scratch") as mount:
        mount.freeze()
        began = time.monotonic()
        report = supervise.torture(mount.point, 0.5, 1)
        assert time.monotonic() - began < 8
    (text,) = report["broken"]
    assert "hangs" in text and "after a day" in text
