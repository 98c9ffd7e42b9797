"""`roundtrip config test`: pipelines run for real, with canned answers in place of the network."""
# ruff: noqa: E501 - one file and its answer to a line read best

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roundtrip.cli.main import main
from roundtrip.config.cases import running
from roundtrip.config.cases.running import LONGEST
from roundtrip.errors import ExitCode

CONFIG = """\
role: b
hosts: {api.example.org: {rate: 1/d, quota: {day: 1}}}
pipelines:
  ip:
    match: ["*.jsonl", "*.csv"]
    steps:
      - name: geo
        http: {url: "https://api.example.org/ip/{ip}", auth: {key: {in: query, name: k, value: "${KEY}"}}}
        select: {country: country}
        rate: 1/d
  spare:
    steps:
      - {name: geo, http: {url: "https://api.example.org/{ip}"}, fallback: other}
      - {name: other, http: {url: "https://other.example.org/{ip}"}}
  program:
    steps:
      - name: twice
        command: [no-such-program, "{n}"]
      - name: table
        lookup: {file: no-such-file.csv, key: "{n}", column: n}
      - name: sum
        http: {method: POST, url: "http://h.example.org/${KEY}", json: {a: "{twice.n}", b: ["{table.n}"]}}
  job:
    steps: [{name: job, http: {method: POST, url: "http://h.example.org/j", job: {}}, send: [n]}]
  batch:
    steps: [{name: b, http: {method: POST, url: "http://h.example.org/b"}, batch: {size: 9, linger: 1d}, send: [n]}]
  whole:
    format: raw
    steps: [{name: up, http: {method: POST, url: "http://h.example.org/{name}"}}]
  table:
    format: csv
    csv: {delimiter: ";"}
    steps: [{name: geo, http: {url: "https://api.example.org/{ip}"}, select: {c: c}}]
"""
GEO = '{request: {url: "https://api.example.org/ip/192.0.2.1?k=${KEY}"}, json: {country: NL}}'
ONE = """\
tests:
  - name: it works
    pipeline: ip
    input: {records: [{ip: 192.0.2.1, big: 123456789012345678901234567890, half: 0.5}]}
    answers: [%s]
    expect: {%s}
"""
INPUT = "{ip: 192.0.2.1, big: 123456789012345678901234567890, half: 0.5}"
ENRICHED = "{ip: 192.0.2.1, big: 123456789012345678901234567890, half: 0.5, geo: {country: NL}}"

Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roundtrip.yaml").write_text(CONFIG)

    def run(text: str, *words: str) -> tuple[int, list[str]]:
        (tmp_path / "a.test.yaml").write_text(text)
        code = main(["config", "test", *words])
        out, err = capsys.readouterr()
        return code, (out or err).splitlines()

    return run


def problems(run: Run, text: str) -> list[str]:
    code, lines = run(text)
    assert code == ExitCode.TEST and lines[-1].endswith("1 failed")
    assert ": FAILED: " in lines[0]
    return [line.removeprefix("    ") for line in lines[1:-1]]


def test_a_test_that_holds_is_one_line(run: Run) -> None:
    expect = f"outcome: enriched, records: [{ENRICHED}], stats: {{calls: 1, records: 1, failed: 0}}"
    assert run(ONE % (GEO, expect)) == (
        ExitCode.OK,
        ["a.test.yaml: ok: it works", "1 test, ok"],
    )


def test_a_request_that_no_answer_is_for_is_shown(run: Run) -> None:
    assert problems(run, ONE % ("", "outcome: enriched")) == [
        "no answer for GET https://api.example.org/ip/192.0.2.1?k=${KEY}",
        "outcome: expected enriched, found partial",
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{request: {url: "https://other/*"}}', "answers[1]: unused (any method https://other/*)"),
        ('{request: {method: PUT, url: "*"}}', "answers[1]: unused (PUT *)"),
        (GEO.replace("json:", "times: 2, json:"), "answers[1]: unused (any method https://api"),
    ],
)
def test_an_answer_that_is_not_used_fails(run: Run, answer: str, said: str) -> None:
    (line,) = problems(run, ONE % (f"{GEO}, {answer}", "outcome: enriched"))
    assert line.startswith(said)


def test_an_answer_that_is_used_less_often_than_it_says_fails(run: Run) -> None:
    answer = GEO.replace("json:", "times: 2, json:")
    assert problems(run, ONE % (answer, "outcome: enriched")) == [
        "answers[0]: 2 times, used 1 (any method https://api.example.org/ip/192.0.2.1?k=${KEY})"
    ]


def test_every_difference_names_its_place(run: Run) -> None:
    wanted = "{ip: 192.0.2.2, big: '*', half: true, geo: {country: NL, city: x}}, {}"
    expect = f"outcome: partial, records: [{wanted}], stats: {{calls: 2}}"
    assert problems(run, ONE % (GEO, expect)) == [
        "outcome: expected partial, found enriched",
        "records: expected 2, found 1",
        'records[0].ip: expected "192.0.2.2", found "192.0.2.1"',
        "records[0].half: expected true, found 0.5",
        'records[0].geo.city: expected "x", found nothing',
        "records[1]: expected {}, found nothing",
        "stats.calls: expected 2, found 1",
    ]


def test_answers_come_in_their_order_and_pauses_take_no_time(run: Run) -> None:
    busy = '{request: {url: "*"}, status: 429, headers: {Retry-After: "600"}, times: 2}'
    expect = f"records: [{ENRICHED}], stats: {{calls: 3}}"
    assert run(ONE % (f"{busy}, {GEO}", expect))[0] == ExitCode.OK


def test_a_host_that_never_answers_is_no_reason_to_wait(run: Run) -> None:
    records = ", ".join(f"{{ip: '{number}'}}" for number in range(60))
    text = f"""\
tests:
  - name: dead
    pipeline: ip
    input: {{records: [{records}]}}
    answers: [{{request: {{url: "*"}}, status: 503}}]
    expect: {{outcome: partial, stats: {{failed: 60, calls: 300}}}}
"""
    began = time.monotonic()
    assert run(text)[0] == ExitCode.OK
    assert time.monotonic() - began < LONGEST / 2


def test_no_breaker_makes_the_number_of_calls_a_matter_of_luck(run: Run) -> None:
    records = ", ".join(f"{{ip: '{number}'}}" for number in range(60))
    text = f"""\
tests:
  - name: dead, and its fallback is not
    pipeline: spare
    input: {{records: [{records}]}}
    answers:
      - {{request: {{url: "https://api.example.org/*"}}, status: 503}}
      - {{request: {{url: "https://other.example.org/*"}}, json: 1, times: 60}}
    expect: {{outcome: enriched, stats: {{calls: 360}}}}
"""
    assert run(text)[0] == ExitCode.OK


def test_true_is_not_one(run: Run) -> None:
    text = (ONE % (GEO, f"records: [{ENRICHED}]")).replace("half: 0.5", "half: 1", 1)
    assert problems(run, text.replace("half: 0.5", "half: true")) == [
        "records[0].half: expected true, found 1"
    ]


def test_what_never_ends_is_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LONGEST", 0.2)
    text = """\
tests:
  - name: a job that is never over
    pipeline: job
    input: {records: [{n: 1}]}
    answers:
      - {request: {method: POST, url: "*"}, status: 202, headers: {Location: "/j/1"}}
      - {request: {method: GET, url: "*/j/1"}, status: 202}
    expect: {outcome: enriched}
"""
    assert problems(run, text) == ["not finished after 0.2 s"]
    assert run(text.replace("status: 202}", "json: 5}"))[0] == ExitCode.OK


def test_steps_that_call_no_host_can_be_answered_too(run: Run) -> None:
    text = """\
tests:
  - name: a program, a table and what is made of both
    pipeline: program
    input: {records: [{n: 1}, {n: 2}]}
    answers:
      - {step: twice, record: {n: 1}, json: {n: 2}}
      - {step: twice, record: {n: 2}, json: {n: 4}}
      - {step: table, json: {n: x}}
      - request: {method: POST, url: "http://h.example.org/${KEY}", body: {a: 2, b: [x]}}
        json: 11
      - {request: {url: "http://h.example.org/*", body: '{"a":4,"b":["x"]}'}, text: "22"}
    expect:
      records:
        - {n: 1, twice: {n: 2}, table: {n: x}, sum: 11}
        - {n: 2, twice: {n: 4}, table: {n: x}, sum: 22}
"""
    assert run(text) == (
        ExitCode.OK,
        ["a.test.yaml: ok: a program, a table and what is made of both", "1 test, ok"],
    )


def test_a_text_comes_in_and_out_as_it_is(run: Run) -> None:
    text = """\
tests:
  - name: a table
    pipeline: table
    input: {name: a.csv, text: "id;ip\\r\\n1;a\\r\\n"}
    answers: [{request: {url: "https://api.example.org/a"}, json: {c: X}}]
    expect: {text: "id;ip;geo.c;geo.error\\r\\n1;a;Y;\\r\\n"}
"""
    lines = problems(run, text)
    assert lines[0] == "text differs:"
    assert "-1;a;Y;\\r\\n" in lines and "+1;a;X;\\r\\n" in lines
    assert run(text.replace(";Y;", ";X;"))[0] == ExitCode.OK


def test_records_of_a_table_are_its_cells(run: Run) -> None:
    text = """\
tests:
  - name: a table
    pipeline: table
    input: {records: [{id: 1, ip: a}]}
    answers: [{request: {url: "https://api.example.org/a"}, json: {c: X}}]
    expect: {records: [{id: "1", ip: a, geo.c: X, geo.error: ""}]}
"""
    assert run(text)[0] == ExitCode.OK


def test_a_whole_payload_and_how_it_fails(run: Run) -> None:
    text = """\
tests:
  - name: good
    pipeline: whole
    input: {name: a.bin, text: in}
    answers: [{request: {method: POST, url: "http://h.example.org/a.bin", body: in}, text: out}]
    expect: {text: out}
  - name: bad
    pipeline: whole
    input: {name: a.bin, text: in}
    answers: [{request: {url: "*"}, status: 404}]
    expect: {error: "404 Not Found: *"}
  - name: wrong
    pipeline: whole
    input: {name: a.bin, text: in}
    answers: [{request: {url: "*"}, status: 404}]
    expect: {text: out}
"""
    code, lines = run(text)
    assert code == ExitCode.TEST
    assert lines[0:2] == ["a.test.yaml: ok: good", "a.test.yaml: ok: bad"]
    assert lines[3].startswith("    the payload failed: 404 Not Found: ")


def test_json_is_for_programs(run: Run) -> None:
    _, lines = run(ONE % (GEO, "outcome: partial"), "--json")
    report = json.loads("\n".join(lines))
    assert report["ok"] is False
    assert report["tests"][0]["name"] == "it works"
    assert report["tests"][0]["problems"] == ["outcome: expected partial, found enriched"]


def test_named_files_are_run_instead_of_those_beside_the_configuration(
    run: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(ONE % (GEO, "outcome: enriched"))
    assert run("tests: []\n", str(other))[1] == ["other.yaml: ok: it works", "1 test, ok"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: []\n", "1: tests: must not be empty; give it at least one item"),
        (ONE % (GEO, "outcom: x"), "6: tests[0].expect.outcom: unknown key; did you mean 'outcome'?"),
        (ONE % (GEO, ""), "6: tests[0].expect: expects nothing; give it outcome, records or text"),
        (ONE % ("{status: 200}", "outcome: enriched"), "5: tests[0].answers[0]: needs request or step"),
        (ONE % (GEO.replace("json:", "text: x, json:"), "outcome: failed"), "5: tests[0].answers[0].text: an answer has one body; remove either json or text"),
        (ONE.replace("input: {", "input: {text: x, ") % (GEO, "outcome: failed"), "4: tests[0].input.records: there is text already; remove one of the two"),
        (ONE % (GEO, "records: [{a: .nan}]"), "6: tests[0].expect.records[0]: has a number that JSON can't hold; write it as text or leave it out"),
        (ONE % (GEO, "text: a, records: []"), "6: tests[0].expect.records: there is text already; remove one of them"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_tests_is_answered_with_its_line(
    run: Run, tmp_path: Path, text: str, said: str
) -> None:
    assert run(text) == (ExitCode.CONFIG, [f"roundtrip: {tmp_path / 'a.test.yaml'}:{said}"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pipeline: ip", "pipeline: pi", "there is no pipeline 'pi'; there are: ip, spare, program, job, batch, whole, table"),
        ("pipeline: ip", "pipeline: whole", "input.records: this payload has a form of its own; give input.text"),
        ("answers: [", "answers: [{step: nope}, ", "answers: pipeline ip has no step 'nope'"),
        ("answers: [", "answers: [{step: geo}, ", "answers: step 'geo' is http; give request, with the URL that it calls"),
    ],
)  # fmt: skip
def test_a_test_that_doesnt_fit_its_pipeline_fails(run: Run, old: str, new: str, said: str) -> None:
    text = ONE % (GEO, "outcome: enriched")
    assert problems(run, text.replace(old, new)) == [said]


def test_no_tests_at_all_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "roundtrip.yaml").write_text(CONFIG)
    assert main(["config", "test", "--config", str(tmp_path / "roundtrip.yaml")]) == ExitCode.CONFIG
    said = f"roundtrip: {tmp_path}: no tests here; their files are named *.test.yaml\n"
    assert capsys.readouterr().err == said


def test_a_missing_file_of_tests_is_named(run: Run, tmp_path: Path) -> None:
    code, (line,) = run("", "none.yaml")
    assert code == ExitCode.CONFIG
    assert line == "roundtrip: none.yaml: can't be read: No such file or directory; check the name"


def test_a_batch_does_not_wait_for_more_records(run: Run) -> None:
    text = ONE % (
        '{request: {method: POST, url: "http://h.example.org/b"}, json: [7]}',
        "records: [{n: 1, b: 7}]",
    )
    code, lines = run(text.replace("pipeline: ip", "pipeline: batch").replace(INPUT, "{n: 1}"))
    assert code == ExitCode.OK, lines
