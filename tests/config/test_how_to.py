"""The how-to pages do what they show, and name every key of a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roundtrip.cli.main import main
from roundtrip.config.cases.models import TestsModel
from roundtrip.config.problems import keys_at
from roundtrip.errors import ExitCode

PAGES = Path(__file__).parents[2] / "docs/how-to"
TEST = ("tests", 0)
MAPPINGS: dict[tuple[str | int, ...], str] = {
    TEST: "",
    (*TEST, "input"): "input.",
    (*TEST, "answers", 0): "answers.",
    (*TEST, "answers", 0, "request"): "answers.request.",
    (*TEST, "expect"): "expect.",
    (*TEST, "expect", "stats"): "expect.stats.",
}


def blocks(page: str, language: str) -> list[str]:
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_tests_of_the_page_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config, tests, program = blocks("test-a-pipeline.md", "yaml")
    good, bad = blocks("test-a-pipeline.md", "text")
    score = "  scores: {steps: [{name: score, command: [score]}]}\n"
    (tmp_path / "roundtrip.yaml").write_text(config + score)
    file = tmp_path / "ip-intel.test.yaml"
    file.write_text(tests)
    assert main(["config", "test"]) == ExitCode.OK
    assert capsys.readouterr().out == good
    file.write_text(tests.replace("/ip/192.0.2.1?key=${GEO_KEY}", "/ip?addr=192.0.2.1"))
    assert main(["config", "test"]) == ExitCode.TEST == 8
    assert capsys.readouterr().out.startswith(bad)
    file.write_text(program)
    assert main(["config", "test"]) == ExitCode.OK


def test_the_preview_of_the_page_is_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = blocks("preview.md", "yaml")
    (records,) = blocks("preview.md", "json")
    (shown,) = blocks("preview.md", "text")
    (tmp_path / "roundtrip.yaml").write_text(config)
    (tmp_path / "orders.jsonl").write_text(records)
    assert main(["preview", "orders.jsonl"]) == ExitCode.OK
    assert capsys.readouterr().out == shown


def test_every_key_of_a_test_is_documented() -> None:
    text = (PAGES / "test-a-pipeline.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    keys = {prefix + key for path, prefix in MAPPINGS.items() for key in keys_at(path, TestsModel)}
    inner = {prefix.removesuffix(".") for prefix in MAPPINGS.values()} - {"answers"}
    assert documented == keys - inner
    assert len(MAPPINGS) == len(TestsModel.model_json_schema()["$defs"])
