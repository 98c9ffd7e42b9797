"""Loading with the names of secrets only: nothing is looked up, and the names come back."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.config import load
from roundtrip.config.named import NamedSecrets, written, written_header
from roundtrip.enrich.settings import CommandSettings, HttpSettings
from roundtrip.template import Template, Url

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,19}", fullmatch=True)


@given(NAMES, st.sampled_from(["http://h/${%s}?a=${%s}", "http://${%s}/{x}", "${%s}/x", "${%s}y"]))
def test_a_url_comes_back_as_it_was_written(name: str, text: str) -> None:
    wanted = text.replace("%s", name)
    url = Url(NamedSecrets().fill_url(wanted), {})
    rendered = str(httpx.URL(url.render({"x": "1"})))
    assert written(rendered).removesuffix("/") == wanted.replace("/{x}", "/1").removesuffix("/")


@given(NAMES, st.text(alphabet="ab -/", max_size=5))
def test_no_encoding_hides_a_name(name: str, around: str) -> None:
    filled = NamedSecrets().fill(f"{around}${{{name}}}{around}")
    assert Template(filled).fields == ()
    assert written(quote(filled, safe="")) == f"{quote(around, safe='')}${{{name}}}" + quote(
        around, safe=""
    )
    basic = "Basic " + base64.b64encode(f"me:{filled}".encode()).decode()
    assert written_header(basic) == f"Basic base64(me:{around}${{{name}}}{around})"


def test_basic_credentials_without_secrets_stay_as_they_are() -> None:
    for text in ("Basic bWU6eA==", "Basic !", "Bearer x"):
        assert written_header(text) == text


@pytest.mark.parametrize("text", ["secretnamedffx", "secretnamed20x", "secretoriginc3x", "secretx"])
def test_a_payloads_text_that_looks_like_a_stand_in_stays_as_it_is(text: str) -> None:
    assert written(f"a {text} b") == f"a {text} b"


def test_a_literal_reference_is_no_secret() -> None:
    assert NamedSecrets().fill("a $${ b") == "a ${ b"
    assert written("a ${ b") == "a ${ b"


def test_a_whole_file_loads_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", "never-looked-at")
    file = tmp_path / "r.yaml"
    file.write_text(
        "role: b\n"
        "secrets: {A: /nowhere/file}\n"
        "hosts: {h: {proxy: 'http://${A}@p'}}\n"
        "pipelines: {p: {steps: [\n"
        "  {name: s, http: {url: '${A}/{x}', headers: {X: '${A}'}, auth: {bearer: '${A}'}}},\n"
        "  {name: t, command: {run: [a], environment: {K: '${A}'}}}]}}\n"
    )
    settings = load(file, secrets="named")
    http, command = (step.action for step in settings.pipelines[0].steps)
    assert isinstance(http, HttpSettings) and isinstance(command, CommandSettings)
    assert http.auth is not None
    shown = [http.url, http.headers["X"], http.auth.secret, settings.hosts["h"].proxy or ""]
    assert [written(text) for text in shown] == ["${A}/{x}", "${A}", "${A}", "http://${A}@p"]
    assert command.environment == {"K": "${A}"}
    assert "never-looked-at" not in repr((http.url, http.headers, settings))
