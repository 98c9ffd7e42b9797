"""scripts/wheelhouse, as far as it asks no package index: what it makes a bundle of, and extras."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE_PYTHON = """\
#!/bin/sh
# pip's answers: an empty wheel each time. What is to be downloaded is the last word.
for word in "$@"; do
    case $last in --wheel-dir | --dest) folder=$word ;; esac
    last=$word
done
case "$*" in
*" wheel "*) : >"$folder/roundtrip-0.1.0-py3-none-any.whl" ;;
*" download "*requirements-bundle.lock) : >"$folder/pip-1-py3-none-any.whl" ;;
*" download "*) cp "$last" "$WANTED"; : >"$folder/x-1-py3-none-any.whl" ;;
*) exec "$PYTHON" "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What it reads, and a Python that notes what pip is asked for."""
    folder = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    for path in REPOSITORY.glob("requirements*.lock"):
        shutil.copy(path, folder)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / "docs/explanation").mkdir(parents=True)
    shutil.copy(REPOSITORY / "docs/explanation/licence.md", folder / "docs/explanation")
    (folder / "roundtrip").mkdir()
    shutil.copy(REPOSITORY / "roundtrip/__init__.py", folder / "roundtrip")
    for path, script in (
        (folder / "scripts/setup", ""),
        (folder / ".venv/bin/python", FAKE_PYTHON),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)
    return folder


def wheelhouse(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {"WANTED": str(checkout / "wanted"), "PYTHON": sys.executable}
    return subprocess.run(
        [checkout / "scripts/wheelhouse", *words], capture_output=True, text=True, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip


def wanted(checkout: Path) -> set[str]:
    text = (checkout / "wanted").read_text()
    assert len(re.findall("--hash=sha256:[0-9a-f]{64}", text)) >= text.count("==")
    return {line.split("==")[0] for line in text.splitlines() if "==" in line}


def test_what_only_the_oldest_python_needs_is_in_whatever_python_makes_the_bundle(
    checkout: Path,
) -> None:
    done = wheelhouse(checkout, "--python", "3.11", "--extras", "redis")
    assert done.returncode == 0, done.stderr
    assert "async-timeout" in wanted(checkout)  # redis: before 3.11.3
    assert "colorama" not in wanted(checkout)  # Windows
    done = wheelhouse(checkout, "--python", "3.13", "--extras", "redis")
    assert done.returncode == 0, done.stderr
    assert "redis" in wanted(checkout) and "async-timeout" not in wanted(checkout)


def test_extras_are_in_the_bundle_and_in_its_name(checkout: Path) -> None:
    plain = wheelhouse(checkout)
    assert plain.stdout.strip() == "dist/roundtrip-0.1.0-py311-x86_64.tar.gz"
    assert not wanted(checkout) & {"redis", "aio-pika"}
    both = wheelhouse(checkout, "--extras", "redis,amqp,redis").stdout.strip()
    assert both == "dist/roundtrip-0.1.0+amqp.redis-py311-x86_64.tar.gz"
    assert wanted(checkout) >= {"redis", "aio-pika", "pydantic"}
    with tarfile.open(checkout / both) as tar:
        held = tar.extractfile("roundtrip-0.1.0+amqp.redis-py311-x86_64/EXTRAS")
        assert isinstance(held, io.BufferedReader) and held.read() == b"amqp\nredis\n"
    before = hashlib.sha256((checkout / both).read_bytes()).digest()
    (checkout / "wanted").unlink()
    assert wheelhouse(checkout, "--extras", "amqp,redis").stdout.strip() == both
    assert not (checkout / "wanted").exists()  # it was made already
    assert hashlib.sha256((checkout / both).read_bytes()).digest() == before


@pytest.mark.parametrize("extra", ["kafka", "dev", "build", "-h"])
def test_an_unknown_extra_is_one_line(checkout: Path, extra: str) -> None:
    done = wheelhouse(checkout, "--extras", f"redis,{extra}")
    assert done.returncode == 2
    assert re.fullmatch(f"scripts/wheelhouse: --extras {extra}: amqp, .* or zeromq\n", done.stderr)
