"""A file as a whole: where it is found, what it becomes, what a role needs."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from roundtrip.config import Settings, load
from roundtrip.config.settings import KeptFolder
from roundtrip.enrich.settings import HttpSettings, Rate, Retry
from roundtrip.errors import ConfigError, ExitCode

EXAMPLE = """\
role: a
root: /srv/roundtrip
shares:
  unenriched: Unenriched
  enriched: Enriched
outbox: outbox
inbox: inbox
watch: {backend: auto}
pipelines:
  ip-intel:
    match: ["*.csv", "*.jsonl"]
    format: auto
    steps:
      - name: geo
        http:
          method: GET
          url: "https://api.example.org/ip/{ip}"
          headers: {Authorization: "Bearer ${GEO_TOKEN}"}
        select: {country: country, city: "location.city"}
        into: geo
        on_error: annotate
        cache: 7d
        rate: 50/s
        concurrency: 20
        timeout: 10s
        retry: {attempts: 5, max_delay: 60s}
"""
STEP = "pipelines: {p: {steps: [{name: s, http: {%s}}]}}\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    for name in ("ROUNDTRIP_CONFIG", "CREDENTIALS_DIRECTORY", "GEO_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def write(text: str) -> Path:
        file = tmp_path / "roundtrip.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def problems(file: Path | None, role: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, role)
    assert caught.value.exit_code == ExitCode.CONFIG
    return [line.replace(f"{file}:", "") for line in caught.value.problems]


def http(settings: Settings) -> HttpSettings:
    action = settings.pipelines[0].steps[0].action
    assert isinstance(action, HttpSettings)
    return action


def test_the_design_example_becomes_what_it_says(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_TOKEN", "s3cret")
    settings = load(write(EXAMPLE), "b")
    assert settings.role == "b"
    assert settings.shares.unenriched == Path("/srv/roundtrip/Unenriched")
    (pipeline,) = settings.pipelines
    assert (pipeline.name, pipeline.match) == ("ip-intel", ("*.csv", "*.jsonl"))
    (step,) = pipeline.steps
    assert http(settings).headers == {"Authorization": "Bearer s3cret"}
    assert (step.rate, step.retry, step.cache) == (Rate(50, 1.0), Retry(5, 60.0), 7 * 86400.0)
    assert step.select == {"country": "country", "city": "location.city"}


def test_an_empty_file_is_a_whole_configuration_for_role_a(write: Write, tmp_path: Path) -> None:
    settings = load(write(""), "a")
    assert settings.root == tmp_path
    assert settings.outbox.path == tmp_path / "outbox"
    assert settings.archive == KeptFolder(tmp_path / "archive")
    assert (settings.canary, settings.limits.payload) == (None, None)
    assert (settings.limits.exchanges, settings.timing.rescan) == (64, 300.0)


def test_short_and_long_forms_of_a_folder_are_the_same(write: Write) -> None:
    short = load(write("{role: a, outbox: o, archive: x, shares: {enriched: e}}"))
    long = load(
        write("{role: a, outbox: {path: o}, archive: {path: x}, shares: {enriched: {path: e}}}")
    )
    assert short == long


@pytest.mark.parametrize("off", ["off", "false"])
def test_an_archive_can_be_off(write: Write, off: str) -> None:
    assert load(write(f"role: a\narchive: {off}\n")).archive is None


def test_the_roots_own_place_is_the_files_folder_and_a_tilde_is_home(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    settings = load(write("{role: a, root: below, inbox: ~/in, failed: ../f}"))
    assert settings.root == tmp_path / "below"
    assert settings.inbox == Path("/home/someone/in")
    assert settings.failed.path == tmp_path / "f"


def test_the_callers_role_overrides_the_files(write: Write) -> None:
    assert load(write("role: b\n"), "a").role == "a"


def test_a_role_is_needed_from_somewhere(write: Write) -> None:
    assert problems(write("inbox: in\n")) == [
        "1: no role; write 'role: a' or 'role: b' in the file, or use --role"
    ]


@pytest.mark.parametrize("text", ["role: b\n", "role: b\npipelines: {}\n"])
def test_role_b_needs_a_pipeline(write: Write, text: str) -> None:
    (line,) = problems(write(text))
    assert "pipelines: role b needs at least one pipeline; add one" in line


def test_the_search_order_is_path_then_environment_then_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = write("role: a\n")
    named = tmp_path / "named.yaml"
    explicit = tmp_path / "explicit.yaml"
    for file in (named, explicit):
        file.write_text("role: a\n")
    monkeypatch.chdir(tmp_path)
    assert load().file == here
    monkeypatch.setenv("ROUNDTRIP_CONFIG", str(named))
    assert load().file == named
    assert load(explicit).file == explicit


def test_no_file_anywhere_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROUNDTRIP_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    if os.path.exists("/etc/roundtrip/roundtrip.yaml"):
        pytest.skip("this machine has a configuration in /etc")
    assert problems(None) == [
        "no configuration: looked for $ROUNDTRIP_CONFIG (not set), "
        f"{tmp_path}/roundtrip.yaml, /etc/roundtrip/roundtrip.yaml; run 'roundtrip init'"
    ]


def test_a_named_file_that_is_missing_is_not_replaced_by_another(tmp_path: Path) -> None:
    (line,) = problems(tmp_path / "none.yaml")
    assert "can't be read: No such file or directory" in line


def test_the_environment_comes_before_credentials_before_files(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = STEP % "url: 'http://h/', headers: {X: '${TOKEN}'}" + "role: b\nsecrets: {TOKEN: file}\n"
    (tmp_path / "file").write_text("from-file\n")
    (tmp_path / "credentials").mkdir()

    def header() -> str:
        return http(load(write(text))).headers["X"]

    assert header() == "from-file"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert header() == "from-file"
    (tmp_path / "credentials" / "TOKEN").write_text("from-systemd")
    assert header() == "from-systemd"
    monkeypatch.setenv("TOKEN", "")
    assert header() == "from-systemd"
    monkeypatch.setenv("TOKEN", "from-environment")
    assert header() == "from-environment"


def test_a_missing_secret_names_its_line_for_role_b_and_is_no_matter_for_role_a(
    write: Write,
) -> None:
    file = write(EXAMPLE)
    assert http(load(file, "a")).headers == {"Authorization": "Bearer ${GEO_TOKEN}"}
    assert problems(file, "b") == [
        "18: pipelines.ip-intel.steps[0].http.headers.Authorization: the secret GEO_TOKEN is "
        "nowhere; set the environment variable GEO_TOKEN, pass a systemd credential GEO_TOKEN, "
        "or name its file below 'secrets:'"
    ]


def test_a_missing_secret_is_reported_together_with_other_errors(write: Write) -> None:
    lines = problems(write(EXAMPLE.replace("watch", "wotch")), "b")
    assert [line.split(":")[0] for line in lines] == ["8", "18"]


def test_no_secret_shows_in_what_settings_print(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    place = (
        "'http://h/${TOKEN}', body: '${TOKEN}', headers: {X: '${TOKEN}'}, query: {q: '${TOKEN}'}"
    )
    settings = load(write("role: b\n" + STEP % ("url: " + place)))
    step = http(settings)
    assert (step.url, step.body) == ("http://h/s3cret", "s3cret")
    assert (step.headers["X"], step.query["q"]) == ("s3cret", "s3cret")
    assert "s3cret" not in f"{settings!r} {settings} {dict(step.headers)!r} {dict(step.query)!r}"
    for other in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert other == settings
        assert "s3cret" not in repr(other)
    assert "s3cret" not in repr(dataclasses.asdict(settings))


def test_two_dollars_are_a_literal_reference(write: Write) -> None:
    settings = load(write("role: b\n" + STEP % "url: 'http://h/', body: 'a $${ b'"))
    assert http(settings).body == "a ${ b"


@pytest.mark.parametrize(
    ("http", "value", "wrong"),
    [
        ("url: '${S}/x'", "ftp://hunter2", "must begin with http:// or https://"),
        ("url: 'http://${S}/x'", "a hunter2", "has a space, backslash or control character"),
        ("url: 'http://h/${S}'", "{hunter2}", "the secret S has a word in braces"),
        ("url: 'http://h/', body: '{${S}}'", "hunter2", "has a word in braces once ${...}"),
        ("url: 'http://h/', body: '${S}'", "{{hunter2}}", "the secret S has a word in braces"),
        ("url: 'http://h/', headers: {X: '${S}'}", "hunter2\nX: y", "more than one line"),
        ("url: 'http://h/', auth: {bearer: '${S}'}", "hunter2\udcff", "is not UTF-8 text"),
    ],
)
def test_a_secret_that_breaks_its_text_is_refused_and_not_shown(
    write: Write, monkeypatch: pytest.MonkeyPatch, http: str, value: str, wrong: str
) -> None:
    monkeypatch.setenv("S", value)
    (line,) = problems(write("role: b\n" + STEP % http))
    assert wrong in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "can't be read: No such file or directory"),
        (b"\n", "the secret S is empty in"),
        (b"\xff", "is not UTF-8 text"),
        (b"x" * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_a_secret_file_that_is_no_use_is_named(
    write: Write, tmp_path: Path, content: bytes | None, wrong: str
) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    text = "role: b\nsecrets: {S: file}\n" + STEP % "url: 'http://h/${S}'"
    (line,) = problems(write(text))
    assert line.startswith("3: pipelines.p.steps[0].http.url: ")
    assert wrong in line and str(tmp_path / "file") in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{role: a, inbox: outbox}", "inbox: is the same folder as outbox; they must differ"),
        ("{role: a, inbox: x/../outbox/}", "inbox: is the same folder as outbox; they must differ"),
        ("{role: a, shares: {enriched: outbox/E}}", "shares.enriched: lies inside outbox;"),
        ("{role: a, state: Enriched/state}", "state: lies inside shares.enriched; put it outside"),
        ("{role: a, inbox: in, archive: in/old}", "archive: lies inside inbox; put it outside"),
    ],
)
def test_folders_must_lie_apart(write: Write, text: str, expected: str) -> None:
    (line,) = problems(write(text))
    assert line.startswith("1: " + expected)


def test_folders_of_the_other_role_are_no_matter(write: Write) -> None:
    text = "role: b\nquarantine: inbox\n" + STEP % "url: 'http://h/'"
    assert load(write(text)).quarantine.path.name == "inbox"


def test_an_archive_that_is_off_takes_up_no_folder(write: Write) -> None:
    assert load(write("{role: a, inbox: archive, archive: off}")).archive is None


def test_importing_the_configuration_brings_in_neither_pydantic_nor_http_clients() -> None:
    code = "import roundtrip.config, roundtrip.cli.config, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not re.search(r"\b(aiohttp|httpx|pydantic|yaml|rich)\b", done.stdout)


def test_loading_for_role_a_brings_in_no_http_client(write: Write) -> None:
    code = "import sys; from roundtrip.config import load; load(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(write(EXAMPLE))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not re.search(r"\b(aiohttp|httpx)\b", done.stdout)


def test_settings_are_frozen(write: Write) -> None:
    settings: Settings = load(write("role: a\n"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.role = "b"
