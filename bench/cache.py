"""Where contestants are installed: Python environments, unpacked Debian packages, npm packages.

Nothing is installed into the system: no service starts, nothing needs to be removed but the folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.errors import Unavailable


def default_folder() -> Path:
    """$ROUNDTRIP_BENCH_CACHE, else ~/.cache/roundtrip-bench."""
    named = os.environ.get("ROUNDTRIP_BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "roundtrip-bench"


class Cache:
    """Installs each thing once; a file `.ready` with the request's text says it is complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def venv(self, name: str, packages: Sequence[str]) -> Path:
        """A virtual environment of this Python with `packages`; its `bin` folder."""
        target = self._folder / f"venv-{name}"
        if not _ready(target, packages):
            shutil.rmtree(target, ignore_errors=True)
            _run([sys.executable, "-m", "venv", target])
            _run([target / "bin/python", "-m", "pip", "install", "--quiet", *packages])
            _mark(target, packages)
        return target / "bin"

    def debian(self, name: str, packages: Sequence[str]) -> Path:
        """Debian packages and what they depend on and the system lacks, unpacked into a folder."""
        target = self._folder / f"debian-{name}"
        if _ready(target, packages):
            return target
        _need("apt-get", "dpkg")
        shutil.rmtree(target, ignore_errors=True)
        downloads = target / "downloads"
        downloads.mkdir(parents=True)
        _run(["apt-get", "download", *_missing(packages)], cwd=downloads)
        for package in sorted(downloads.glob("*.deb")):
            _run(["dpkg", "-x", package, target])
        shutil.rmtree(downloads)
        _mark(target, packages)
        return target

    def npm(self, name: str, packages: Sequence[str]) -> Path:
        """npm packages; their `node_modules` folder."""
        _need("npm", "node")
        target = self._folder / f"npm-{name}"
        if not _ready(target, packages):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            _run(["npm", "install", "--prefix", target, "--no-audit", "--no-fund", *packages])
            _mark(target, packages)
        return target / "node_modules"


def libraries(debian: Path) -> dict[str, str]:
    """The environment in which an unpacked Debian program finds its unpacked libraries."""
    folders = [*debian.glob("usr/lib/*-linux-gnu*"), *debian.glob("lib/*-linux-gnu*")]
    return {"LD_LIBRARY_PATH": ":".join(map(str, folders))} if folders else {}


def _missing(packages: Sequence[str]) -> list[str]:
    plan = _run(["apt-get", "install", "--simulate", "--no-install-recommends", *packages])
    planned = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    return sorted({*planned, *packages})  # also those that are installed: the copy is ours


def _need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            raise Unavailable(f"{program} is missing on this machine")


def _ready(target: Path, packages: Sequence[str]) -> bool:
    try:
        return (target / ".ready").read_text() == "\n".join(packages)
    except FileNotFoundError:
        return False


def _mark(target: Path, packages: Sequence[str]) -> None:
    (target / ".ready").write_text("\n".join(packages))


def _run(argv: Sequence[str | Path], cwd: Path | None = None) -> str:
    command = [str(part) for part in argv]
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Unavailable(f"can't install: {' '.join(command[:4])} ...: {last}")
    return done.stdout
