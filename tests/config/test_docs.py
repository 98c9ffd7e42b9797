"""The reference names every key, and its examples load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from roundtrip.config import load, schema
from roundtrip.config.models import FileModel
from roundtrip.config.problems import keys_at

PAGE = (Path(__file__).parents[2] / "docs/reference/configuration.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
DOCUMENTED = set(re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE))
STEP = ("pipelines", "NAME", "steps", 0)
MAPPINGS: dict[
    tuple[str | int, ...], str
] = {  # in the page's words: how the file's path to each mapping is written there
    (): "",
    ("shares",): "shares.",
    ("shares", "unenriched"): "shares.unenriched.",
    ("shares", "enriched"): "shares.enriched.",
    ("outbox",): "outbox.",
    ("archive",): "archive.",
    ("failed",): "failed.",
    ("quarantine",): "quarantine.",
    ("watch",): "watch.",
    ("limits",): "limits.",
    ("limits", "in_flight"): "limits.in_flight.",
    ("timing",): "timing.",
    ("log",): "log.",
    ("cache",): "cache.",
    ("metrics",): "metrics.",
    ("hosts", "HOST"): "hosts.HOST.",
    ("hosts", "HOST", "quota"): "hosts.HOST.quota.",
    ("hosts", "HOST", "breaker"): "hosts.HOST.breaker.",
    ("pipelines", "NAME"): "pipelines.NAME.",
    ("pipelines", "NAME", "csv"): "pipelines.NAME.csv.",
    ("pipelines", "NAME", "json"): "pipelines.NAME.json.",
    ("pipelines", "NAME", "xml"): "pipelines.NAME.xml.",
    (*STEP,): "",
    (*STEP, "batch"): "batch.",
    (*STEP, "quota"): "quota.",
    (*STEP, "retry"): "retry.",
    (*STEP, "command"): "command.",
    (*STEP, "python"): "python.",
    (*STEP, "lookup"): "lookup.",
    (*STEP, "http"): "http.",
    (*STEP, "http", "auth"): "http.auth.",
    (*STEP, "http", "auth", "basic"): "http.auth.basic.",
    (*STEP, "http", "auth", "key"): "http.auth.key.",
    (*STEP, "http", "auth", "oauth2"): "http.auth.oauth2.",
    (*STEP, "http", "pages"): "http.pages.",
    (*STEP, "http", "job"): "http.job.",
    ("queue",): "queue.",
    ("look",): "look.",
    ("mail",): "mail.",
    ("deliver", "NAME"): "deliver.NAME.",
    ("deliver", "NAME", "retry"): "deliver.NAME.retry.",
    ("deliver", "NAME", "fields"): "deliver.NAME.fields.",
    ("deliver", "NAME", "fields", "lookup"): "deliver.NAME.fields.lookup.",
    ("deliver", "NAME", "exec"): "deliver.NAME.exec.",
    ("deliver", "NAME", "mail"): "deliver.NAME.mail.",
    ("deliver", "NAME", "http"): "deliver.NAME.http.",
    ("deliver", "NAME", "amqp"): "deliver.NAME.amqp.",
    ("deliver", "NAME", "redis"): "deliver.NAME.redis.",
    ("deliver", "NAME", "zeromq"): "deliver.NAME.zeromq.",
    ("deliver", "NAME", "tcp"): "deliver.NAME.tcp.",
    ("deliver", "NAME", "plugin"): "deliver.NAME.plugin.",
}


def model_count(part: Any) -> int:
    return len(part["$defs"]) + 1


def keys() -> Iterator[str]:
    for path, prefix in MAPPINGS.items():
        yield from (prefix + key for key in keys_at(path))


@pytest.mark.parametrize("key", sorted(set(keys())))
def test_every_key_is_documented(key: str) -> None:
    below = any(name.startswith(f"{key}.") for name in DOCUMENTED)
    assert key in DOCUMENTED or below


def test_no_key_is_documented_that_is_not_there() -> None:
    types = {"duration", "size", "rate", "path", "glob", "count", "name", "template", "JMESPath"}
    assert DOCUMENTED - types <= {*keys(), "secrets.NAME"}


def test_no_mapping_is_forgotten_here() -> None:
    assert len(MAPPINGS) == model_count(FileModel.model_json_schema()) + 1  # quota is in two places


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_loads_and_fits_the_schema(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GEO_TOKEN", "OTHER_KEY", "PROXY_PASSWORD", "SMTP_PASSWORD", "LOOK_TOKEN"):
        monkeypatch.setenv(name, "a-secret-of-some-length")
    for name in ("SHOP_SECRET", "SHOP_SECRET_OLD"):
        monkeypatch.setenv(name, "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3")
    file = tmp_path / "roundtrip.yaml"
    file.write_text(text)
    assert load(file).file == file
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(text))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


def test_the_schema_is_valid_and_refuses_what_the_loader_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    files: list[dict[str, object]] = [
        {"rool": "a"},
        {"role": "c"},
        {"limits": {"payload": "10XB"}},
        {"timing": {"grace": "1 week"}},
        {"watch": {"backend": "fanotyfi"}},
        {"outbox": 5},
        {"pipelines": {"p": {"steps": []}}},
        {"pipelines": {"p": {"steps": [{"name": "s"}]}}},
        {"pipelines": {"p": {"steps": [{"name": "s", "python": "f", "command": ["a"]}]}}},
        {"hosts": {"h": {"breaker": "on"}}},
        {"metrics": {"listen": 9464}},
    ]
    for wrong in files:
        assert not validator.is_valid(wrong), wrong
