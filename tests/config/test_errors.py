"""Wrong files and the exact lines that they are answered with."""
# ruff: noqa: E501 - one file and its answer to a line read best

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.config import Settings, load
from roundtrip.config.loading import schema
from roundtrip.config.models import FileModel
from roundtrip.config.problems import keys_at
from roundtrip.config.settings import KeptFolder
from roundtrip.errors import ConfigError

STEP = "pipelines: {p: {steps: [{name: s, http: {url: 'http://h/'}%s}]}}"
HTTP = "pipelines: {p: {steps: [{name: s, http: {%s}}]}}"
AT = "pipelines.p.steps[0]"


def problems(tmp_path: Path, text: str | bytes, role: str = "a") -> list[str]:
    file = tmp_path / "r.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(file, role)
    assert all(line.startswith(f"{file}:") for line in caught.value.problems)
    return [line.removeprefix(f"{file}:") for line in caught.value.problems]


WRONG_KEYS = [
    ("rolle: a", "1: rolle: unknown key; did you mean 'role'?"),
    ("\n\nwatch:\n  bakend: poll", "4: watch.bakend: unknown key; did you mean 'backend'?"),
    ("log: {zzz: 1}", "1: log.zzz: unknown key; remove it, or use one of: level"),
    (HTTP % "url: 'http://h/', metod: GET", f"1: {AT}.http.metod: unknown key; did you mean 'method'?"),
    (STEP % ", retry: {max_dellay: 1}", f"1: {AT}.retry.max_dellay: unknown key; did you mean 'max_delay'?"),
    ("archive: {kep: 1d}", "1: archive.kep: unknown key; did you mean 'keep'?"),
    ("shares: {unenriched: {emptymarker: refuse}}", "1: shares.unenriched.emptymarker: unknown key; did you mean 'empty_marker'?"),
    ("'a.b': 1\n", '1: "a.b": unknown key; remove it, or use one of: '),
    (HTTP % "method: GET", f"1: {AT}.http.url: missing; this key is required"),
    ("pipelines:\n  p: {}", "2: pipelines.p.steps: missing; this key is required"),
    ("pipelines:\n  p:\n    steps:\n      - name: s\n        plugin: x", f"5: {AT}.plugin: a plugin is a python step here; write python: NAME"),
    ("pipelines:\n  p:\n    steps:\n      - name: s", f"4: {AT}: says not what is done; give it one of: http, command, python, lookup"),
    ("inbox: a\nlog: {}\ninbox: b", "3: inbox: duplicate key, already on line 1; remove one of the two"),
    ("- a\n- b", "1: must be a mapping of keys to values, not a list"),
    ("just text", "1: must be a mapping of keys to values, not text"),
    ("? [a]\n: 1", "1: a key is a list or a mapping; write a name"),
    ("log: &l {level: info}\nwatch: {<<: *l}", "2: watch: YAML 1.2 has no merge key (<<); write the keys out"),
    ("inbox: !!python/name:os.system x", "1: inbox: tag 'tag:yaml.org,2002:python/name:os.system' doesn't fit here; remove it"),
    ("log: !mine {level: info}", "1: log: tag '!mine' doesn't fit here; remove it"),
]  # fmt: skip

WRONG_VALUES = [
    ("role: c", "1: role: must be a or b, not 'c'"),
    ("durability: ful", "1: durability: must be result or full, not 'ful'; did you mean 'full'?"),
    ("inbox:\nfailed: f", "1: inbox: is empty; give it a value or remove the key"),
    ("inbox: ''", "1: inbox: is not a path; give a folder's or file's name"),
    ("inbox: 012", "1: inbox: must be text, not a number; put it in quotes"),
    ("inbox: ~nobody-here/x", "1: inbox: names a user that this host doesn't have; write the whole path"),
    ("outbox: [a]", "1: outbox: must be a path or a mapping, not a list"),
    ("archive: on\nfailed: 1", "2: failed: must be a path or a mapping, not 1"),
    ("archive: true", "1: archive: must be a path, a mapping or off, not true"),
    ("log: info", "1: log: must be a mapping of keys to values, not text"),
    ("watch: {backend: fanotyfi}", "1: watch.backend: must be auto, inotify, fanotify or poll, not 'fanotyfi'; did you mean 'fanotify'?"),
    ("watch: {interval: 0}", "1: watch.interval: must be more than zero"),
    ("timing: {grace: 1:30}", "1: timing.grace: '1:30' is not a duration; write it like 500ms, 10s, 5m, 2h or 7d"),
    ("timing: {grace: -1}", "1: timing.grace: -1 is negative; a duration is zero or more"),
    ("timing: {grace: true}", "1: timing.grace: true is not a duration; write it like 500ms, 10s, 5m, 2h or 7d"),
    ("timing: {grace: " + "9" * 5000 + "}", "1: timing.grace: inf is not a duration; write it like 500ms, 10s, 5m, 2h or 7d"),
    ("limits: {exchanges: 0}", "1: limits.exchanges: must be at least 1"),
    ("limits: {exchanges: 1" + "0" * 40 + "}", "1: limits.exchanges: must be at most 1000000"),
    ("limits: {attempts: 1.5}", "1: limits.attempts: must be a whole number, not 1.5"),
    ("limits: {payload: 10XB}", "1: limits.payload: '10XB' is not a size; write it like 64KiB, 10MB or 4096"),
    ("secrets: {'a b': x}", '1: secrets."a b": is not a secret\'s name; use letters, digits, \'_\', \'-\' and \'.\''),
    ("pipelines: {p: {steps: []}}", "1: pipelines.p.steps: must not be empty; give it at least one item"),
    ("pipelines: {p: {match: [''], steps: [{name: s, http: {url: 'http://h/'}}]}}", "1: pipelines.p.match[0]: is an empty glob and matches nothing; write '*' to match all"),
    ("pipelines: {p: {format: xlm, steps: [{name: s, http: {url: 'http://h/'}}]}}", "1: pipelines.p.format: must be auto, csv, tsv, json, jsonl, xml or raw, not 'xlm'; did you mean 'xml'?"),
    ("pipelines: {p/q: {steps: [{name: s, http: {url: 'http://h/'}}]}}", '1: pipelines."p/q": is not a usable name; use up to 64 letters, digits, \'_\', \'-\' and \'.\', beginning with a letter or digit'),
]  # fmt: skip

WRONG_STEPS = [
    (STEP % ", rate: 50", f"1: {AT}.rate: 50 is not a rate; write it like 50/s, 100/m, 1000/h or 10000/d"),
    (STEP % ", rate: 0/s", f"1: {AT}.rate: '0/s' would never call; a rate is at least 1"),
    (STEP % ", select: {c: 'a['}", f"1: {AT}.select.c: is not JMESPath: Invalid jmespath expression: Incomplete expression; see https://jmespath.org"),
    (STEP % ", select: {c: ''}", f"1: {AT}.select.c: is not JMESPath: "),
    (STEP % "}, {name: s, http: {url: 'http://h/'}", "1: pipelines.p.steps[1].name: 's' is already the name of steps[0]; choose another"),
    (STEP % "}, {name: t, into: s, http: {url: 'http://h/'}", "1: pipelines.p.steps[1].into: 's' is already where steps[0] writes; choose another"),
    (HTTP % "url: 'ftp://h/'", f"1: {AT}.http.url: must begin with http:// or https://"),
    (HTTP % "url: 'http://{host}/x'", f"1: {AT}.http.url: has a {{field}} in its host or port; fields may stand only in path and query"),
    (HTTP % "url: 'http://h:{port}/x'", f"1: {AT}.http.url: has a {{field}} in its host or port; fields may stand only in path and query"),
    (HTTP % "url: 'http://h{p}?x'", f"1: {AT}.http.url: has a {{field}} in its host or port; fields may stand only in path and query"),
    (HTTP % "url: '{scheme}://h/x'", f"1: {AT}.http.url: must begin with http:// or https://"),
    (HTTP % "url: 'http:///x'", f"1: {AT}.http.url: has no usable host or port; write it like https://api.example.org/ip/{{ip}}"),
    (HTTP % "url: 'http://h:99999/x'", f"1: {AT}.http.url: has no usable host or port; write it like https://api.example.org/ip/{{ip}}"),
    (HTTP % r"url: 'http://h\@evil/x'", f"1: {AT}.http.url: has a space, backslash or control character; percent-encode it"),
    (HTTP % "url: 'http://h/{ip!r}'", f"1: {AT}.http.url: has a brace that is not a {{field}}; a field is a name of letters, digits, '_', '-' and '.'"),
    (HTTP % "url: 'http://h/', query: {q: '{ip:>9}'}", f"1: {AT}.http.query.q: has a brace that is not a {{field}}; a field is a name of letters, digits, '_', '-' and '.'"),
    (HTTP % "url: 'http://h/', query: {q: '{a[0]}'}", f"1: {AT}.http.query.q: has a brace that is not a {{field}}; a field is a name of letters, digits, '_', '-' and '.'"),
    (HTTP % "url: 'http://h/', headers: {X: 12}", f"1: {AT}.http.headers.X: must be text, not a number; put it in quotes"),
    (HTTP % "url: 'http://h/', headers: {'X Y': a}", f"1: {AT}.http.headers.\"X Y\": is not a header's name; use letters, digits and '-'"),
    (HTTP % "url: 'http://h/', headers: {X: \"a\\nb\"}", f"1: {AT}.http.headers.X: has a line break or control character; a header's value is one line"),
    (HTTP % "url: 'http://h/', body: '${x'", f"1: {AT}.http.body: has '${{' without a secret's name and '}}'; write ${{NAME}}, or $${{ for a literal ${{"),
    (HTTP % "url: 'http://h/', json: {a: ['${X}']}", f"1: {AT}.http.json: has ${{...}}, which is not filled in here; use auth, headers, query or body"),
    (HTTP % "url: 'http://h/', json: {a: '{x!r}'}", f"1: {AT}.http.json: has a brace that is not a {{field}}; a field is a name of letters, digits, '_', '-' and '.'"),
    (HTTP % "url: 'http://h/', body: '{x[0]}'", f"1: {AT}.http.body: has a brace that is not a {{field}}; a field is a name of letters, digits, '_', '-' and '.'"),
    (HTTP % "url: 'http://h/{ip'", f"1: {AT}.http.url: has a brace that is not a {{field}}; a field is a name of letters, digits, '_', '-' and '.'"),
    (HTTP % "url: 'http://h/#{ip}'", f"1: {AT}.http.url: has a '#', and a fragment is never sent; write %23 for a literal one"),
    (HTTP % "url: 'http://h/', json: [.nan]", f"1: {AT}.http.json: has a number that JSON can't hold; write it as text or leave it out"),
    (HTTP % "url: 'http://h/', json: 1, body: x", f"1: {AT}.http.body: a request has one body; remove either json or body"),
    (HTTP % "url: 'http://h/', idempotent: yes", f"1: {AT}.http.idempotent: must be true or false, not 'yes'"),
    (HTTP % "url: 'http://h/', method: get", f"1: {AT}.http.method: must be GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS or QUERY, not 'get'; did you mean 'GET'?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG_KEYS + WRONG_VALUES + WRONG_STEPS)
def test_a_wrong_file_is_answered_with_one_line(tmp_path: Path, text: str, expected: str) -> None:
    (line,) = problems(tmp_path, text)
    if expected.endswith(": "):  # the rest is a long list, or another library's words
        assert line.startswith(expected)
    else:
        assert line == expected


NOT_YAML: list[tuple[str | bytes, str]] = [
    (
        "a: [1, 2",
        "2:1: not YAML: did not find expected ',' or ']', while parsing a flow sequence that began on line 1",
    ),
    ("a: b: c", "1:5: not YAML: mapping values are not allowed in this context"),
    ("a:\n\t- b", "2:1: not YAML: found character that cannot start any token, while scanning"),
    ("a: *nowhere", "1:4: not YAML: found undefined alias"),
    ("a: 1\n---\nb: 2", "2:1: not YAML: but found another document, expected a single document"),
    (b"role: a\ninbox: \xff", "2:8: not UTF-8; save the file as UTF-8"),
    ("inbox: a\nb: \x01", "2:4: not YAML: control characters are not allowed"),
    ("[" * 200_000, "1:51: nested more than 50 deep"),
    ("&a [*a]", "1:1: an alias that contains itself"),
    (" " * (1024 * 1024 + 1), " larger than 1048576 bytes; a configuration is a small file"),
]


@pytest.mark.parametrize(("text", "expected"), NOT_YAML)
def test_what_is_not_yaml_is_one_line_with_its_column(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    (line,) = problems(tmp_path, text)
    assert line.startswith(expected)


def test_a_billion_laughs_are_refused(tmp_path: Path) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    (line,) = problems(tmp_path, "\n".join(["l0: &l0 [a, a]", *levels]))
    assert "more than 20000 values; are aliases multiplied?" in line


def test_every_error_is_reported_at_once_in_the_files_order(tmp_path: Path) -> None:
    text = "log: {level: loud}\ninbox: 5\nrool: a\nlimits:\n  attempts: 0\n  answers: x\n"
    assert [line.split(": ")[:2] for line in problems(tmp_path, text, "b")] == [
        ["1", "pipelines"],
        ["1", "log.level"],
        ["2", "inbox"],
        ["3", "rool"],
        ["5", "limits.attempts"],
        ["6", "limits.answers"],
    ]


def test_no_sentence_is_pydantics(tmp_path: Path) -> None:
    for text, _ in WRONG_KEYS + WRONG_VALUES + WRONG_STEPS:
        (line,) = problems(tmp_path, text)
        assert "Input should" not in line and "pydantic" not in line and "\n" not in line
        assert "can't be used" not in line


def test_yaml_1_1_habits_stay_text(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("role: a\ninbox: no\nfailed: on\nstate: 1:30\narchive: 2024-01-01\n")
    settings = load(file)
    assert [p.name for p in (settings.inbox, settings.failed.path, settings.state)] == [
        "no",
        "on",
        "1:30",
    ]
    assert settings.archive == KeptFolder(tmp_path / "2024-01-01")


def test_012_is_twelve_as_in_yaml_1_2(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("role: a\nlimits: {attempts: 012, answers: 0x10, exchanges: 0o17}\n")
    limits = load(file).limits
    assert (limits.attempts, limits.answers, limits.exchanges) == (12, 16, 15)


def test_anchors_and_aliases_work(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    retry = "[{name: s, http: &h {url: 'http://h/'}}, {name: t, http: *h}]"
    file.write_text(f"role: b\npipelines: {{p: {{steps: {retry}}}}}\n")
    assert [step.action.url for step in load(file).pipelines[0].steps] == ["http://h/", "http://h/"]


def test_braces_in_a_body_are_ordinary_characters(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("role: b\n" + HTTP % "url: 'http://h/', body: '{\"ip\": \"{ip}\", {{x y}}}'")
    assert load(file).pipelines[0].steps[0].action.body == '{"ip": "{ip}", {{x y}}}'


def test_what_the_engine_refuses_is_an_error_for_role_b(tmp_path: Path) -> None:
    text = "pipelines:\n  p: {format: raw, steps: [{name: s, http: {url: 'http://h/'}}]}"
    assert problems(tmp_path, text, "b") == [
        "2: pipelines.p.steps[0].http.method: format raw sends the file; use POST, PUT or PATCH"
    ]


def test_the_keys_of_every_mapping_are_known_for_suggestions() -> None:
    assert keys_at(()) == list(FileModel.model_fields)
    assert keys_at(("archive",)) == ["keep", "size", "path"]
    assert "select" in keys_at(("pipelines", "p", "steps", 3))
    assert "json" in keys_at(("pipelines", "p", "steps", 3, "http"))


WORDS = """
role a b root shares unenriched enriched path outbox complete settle watch backend poll limits
payload 10MB timing grace 5m pipelines p steps name http url http://h/{x} headers select a.b c[
rate 50/s json archive off false secrets ${X} ~ .inf 1e999 0x_1 ? ! & * | > - [ ] { } , : # %
"""
words = st.sampled_from(WORDS.split())
texts = st.one_of(
    st.text(),
    st.lists(st.one_of(words, st.sampled_from([": ", "\n", "\n  ", "- "])), max_size=30).map(
        "".join
    ),
)
values = st.recursive(
    st.one_of(words, st.none(), st.booleans(), st.integers(), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)


def loads_or_refuses(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    for role in ("a", "b"):
        try:
            assert isinstance(load(file, role), Settings)
        except ConfigError as error:
            assert error.problems
            assert not any("\n" in line for line in error.problems)


@given(text=texts)
def test_any_text_loads_or_is_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    loads_or_refuses(file, text.encode("utf-8", "surrogatepass"))


@given(content=st.binary(max_size=200))
def test_any_bytes_load_or_are_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    loads_or_refuses(tmp_path_factory.getbasetemp() / "any.yaml", content)


@given(key=st.sampled_from(list(FileModel.model_fields)), value=values)
def test_any_value_of_any_key_loads_or_is_refused(
    key: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import yaml

    text = yaml.safe_dump({key: value}, allow_unicode=True)
    loads_or_refuses(tmp_path_factory.getbasetemp() / "any.yaml", text.encode())


def test_the_schema_is_one_document_for_editors() -> None:
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema()["additionalProperties"] is False
