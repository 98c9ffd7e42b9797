"""scripts/test brings the mock server from npm: once, whole, and not at any price."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SERVER = "tests/enrich/openapi/server"
TOOLS = [
    "sh",
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "id",
    "ln",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "sleep",
    "timeout",
]

HALF = """\
echo "$*" >>"$LOG"
while [ "$1" != --prefix ]; do shift; done
[ -f "$2/package-lock.json" ] || exit 9
mkdir -p "$2/node_modules/.bin"
"""
WHOLE = f"""{HALF}
echo "#!/bin/sh" >"$2/node_modules/.bin/prism"
chmod +x "$2/node_modules/.bin/prism"
"""


def stub(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder, beside it a checkout without pytest, and a PATH with the basics only."""
    checkout = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / SERVER, checkout / SERVER)
    stub(checkout / "scripts" / "setup", "exit 0")
    shutil.copy(REPOSITORY / "scripts" / "test", checkout / "scripts")
    stub(checkout / ".venv" / "bin" / "python", 'command -v prism || echo "no prism"')
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (tmp_path / "bin" / tool).symlink_to(found)
    home = tmp_path / "home"
    home.mkdir()
    return home


def start(home: Path) -> subprocess.Popen[str]:
    folder = home.parent
    return subprocess.Popen(
        [folder / "checkout" / "scripts" / "test"],
        env={"HOME": str(home), "PATH": str(folder / "bin"), "LOG": str(folder / "log")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(home: Path) -> tuple[str, str]:
    """What the tests see of prism, and what scripts/test says."""
    process = start(home)
    out, said = process.communicate()
    assert process.returncode == 0, said
    return out.strip(), said


def kept(home: Path) -> list[Path]:
    return list((home / ".cache" / "roundtrip-test").iterdir())


def asked(home: Path) -> int:
    """How often npm was asked."""
    return len((home.parent / "log").read_text().splitlines())


def test_it_is_installed_once(home: Path) -> None:
    stub(home.parent / "bin" / "npm", WHOLE)
    first, said = run(home)
    (folder,) = kept(home)
    assert first == str(folder / "bin" / "prism")
    assert "prism" not in said
    (home.parent / "bin" / "npm").unlink()
    assert run(home)[0] == first
    assert asked(home) == 1


def test_another_lock_is_another_server(home: Path) -> None:
    stub(home.parent / "bin" / "npm", WHOLE)
    first, _ = run(home)
    lock = home.parent / "checkout" / SERVER / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    second, _ = run(home)
    assert second != first and len(kept(home)) == 2


@pytest.mark.parametrize(
    ("npm", "says"),
    [(None, "no npm"), (f"{HALF}\nexit 1", "npm could not"), (HALF, "npm could not")],
    ids=["no npm", "npm fails", "npm makes half of it"],
)
def test_without_it_the_tests_run_all_the_same(home: Path, npm: str | None, says: str) -> None:
    if npm is not None:
        stub(home.parent / "bin" / "npm", npm)
    out, said = run(home)
    assert out == "no prism"
    (line,) = [line for line in said.splitlines() if "prism" in line]
    assert says in line and line.endswith("some tests will not run")
    assert npm is None or kept(home) == []


def test_what_is_half_there_after_a_kill_is_never_used(home: Path) -> None:
    os.mkfifo(home.parent / "begun")
    stub(home.parent / "bin" / "npm", f"{WHOLE}\necho >{home.parent}/begun\nsleep 60")
    process = start(home)
    (home.parent / "begun").read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    stub(home.parent / "bin" / "npm", f"{HALF}\nexit 1")
    assert run(home)[0] == "no prism"


def test_two_at_once_both_have_it(home: Path) -> None:
    stub(home.parent / "bin" / "npm", f"{WHOLE}\nsleep 0.2")
    processes = [start(home), start(home)]
    out = [process.communicate()[0].strip() for process in processes]
    assert out == [str(kept(home)[0] / "bin" / "prism")] * 2
    assert len(kept(home)) == 1
