"""`roundtrip preview`: what would leave, to the letter, and nothing does."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from roundtrip.cli.main import main
from roundtrip.errors import ExitCode

CONFIG = """\
role: b
pipelines:
  ip:
    match: ["*.jsonl", "*.csv"]
    steps:
      - name: geo
        http:
          url: "https://api.example.org/ip/{ip}"
          query: {key: "${GEO_KEY}"}
          headers: {Accept: text/json}
        fallback: spare
      - name: spare
        http: {url: "https://spare.example.org/{other}"}
      - name: risk
        http: {method: POST, url: "https://risk.example.org/", json: {c: "{geo.country}"}}
      - name: rare
        http: {method: POST, url: "https://risk.example.org/r", auth: {basic: {user: me, password: "${PW}"}}}
        send: [ip]
        when: n > `1`
      - name: late
        command: [tr, "{n}", "a b"]
        when: risk.score
  raw:
    match: ["*.bin"]
    format: raw
    steps:
      - name: up
        http: {method: POST, url: "https://api.example.org/{name}", auth: {bearer: "${PW}"}}
      - name: then
        command: [cat]
  many:
    match: ["*.json"]
    steps:
      - name: bulk
        http: {method: POST, url: "https://bulk.example.org/", body: "${PW} {batch}"}
        batch: {size: 2, key: "{ip}"}
      - name: site
        lookup: {file: sites.csv, key: "{ip}", column: ip}
"""  # noqa: E501
RECORDS = [{"ip": "192.0.2.1", "n": 2}, {"ip": "192.0.2.1", "n": 1}, {"n": 3}]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GEO_KEY", "PW"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roundtrip.yaml").write_text(CONFIG)
    (tmp_path / "sites.csv").write_text("ip,city\n192.0.2.1,Oslo\n")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    (tmp_path / "a.json").write_text(json.dumps([RECORDS[0], {"ip": "b\x1b[2J"}, {"ip": "c"}]))
    (tmp_path / "a.bin").write_bytes(b"\0\1\2")

    def refused(*_: object) -> None:
        raise AssertionError("preview opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    return tmp_path


def preview(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["preview", *words]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert "hunter2" not in out and err == ""
    return out


def test_each_record_shows_its_requests_with_the_names_of_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = preview(capsys, "a.jsonl")
    assert "  geo: GET https://api.example.org/ip/192.0.2.1?key=${GEO_KEY}\n" in out
    assert "    Accept: text/json\n" in out
    assert "    Authorization: Basic base64(me:${PW})\n" in out
    assert '\n    {"ip":"192.0.2.1"}\n' in out


def test_what_is_not_known_before_says_whose_answer_it_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = preview(capsys, "a.jsonl", "--records", "1")
    assert "  risk: needs the answer of geo, unknown before it is sent\n" in out
    assert "  late: needs the answer of risk, which says whether this step runs\n" in out


def test_what_is_asked_once_is_shown_once_and_what_is_skipped_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    second = preview(capsys, "a.jsonl").split("\nrecord 2\n")[1].split("\n\n")[0]
    assert "  geo: the same as for record 1, asked once\n" in second
    assert "  rare: skipped; when says no: n > `1`\n" in second


def test_a_record_that_lacks_a_field_shows_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    third = preview(capsys, "a.jsonl").split("\nrecord 3\n")[1]
    assert "  geo: error: Missing field: the record has no field 'ip'\n" in third


def test_a_fallback_says_when_it_is_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "b.jsonl").write_text('{"ip": "1", "n": 1, "other": 5}\n{"other": 6, "n": 1}\n')
    out = preview(capsys, "b.jsonl")
    assert "  spare: GET https://spare.example.org/5 (only if geo fails)\n" in out
    assert "  spare: GET https://spare.example.org/6\n" in out  # geo can't be asked
    assert out.endswith(
        "2 records, 3 requests to 2 hosts (api.example.org, spare.example.org), 1 of them only if "
        "another step fails, 4 more that can't be known before; nothing was sent\n"
    )


def test_a_batch_of_fallbacks_is_certain_if_one_of_them_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "roundtrip.yaml").write_text(
        "role: b\n"
        "pipelines: {p: {steps: [\n"
        "  {name: geo, http: {url: 'https://h/{ip}'}, fallback: spare},\n"
        "  {name: spare, http: {url: 'https://s/', method: POST},\n"
        "   batch: {size: 9, item: '{n}'}}]}}\n"
    )
    (folder / "b.jsonl").write_text('{"ip": "1", "n": 1}\n')
    assert "  spare: POST https://s/ (only if geo fails)\n" in preview(capsys, "b.jsonl")
    (folder / "b.jsonl").write_text('{"ip": "1", "n": 1}\n{"n": 2}\n')
    assert "  spare: POST https://s/\n" in preview(capsys, "b.jsonl")


def test_the_end_counts_records_requests_and_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    out = preview(capsys, "a.jsonl", "--records", "2")
    assert out.endswith(
        "the first 2 records, 2 requests to 2 hosts (api.example.org, risk.example.org), "
        "4 more that can't be known before; nothing was sent\n"
    )


def test_a_batch_is_shown_when_it_is_full_or_the_records_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = preview(capsys, "a.json")
    assert "records 1 to 2, together\n  bulk: POST https://bulk.example.org/\n" in out
    assert "\n    ${PW} 192.0.2.1,b\\x1b[2J\n" in out  # and it commands no terminal
    assert "  bulk: POST" in out.split("\nrecord 3\n")[1]
    assert "\x1b" not in out
    assert f"site: looks '192.0.2.1' up in {Path.cwd() / 'sites.csv'}\n" in out


def test_a_length_with_a_secret_in_it_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Content-Length" not in preview(capsys, "a.json")
    assert "    Content-Length: 18\n" in preview(capsys, "a.jsonl")


def test_a_whole_payload_is_one_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert preview(capsys, "a.bin").splitlines() == [
        "a.bin: pipeline raw, format raw",
        "",
        "record 1",
        "  up: POST https://api.example.org/a.bin",
        "    Host: api.example.org",
        "    user-agent: roundtrip",
        "    Authorization: Bearer ${PW}",
        "    accept: */*",
        "    accept-encoding: identity",
        "    Idempotency-Key: <the same for each try of this call>",
        "    Content-Length: 3",
        "",
        "    (the file itself, 3 bytes)",
        "  then: needs the answer of up, unknown before it is sent",
        "",
        "1 record, 1 request to 1 host (api.example.org), 1 more that can't be known before; "
        "nothing was sent",
    ]


def test_a_program_shows_its_arguments_and_what_it_reads(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CONFIG.replace("when: risk.score", "when: n")
    (folder / "roundtrip.yaml").write_text(text)
    out = preview(capsys, "a.jsonl", "--records", "1")
    assert '  late: runs tr 2 \'a b\'\n    {"ip":"192.0.2.1","n":2}\n' in out


def test_what_a_program_gets_of_the_whole_record_holds_the_answers_it_waits_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CONFIG.replace('"{n}", "a b"]\n        when: risk.score', "b]\n        needs: [rare]")
    (folder / "roundtrip.yaml").write_text(text)
    out = preview(capsys, "a.jsonl", "--records", "1")
    assert "  late: needs the answer of rare, unknown before it is sent\n" in out


def test_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(preview(capsys, "a.jsonl", "--json"))
    assert (found["records"], found["more"], found["requests"]) == (3, False, 2)
    first = found["steps"][0]
    assert (first["records"], first["step"], first["method"]) == ([1], "geo", "GET")
    assert first["url"] == "https://api.example.org/ip/192.0.2.1?key=${GEO_KEY}"
    assert ["Accept", "text/json"] in first["headers"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.jsonl"], "none.jsonl: can't be read: No such file or directory"),
        (["a.jsonl", "--pipeline", "x"], "a.jsonl: there is no pipeline 'x'; there are: ip"),
        (["roundtrip.yaml"], "no pipeline fits the name 'roundtrip.yaml'"),
        (["bad.json"], "bad.json: "),
    ],
)
def test_what_cant_be_previewed_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    (folder / "bad.json").write_text("{]")
    assert main(["preview", *words]) == ExitCode.INPUT
    _, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1
