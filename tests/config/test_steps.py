"""The keys of steps and hosts: what they become, and what is said when they don't go together."""
# ruff: noqa: E501 - one file and its answer to a line read best

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from roundtrip.config import Settings, load
from roundtrip.enrich.settings import (
    Auth,
    Batch,
    Breaker,
    CommandSettings,
    Csv,
    Formats,
    HostSettings,
    HttpSettings,
    Job,
    LookupSettings,
    Pages,
    PythonSettings,
    Quota,
    Rate,
    Retry,
    StepSettings,
)
from roundtrip.errors import ConfigError

Loaded = Callable[[str], Settings]
AT = "pipelines.p.steps[0]"
GET = "http: {url: 'http://h/{ip}'}"


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.setenv("S", "s3{x}cret")
    monkeypatch.setenv("T", "t0ken")

    def loaded(text: str) -> Settings:
        file = tmp_path / "r.yaml"
        file.write_text("role: b\n" + text)
        return load(file)

    return loaded


def steps(text: str) -> str:
    """A file with one pipeline of steps, its keys on line 2."""
    return f"pipelines: {{p: {{steps: [{text}]}}}}\n"


def step(loaded: Loaded, text: str) -> StepSettings:
    return loaded(steps(f"{{name: s, {text}}}")).pipelines[0].steps[0]


def http(loaded: Loaded, text: str) -> HttpSettings:
    action = step(loaded, f"http: {{url: 'http://h/', {text}}}").action
    assert isinstance(action, HttpSettings)
    return action


def test_every_key_of_a_step_gets_where_the_engine_reads_it(loaded: Loaded) -> None:
    text = (
        f"{{name: s, {GET}, select: {{a: b}}, into: i, on_error: drop, needs: [t], when: 'x', fallback: u, send: [ip, '*'],"
        " cache: 1h, rate: 5/s, quota: {minute: 1, day: 2, month: 3}, concurrency: 7, timeout: 8s,"
        " retry: {attempts: 9, max_delay: 10s, patience: 11s}},"
        f"{{name: t, {GET}}}, {{name: u, {GET}}}"
    )
    found = loaded(steps(text)).pipelines[0].steps[0]
    assert found == StepSettings(
        name="s",
        action=HttpSettings("http://h/{ip}"),
        select={"a": "b"},
        into="i",
        on_error="drop",
        needs=("t",),
        when="x",
        fallback="u",
        send=("ip", "*"),
        cache=3600.0,
        rate=Rate(5, 1.0),
        quota=Quota(1, 2, 3),
        concurrency=7,
        timeout=8.0,
        retry=Retry(9, 10.0, 11.0),
    )


@pytest.mark.parametrize(
    ("text", "auth"),
    [
        ("basic: {user: '${T}', password: '${S}'}", Auth("basic", user="t0ken", secret="s3{x}cret")),
        ("bearer: '${T}'", Auth("bearer", secret="t0ken")),
        ("key: {value: '${T}'}", Auth("key", secret="t0ken", name="X-Api-Key", place="header")),
        ("key: {value: '${T}', name: k, in: query}", Auth("key", secret="t0ken", name="k", place="query")),
        (
            "oauth2: {token_url: 'http://l/${T}', client_id: i, client_secret: '${T}', scope: s, audience: a}",
            Auth("oauth2", secret="t0ken", user="i", token_url="http://l/t0ken", scope="s", audience="a"),
        ),
    ],
)  # fmt: skip
def test_each_way_to_say_who_is_calling(loaded: Loaded, text: str, auth: Auth) -> None:
    assert http(loaded, f"auth: {{{text}}}").auth == auth
    assert "t0ken" not in repr(http(loaded, f"auth: {{{text}}}").headers)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("form: {a: '{b}${T}'}, method: POST", "form", {"a": "{b}t0ken"}),
        ("idempotency_key: off", "idempotency_key", None),
        ("idempotency_key: false", "idempotency_key", None),
        ("idempotency_key: X-Once", "idempotency_key", "X-Once"),
        ("max_response: 1KiB", "max_response", 1024),
        ("pages: {items: a.b, next: link, most: 3}", "pages", Pages("a.b", "link", most=3)),
        ("pages: {cursor: c, param: d}", "pages", Pages(cursor="c", param="d")),
        ("pages: {first: 0}", "pages", Pages(first=0)),
        ("job: {}", "job", Job()),
        (
            "job: {url: '/j/{id}', status: s, done: [d], failed: [f], result: '{link}', every: 1s, within: 2h}",
            "job",
            Job("/j/{id}", "s", ("d",), ("f",), "{link}", 1.0, 7200.0),
        ),
    ],
)  # fmt: skip
def test_each_key_of_a_request(loaded: Loaded, text: str, key: str, value: object) -> None:
    assert getattr(http(loaded, text), key) == value


def test_a_batch_in_all_its_keys(loaded: Loaded) -> None:
    text = "http: {url: 'http://h/', method: POST}, batch: {size: 3, by: a.b, key: '{i}', item: {x: '{i}'}, results: r, linger: 1s}"
    assert step(loaded, text).batch == Batch(3, "a.b", "{i}", {"x": "{i}"}, "r", 1.0)


def test_a_command_short_and_long(loaded: Loaded) -> None:
    assert step(loaded, "command: [a, '{b}']").action == CommandSettings(("a", "{b}"))
    long = "command: {run: [a], environment: {_K: '${S}'}, memory: 1MB, max_output: 2kB}"
    assert step(loaded, long).action == CommandSettings(
        ("a",), environment={"_K": "s3{x}cret"}, memory=10**6, max_output=2000
    )
    assert "cret" not in repr(step(loaded, long).action)


def test_a_python_function_short_and_long(loaded: Loaded) -> None:
    assert step(loaded, "python: f").action == PythonSettings("f")
    assert step(loaded, "python: {use: f, options: {a: [1]}}").action == PythonSettings("f", {"a": [1]})  # fmt: skip


def test_a_tables_file_is_below_the_root(loaded: Loaded, tmp_path: Path) -> None:
    found = step(loaded, "lookup: {file: t/x.csv, key: '{k}', column: c, missing: null}")
    assert found.action == LookupSettings(str(tmp_path / "t/x.csv"), "{k}", "c")
    sqlite = step(loaded, "lookup: {file: /x.db, key: '{k}', column: c, table: t, missing: error}")
    assert sqlite.action == LookupSettings("/x.db", "{k}", "c", "t", "error")


def test_what_is_known_of_a_format(loaded: Loaded) -> None:
    one = f"steps: [{{name: s, {GET}}}]"
    text = f"pipelines: {{p: {{csv: {{delimiter: ';', quote: '|', encoding: cp1252, header: [a, b]}}, json: {{path: a.b}}, xml: {{record: x/y}}, {one}}}, q: {{format: tsv, {one}}}}}"
    pipelines = loaded(text).pipelines
    assert pipelines[0].formats == Formats(Csv(";", "|", "cp1252", ("a", "b")), "a.b", "x/y")
    assert (pipelines[1].format, pipelines[1].formats) == ("tsv", Formats())


def test_hosts_cache_and_metrics(loaded: Loaded, tmp_path: Path) -> None:
    hosts = (
        "hosts: {API.example.org: {concurrency: 1, rate: 2/s, quota: {day: 3}, breaker: {failures: 4, pause: 5s, max_pause: 6s},"
        " adaptive: false, private: true, proxy: 'http://u:${S}@p:1', ca: a, cert: c, key: /k}, 'h:80': {breaker: off}}\n"
    )
    settings = loaded(
        hosts + "cache: {size: 1kB}\nmetrics: {listen: '[::1]:9464'}\n" + steps(f"{{name: s, {GET}}}")
    )  # fmt: skip
    first, second = settings.hosts.values()
    assert first == settings.hosts["api.example.org"] == HostSettings(
        "api.example.org", 1, Rate(2, 1.0), Quota(day=3), Breaker(4, 5.0, 6.0), False, True,
        "http://u:s3{x}cret@p:1", str(tmp_path / "a"), str(tmp_path / "c"), "/k",
    )  # fmt: skip
    assert (second.name, second.breaker.failures) == ("h:80", 0)
    assert (settings.cache_size, settings.metrics_listen) == (1000, "[::1]:9464")
    assert "cret" not in repr(settings)


def test_without_them_there_are_no_hosts_and_no_metrics(loaded: Loaded) -> None:
    settings = loaded(steps(f"{{name: s, {GET}}}"))
    assert (settings.hosts, settings.cache_size, settings.metrics_listen) == ({}, 2**30, None)


POST = "http: {url: 'http://h/', method: POST}"
SAYS_NOT = "add send: [field, ...], or send: ['*'] for the whole record"
WRONG = [
    # kinds
    (f"name: s, {GET}, command: [a]", f"{AT}.command: a step does one thing, and this one has http; remove one of the two"),
    ("name: s, command: x", f"{AT}.command: must be a list like [program, argument] or a mapping, not 'x'"),
    ("name: s, command: []", f"{AT}.command.run: must not be empty; give it at least one item"),
    ("name: s, command: [a, '${S}']", f"{AT}.command.run[1]: has ${{...}}, which is not filled in here: others could see it"),
    ("name: s, command: {run: [a], environment: {a-b: c}}", f"{AT}.command.environment.a-b: is not a variable's name; use letters, digits and '_'"),
    ("name: s, python: [a]", f"{AT}.python: must be a name or a mapping, not a list"),
    ("name: s, http: ~", f"{AT}: says not what is done; give it one of: http, command, python, lookup"),
    # other steps
    (f"name: s, {GET}, needs: [s]", f"{AT}.needs[0]: is this step itself; name another one"),
    (f"name: s, {GET}, needs: [ss]", f"{AT}.needs[0]: no step is named 'ss'; did you mean 's'?"),
    (f"name: s, {GET}, fallback: zzz", f"{AT}.fallback: no step is named 'zzz'; there are: s"),
    (f"name: s, {GET}, needs: [t]}}, {{name: t, {GET}, needs: [s]", "pipelines.p.steps: these steps wait for each other: s -> t -> s"),
    (f"name: s, {GET}, needs: [t]}}, {{name: t, http: {{url: 'http://h/{{s.x}}'}}", "pipelines.p.steps: these steps wait for each other: s -> t -> s"),
    (f"name: s, {GET}, fallback: t}}, {{name: t, {GET}}}, {{name: u, {GET}, needs: [t]", "pipelines.p.steps: step u: it needs 't', which is only a fallback"),
    (f"name: s, {GET}, when: 'a['", f"{AT}.when: is not JMESPath: Invalid jmespath expression: Incomplete expression; see https://jmespath.org"),
    # what is sent
    (f"name: s, {POST}", f"{AT}.http.method: says not what to send: {SAYS_NOT}"),
    (f"name: s, {GET}, send: [id]", f"{AT}.http.url: {{ip}} is named in url but not listed in send"),
    ("name: s, http: {url: 'http://h/', headers: {X-A: '{a.b}'}}, send: [a.c]", f"{AT}.http.headers.X-A: {{a.b}} is named in X-A but not listed in send"),
    ("name: s, http: {url: 'http://h/', method: POST, json: [{a: '{b}'}]}, send: [c]", f"{AT}.http.json: {{b}} is named in json but not listed in send"),
    ("name: s, command: [a, '{b}'], send: [c]", f"{AT}.command.run[1]: {{b}} is named in run but not listed in send"),
    (f"name: s, {GET}, send: ['{{ip}}']", f"{AT}.send[0]: is not a field's name; write it without braces, or '*' for all fields"),
    ("name: s, lookup: {file: a.csv, key: '{k}', column: c}, send: [k]", f"{AT}.send: a lookup sends nothing; remove it"),
    # requests
    ("name: s, http: {url: 'http://h/', method: POST, json: 1, form: {a: b}}", f"{AT}.http.form: a request has one body; remove either json or form"),
    ("name: s, http: {url: 'http://h/', auth: {}}", f"{AT}.http.auth: says not how; give it one of: basic, bearer, key, oauth2"),
    ("name: s, http: {url: 'http://h/', auth: {bearer: x, key: {value: y}}}", f"{AT}.http.auth.key: there is bearer already; remove one of the two"),
    ("name: s, http: {url: 'http://h/', auth: {baerer: x}}", f"{AT}.http.auth.baerer: unknown key; did you mean 'bearer'?"),
    ("name: s, http: {url: 'http://h/', auth: {bearer: '{x}'}}", f"{AT}.http.auth.bearer: has a {{field}}, and a record can't choose this; write it out, or ${{NAME}}"),
    ("name: s, http: {url: 'http://h/', auth: {oauth2: {token_url: 'ftp://h', client_id: a, client_secret: b}}}", f"{AT}.http.auth.oauth2.token_url: must begin with http:// or https://"),
    ("name: s, http: {url: 'http://h/', pages: {next: a, cursor: b}}", f"{AT}.http.pages.cursor: has no use together with next; remove it"),
    ("name: s, http: {url: 'http://h/', pages: {cursor: b, first: 1}}", f"{AT}.http.pages.first: has no use together with cursor; remove it"),
    ("name: s, http: {url: 'http://h/', pages: {items: a}, job: {every: 1s}}", f"{AT}.http.pages: the answer of a job has no pages; remove one of the two"),
    ("name: s, http: {url: 'http://h/', job: {status: a}}", f"{AT}.http.job.status: never ends well; name the states that do: done: [...]"),
    ("name: s, http: {url: 'http://h/', job: {failed: [a]}}", f"{AT}.http.job.failed: needs status: a JMESPath to the job's state"),
    ("name: s, http: {url: 'http://h/', job: {url: 'j/{id}'}}", f"{AT}.http.job.url: must begin with http:// or https://"),
    ("name: s, http: {url: 'http://h/', idempotency_key: a b}", f"{AT}.http.idempotency_key: is not a header's name; use letters, digits and '-'"),
    ("name: s, http: {url: 'http://h/', max_response: 0}", f"{AT}.http.max_response: must be more than zero"),
    # batches
    (f"name: s, {POST}, batch: {{size: 2}}", f"{AT}.batch: says not what a record sends: add item to it, or send: [field, ...], or send: ['*'] for the whole record"),
    (f"name: s, {POST}, batch: {{size: 0, item: 1}}", f"{AT}.batch.size: must be at least 1"),
    (f"name: s, {POST}, batch: {{size: 2, item: 1, by: keys}}", f"{AT}.batch.by: needs key: a template of what each record's answer is known by, like '{{id}}'"),
    ("name: s, http: {url: 'http://h/'}, batch: {size: 2, item: 1}", f"{AT}.batch: its records have no place in the request; write {{batch}} where"),
    ("name: s, http: {url: 'http://h/', method: POST, json: {a: 1}}, batch: {size: 2, item: 1}", f"{AT}.batch: its records have no place in the request; write {{batch}} where"),
    ("name: s, command: [a, '{b}'], batch: {size: 2}", f"{AT}.command.run[1]: {{b}} is one record's, and a batch has many; name it in batch.item"),
    ("name: s, python: f, batch: {size: 2}", f"{AT}.batch: a python step takes one record at a time; remove batch"),
    ("name: s, http: {url: 'http://h/{batch}', pages: {items: a}}, batch: {size: 2, key: '{k}'}", f"{AT}.http.pages: can't be together with batch; remove one of the two"),
    # tables
    ("name: s, lookup: {file: a.csv, key: '{k}'}", f"{AT}.lookup: needs column: the name of the column that the key is looked for in"),
    ("name: s, lookup: {file: a.mmdb, key: '{k}', column: c}", f"{AT}.lookup.column: has no meaning for a file of this kind; remove it"),
    ("name: s, lookup: {file: a.csv, key: '{k}', column: c, table: t}", f"{AT}.lookup.table: has no meaning for a file of this kind; remove it"),
    # numbers
    (f"name: s, {GET}, quota: {{day: 0}}", f"{AT}.quota.day: must be at least 1"),
    (f"name: s, {GET}, retry: {{patients: 1h}}", f"{AT}.retry.patients: unknown key; did you mean 'patience'?"),
]  # fmt: skip


def problems(loaded: Loaded, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    return [line.split(":", 1)[1] for line in caught.value.problems]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_steps_that_cant_work_are_one_line(loaded: Loaded, text: str, expected: str) -> None:
    assert problems(loaded, steps(f"{{{text}}}")) == [f"2: {expected}"]


@pytest.mark.parametrize("send", ["[ip.a.b]", "[ip]", "[x, ip.a]", "['*']"])
def test_what_lies_inside_a_field_that_is_sent_may_be_named(loaded: Loaded, send: str) -> None:
    text = f"{{name: s, http: {{url: 'http://h/{{ip.a.b}}'}}, send: {send}}}"
    assert loaded(steps(text)).pipelines[0].steps[0].send


def test_a_field_of_one_record_in_a_batchs_url_is_refused_with_the_missing_place(
    loaded: Loaded,
) -> None:
    text = f"{{name: s, {GET}, batch: {{size: 2, item: 1}}}}"
    assert problems(loaded, steps(text)) == [
        f"2: {AT}.http.url: {{ip}} is one record's, and a batch has many; name it in batch.item",
        f"2: {AT}.batch: its records have no place in the request; write {{batch}} where",
    ]


RAW = "http: {url: 'http://h/', method: POST}"
WRONG_RAW = [
    ("http: {url: 'http://h/'}", "http.method: format raw sends the file; use POST, PUT or PATCH"),
    ("http: {url: 'http://h/{ip}', method: PUT}", "http.url: format raw has no record fields, only {name}; remove {ip}"),
    ("http: {url: 'http://h/{name}', method: PUT, pages: {items: a}}", "http.pages: format raw takes the answer as it is; remove it"),
    ("python: f", "python: format raw has no records; use http or command"),
    (f"{RAW}, when: a", "when: format raw has no records; remove it"),
    (f"{RAW}, select: {{a: b}}", "select: format raw has no records; remove it"),
    (f"{RAW}, send: [a]", "send: format raw has no records; remove it"),
    ("command: [a], batch: {size: 2}", "batch: format raw has no records; remove it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG_RAW)
def test_format_raw_has_no_records(loaded: Loaded, text: str, expected: str) -> None:
    file = f"pipelines: {{p: {{format: raw, steps: [{{name: s, {text}}}]}}}}"
    assert problems(loaded, file) == [f"2: {AT}.{expected}"]


def test_format_raw_takes_a_method_with_content_and_a_command(loaded: Loaded) -> None:
    two = "[{name: s, http: {url: 'http://h/{name}', method: POST}}, {name: t, command: [a, '{name}']}]"
    assert loaded(f"pipelines: {{p: {{format: raw, steps: {two}}}}}").pipelines[0].format == "raw"


FORMATS = [
    ("format: csv, json: {path: a}", "pipelines.p.json: says nothing about format csv; remove one of the two"),
    ("format: raw, csv: {quote: x}", "pipelines.p.csv: says nothing about format raw; remove one of the two"),
    ("csv: {delimiter: ';;'}", "pipelines.p.csv.delimiter: ';;' is not one character; write it like \";\", or \"\\t\" for a tab"),
    ("csv: {delimiter: '\"'}", "pipelines.p.csv.delimiter: is the same as quote; they must differ"),
    ("csv: {encoding: utf9}", "pipelines.p.csv.encoding: 'utf9' is not a known encoding; write it like utf-8, latin-1 or cp1252"),
    ("csv: {encoding: hex}", "pipelines.p.csv.encoding: 'hex' is not a known encoding; write it like utf-8, latin-1 or cp1252"),
    ("csv: {header: [a, b, a]}", "pipelines.p.csv.header: has 'a' twice; columns need different names"),
    ("json: {path: 'a..b'}", "pipelines.p.json.path: 'a..b' is not the way to an array; write it like data.items"),
    ("xml: {record: '<a>'}", "pipelines.p.xml.record: '<a>' is not an element; write it like invoice or orders/order"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FORMATS)
def test_a_format_that_cant_be_is_one_line(loaded: Loaded, text: str, expected: str) -> None:
    post = "http: {url: 'http://h/', method: POST, body: x}"
    file = f"pipelines: {{p: {{{text}, steps: [{{name: s, {post}}}]}}}}"
    assert problems(loaded, file) == [f"2: {expected}"]


HOSTS = [
    ("hosts: {'http://h': {}}", 'hosts."http://h": is not a host; write its name only, without http:// and path'),
    ("hosts: {'a b': {}}", 'hosts."a b": is not a host; write it like api.example.org or 10.0.0.1:8080'),
    ("hosts: {'h:0': {}}", 'hosts."h:0": is not a host; write it like api.example.org or 10.0.0.1:8080'),
    ("hosts: {A.b: {}, a.B: {}}", "hosts.\"a.B\": is the same host as 'A.b'; put all of it in one place"),
    ("hosts: {h: {cert: c}}", "hosts.h.cert: needs key: a certificate and its key go together"),
    ("hosts: {h: {breaker: on}}", "hosts.h.breaker: must be a mapping or off, not 'on'"),
    ("hosts: {h: {rates: 5/s}}", "hosts.h.rates: unknown key; did you mean 'rate'?"),
    ("hosts: {h: {breaker: {failure: 1}}}", "hosts.h.breaker.failure: unknown key; did you mean 'failures'?"),
    ("hosts: {h: {proxy: 'http://${NONE}'}}", "hosts.h.proxy: the secret NONE is nowhere; set the environment variable NONE, pass a systemd credential NONE, or name its file below 'secrets:'"),
    ("cache: {size: 0}", "cache.size: must be more than zero"),
    ("metrics: {listen: 9464}", "metrics.listen: must be text, not a number; put it in quotes"),
    ("metrics: {listen: ':9464'}", "metrics.listen: ':9464' is not HOST:PORT; write it like 127.0.0.1:9464"),
    ("metrics: {listen: '127.0.0.1:99999'}", "metrics.listen: '127.0.0.1:99999' is not HOST:PORT; write it like 127.0.0.1:9464"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), HOSTS)
def test_hosts_that_cant_be_are_one_line(loaded: Loaded, text: str, expected: str) -> None:
    assert problems(loaded, f"{text}\n" + steps(f"{{name: s, {GET}}}")) == [f"2: {expected}"]
