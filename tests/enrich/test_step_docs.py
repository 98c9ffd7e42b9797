"""The how-to pages of commands, functions and tables: done as they say, with what they say."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from roundtrip.config import load
from tests.enrich.mmdb import database

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r"(?:^(?P<before>[^\n]+)\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```", re.M | re.S)
BIN = "/usr/local/bin/"


@dataclass
class Page:
    """What a page shows: files by their names, pipelines, and the answers after each of them."""

    files: dict[str, str] = field(default_factory=dict)
    sql: dict[str, str] = field(default_factory=dict)
    pipelines: list[str] = field(default_factory=list)
    answers: list[tuple[int, str, str]] = field(default_factory=list)  # pipeline, name, answer


def read(name: str) -> Page:
    """A block's name is the last one in backquotes in the paragraph before it."""
    page = Page()
    for found in BLOCK.finditer((HOW_TO / name).read_text()):
        named = re.findall(r"`([^`]+)`", found["before"] or "")
        if found["kind"] == "yaml":
            page.pipelines.append(found["text"])
        elif found["before"].startswith("The answer to"):
            page.answers.append((len(page.pipelines) - 1, named[-1], found["text"]))
        elif found["kind"] == "sql":
            page.sql[named[-1]] = found["text"]
        else:
            page.files[named[-1]] = found["text"]
    return page


async def follow(page: Page, folder: Path, engine: Any) -> int:
    """Do what the page says in a folder; how many answers were compared."""
    for name, text in page.files.items():
        path = folder / name.removeprefix(BIN)
        path.write_text(text)
        path.chmod(0o755)
    for name, script in page.sql.items():
        with closing(sqlite3.connect(folder / name)) as made:
            made.executescript(script)
    for number, name, expected in page.answers:
        config = folder / f"{number}.yaml"
        config.write_text(f"role: b\n{page.pipelines[number]}".replace(BIN, f"{folder}/"))
        (pipeline,) = load(config).pipelines
        _, out = await engine.run(pipeline, name, page.files[name].encode())
        assert out.decode().replace(f"{folder}/", BIN) == expected
    return len(page.answers)


@pytest.mark.needs("date", "sort")
async def test_the_page_on_commands(engine: Any, tmp_path: Path) -> None:
    page = read("run-a-command.md")
    assert await follow(page, tmp_path, engine) == len(page.pipelines) == 4


async def test_the_page_on_tables(engine: Any, tmp_path: Path) -> None:
    known = {"country": {"iso_code": "DE"}, "city": {"names": {"en": "Cologne"}}}
    (tmp_path / "city.mmdb").write_bytes(database({"192.0.2.0/24": known}))
    page = read("lookup-tables.md")
    assert await follow(page, tmp_path, engine) == len(page.pipelines) == 3


async def test_the_page_on_functions_with_its_package_really_installed(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = read("python-step.md")
    package, site = tmp_path / "package", tmp_path / "site"
    package.mkdir()
    for name in ("acme_steps.py", "pyproject.toml"):
        (package / name).write_text(page.files[name])
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install"]
    offline = ["--no-index", "--no-build-isolation", "--no-deps", "--quiet"]
    subprocess.run([*pip, *offline, "--target", site, package], check=True)
    monkeypatch.syspath_prepend(site)
    assert await follow(page, tmp_path, engine) == len(page.pipelines) == 1
