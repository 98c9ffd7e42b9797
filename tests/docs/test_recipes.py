"""Each recipe loads, passes its tests, and is shown as it is; the tests notice another answer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from roundtrip.cli.main import main
from roundtrip.errors import ExitCode

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "recipes"
FOLDERS = sorted(path for path in RECIPES.iterdir() if path.is_dir())
FILES = ("roundtrip.yaml", "roundtrip.test.yaml")

each_recipe = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def secrets_of(folder: Path) -> set[str]:
    """The secrets that a recipe names."""
    return set(re.findall(r"\$\{(\w+)\}", (folder / FILES[0]).read_text()))


@each_recipe
def test_a_recipe_loads_when_its_secrets_are_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in secrets_of(folder):
        monkeypatch.setenv(name, "s3cret")
    code = main(["config", "check", "--config", str(folder / FILES[0])])
    assert code == ExitCode.OK, capsys.readouterr().err


@each_recipe
def test_a_recipe_passes_its_tests_without_secrets(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in secrets_of(folder):
        monkeypatch.delenv(name, raising=False)
    code = main(["config", "test", "--config", str(folder / FILES[0])])
    assert code == ExitCode.OK, capsys.readouterr().out


@each_recipe
def test_a_recipe_notices_that_an_answer_has_something_else_in_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each recipe's first test looks at what is in the answers; others are about empty ones."""
    document = yaml.safe_load((folder / FILES[1]).read_text())
    first, *_ = document["tests"]
    first["answers"] = [{**answer, "json": {}} for answer in first["answers"]]
    failed = failed_tests(folder, {"tests": [first]}, tmp_path, capsys)
    assert failed == [first["name"]]


@each_recipe
def test_every_test_of_a_recipe_notices_that_good_answers_are_errors_and_errors_good(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = yaml.safe_load((folder / FILES[1]).read_text())
    for test in document["tests"]:
        for answer in test["answers"]:
            answer["status"] = 404 if answer.get("status", 200) == 200 else 200
    failed = failed_tests(folder, document, tmp_path, capsys)
    assert failed == [test["name"] for test in document["tests"]]


def failed_tests(
    folder: Path, document: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """Run a recipe with other tests; the names of those that fail."""
    changed = tmp_path / FILES[1]
    changed.write_text(json.dumps(document))  # YAML as well
    config = str(folder / FILES[0])
    assert main(["config", "test", "--config", config, "--json", str(changed)]) == ExitCode.TEST
    results = json.loads(capsys.readouterr().out)["tests"]
    return [result["name"] for result in results if not result["ok"]]


@each_recipe
def test_the_page_shows_the_files_as_they_are(folder: Path) -> None:
    page = (RECIPES / f"{folder.name}.md").read_text()
    shown = re.findall(
        r"^\[`([\w.]+)`\]\(([\w./-]+)\)[^\n]*:\n\n```yaml\n(.*?)^```$",
        page,
        re.MULTILINE | re.DOTALL,
    )
    assert shown == [(name, f"{folder.name}/{name}", (folder / name).read_text()) for name in FILES]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


@each_recipe
def test_the_page_names_the_limits_and_where_they_are_from(folder: Path) -> None:
    limits = (RECIPES / f"{folder.name}.md").read_text().split("\n## Limits\n")[1]
    limits = limits.split("\n## ")[0]
    assert re.search(r"https://[\w.-]+", limits)
    assert re.search(r"\b20[2-9]\d\b", limits)  # known as of when


def test_the_index_has_one_line_for_each_recipe() -> None:
    lines = re.findall(r"^- \[.+\]\((.+)\.md\)$", (RECIPES / "index.md").read_text(), re.MULTILINE)
    assert sorted(lines) == [folder.name for folder in FOLDERS]
    assert {path.stem for path in RECIPES.glob("*.md")} == {*lines, "index"}


@pytest.mark.parametrize(
    ("name", "record", "header"),
    [
        (
            "reverse-geocoding",
            {"lat": 1, "lon": 2},
            "User-Agent: example-orders/1.0 (ops@example.org)",
        ),
        ("vulnerabilities", {"cve": "CVE-2021-40438"}, "apiKey: ${NVD_API_KEY}"),
        ("url-scans", {"url": "https://example.org/"}, "x-apikey: ${VIRUSTOTAL_API_KEY}"),
        ("legal-entities", {"lei": "HWUPKR0MPOU8FGXBT394"}, "Accept: application/vnd.api+json"),
        ("directory-users", {"mail": "a@example.org"}, "Authorization: Bearer <token of "),
    ],
)
def test_a_call_has_the_header_that_the_provider_asks_for(
    name: str,
    record: dict[str, Any],
    header: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps(record))
    assert main(["preview", "--config", str(RECIPES / name / FILES[0]), str(file)]) == ExitCode.OK
    assert f"\n    {header}" in capsys.readouterr().out


@pytest.mark.needs("bash")
def test_the_index_page_does_what_it_shows(tmp_path: Path) -> None:
    (shell,) = re.findall(r"```sh\n(.*?)```", (RECIPES / "index.md").read_text(), re.DOTALL)
    (tmp_path / "docs").symlink_to(RECIPES.parents[1])
    done = subprocess.run(
        ["bash", "-euc", shell],
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\n2 tests, ok\n")
