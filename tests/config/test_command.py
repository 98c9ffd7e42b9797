"""`roundtrip config check|schema`, called as the main command calls it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from roundtrip.cli import config
from roundtrip.errors import ExitCode

GOOD = "role: b\npipelines: {ip-intel: {steps: [{name: s, http: {url: 'http://h/'}}]}}\n"


def run(*words: str) -> int:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path)
    common.add_argument("--role", choices=["a", "b"])
    parser = argparse.ArgumentParser()
    config.add_parser(parser.add_subparsers(), common)
    args = parser.parse_args(["config", *words])
    return int(args.func(args))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(GOOD)
    return file


def test_a_good_file_is_one_line_on_stdout(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--config", str(file)) == ExitCode.OK
    out, err = capsys.readouterr()
    assert out == f"{file}: ok: role b, 1 pipeline (ip-intel), root {file.parent}\n"
    assert err == ""


def test_a_wrong_file_is_every_error_on_stderr_and_exit_code_3(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(GOOD + "rool: a\nlog: x\n")
    assert run("check", "--config", str(file)) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[1] for line in err.splitlines()] == ["rool", "log"]


def test_the_role_of_the_command_line_counts(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", "--config", str(file), "--role", "a", "--json") == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert (report["role"], report["ok"], report["pipelines"]) == ("a", True, ["ip-intel"])


def test_errors_as_json_are_on_stdout(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("role: b\n")
    assert run("check", "--config", str(file), "--json") == ExitCode.CONFIG
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["problems"][0].startswith(f"{file}:1: pipelines: role b needs")


def test_the_schema_is_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["title"] == "roundtrip.yaml"
