"""scripts/setup and the lock files, without asking any package index."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
].keys() - {"dev"}
TOOLS = ("sh", "cat", "sha256sum", "flock", "dirname", "id", "mkdir", "rm")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what scripts/setup reads."""
    folder = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    for name in ("pyproject.toml", *LOCKS):
        shutil.copy(REPOSITORY / name, folder)
    return folder


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with the shell's basics only: no Python, no apt-get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    return folder


def stub(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def setup(checkout: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "setup"],
        env={"PATH": str(path), "LOG": str(checkout / "log")},
        capture_output=True,
        text=True,
        check=False,
    )


FAKE_PYTHON = """\
case "$*" in
*"-m venv"*) mkdir -p .venv/bin; cat "$0" >.venv/bin/python; cat "$0" >.venv/bin/pip
    : >>"$LOG"; chmod +x .venv/bin/python .venv/bin/pip; echo venv >>"$LOG" ;;
*--require-hashes*) echo locked >>"$LOG" ;;
*--editable*) echo project >>"$LOG" ;;
esac
"""


@pytest.fixture
def fake_python(bare_path: Path) -> Path:
    """A `python3.11` that only writes down what it is asked to do."""
    chmod = shutil.which("chmod")
    assert chmod
    (bare_path / "chmod").symlink_to(chmod)
    stub(bare_path / "python3.11", FAKE_PYTHON)
    return bare_path


def test_a_missing_python_is_named(checkout: Path, bare_path: Path) -> None:
    stub(bare_path / "python3", "exit 1")  # too old
    done = setup(checkout, bare_path)
    assert done.returncode == 1
    assert "Python 3.11 or newer is missing" in done.stderr


def test_a_python_that_cannot_make_environments_is_named(checkout: Path, bare_path: Path) -> None:
    script = 'case "$*" in *ensurepip*) exit 1;; *print*) echo 3.11;; esac'
    stub(bare_path / "python3.11", script)
    done = setup(checkout, bare_path)
    assert done.returncode == 1
    assert "apt-get install python3.11-venv" in done.stderr


def test_everything_is_installed_once(checkout: Path, fake_python: Path) -> None:
    for _ in range(2):
        assert setup(checkout, fake_python).returncode == 0
    assert (checkout / "log").read_text().split() == ["venv", "locked", "project"]


def test_a_changed_lock_is_installed_into_the_same_environment(
    checkout: Path, fake_python: Path
) -> None:
    setup(checkout, fake_python)
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert setup(checkout, fake_python).returncode == 0
    assert (checkout / "log").read_text().split() == ["venv", *["locked", "project"] * 2]


def test_a_moved_checkout_gets_a_new_environment(checkout: Path, fake_python: Path) -> None:
    setup(checkout, fake_python)
    moved = checkout.rename(checkout.with_name("elsewhere"))
    assert setup(moved, fake_python).returncode == 0
    assert (moved / "log").read_text().split() == ["venv", "locked", "project"] * 2


def test_two_at_once_install_once(checkout: Path, fake_python: Path) -> None:
    command = [checkout / "scripts" / "setup"]
    env = {"PATH": str(fake_python), "LOG": str(checkout / "log")}
    both = [subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(20) for process in both] == [0, 0]
    assert (checkout / "log").read_text().split() == ["venv", "locked", "project"]


def test_a_finished_setup_takes_no_time(checkout: Path, fake_python: Path) -> None:
    setup(checkout, fake_python)
    started = time.monotonic()
    setup(checkout, fake_python)
    assert time.monotonic() - started < 0.3


@pytest.mark.parametrize(
    "name", [*LOCKS, *(f"requirements-{extra}.lock" for extra in sorted(EXTRAS))]
)
def test_a_lock_holds_versions_and_hashes_and_no_places(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    assert not re.search(r"^--|://|file:", text, re.MULTILINE)
    pins = re.findall(r"^\S+==\S+.*\\$", text, re.MULTILINE)
    assert pins
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(pins)


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = {
        "requirements.lock": project["dependencies"],
        "requirements-dev.lock": [
            *project["dependencies"],
            *project["optional-dependencies"]["dev"],
        ],
    }
    for lock, wanted in extras.items():
        names = {re.split(r"[<>=\[]", line)[0].lower() for line in wanted}
        pinned = set(re.findall(r"^([\w.-]+)==", (REPOSITORY / lock).read_text(), re.MULTILINE))
        assert names <= pinned


def versions(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (REPOSITORY / lock).read_text(), re.MULTILINE))


def test_both_locks_agree_on_versions() -> None:
    assert versions(LOCKS[0]).items() <= versions(LOCKS[1]).items()


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_lock_of_an_extra_has_what_the_first_lacks_in_the_versions_of_the_tests(
    extra: str,
) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[<>=]", line)[0] for line in project["optional-dependencies"][extra]}
    found = versions(f"requirements-{extra}.lock")
    assert wanted <= found.keys()
    assert not found.keys() & versions(LOCKS[0]).keys()
    tested = versions(LOCKS[1])
    assert {name: found[name] for name in wanted} == {name: tested[name] for name in wanted}
