"""What pipelines are told to do: plain, frozen values that config/ builds and enrich/ obeys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed call is tried again; times in seconds.

    `attempts` counts tries in all; a postponed try (Retry-After, an open circuit) is none.
    `patience` is how long a call may be postponed before its record fails.
    """

    attempts: int = 5
    max_delay: float = 60.0
    patience: float = 3600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `calls` calls in each `seconds` seconds."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Quota:
    """The most calls in each minute, day and month of UTC's calendar; None: no bound."""

    minute: int | None = None
    day: int | None = None
    month: int | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """After `failures` failed calls in a row, none is made for `pause` seconds, then a probe.

    Each failed probe doubles the pause, up to `max_pause` seconds. 0 failures: no breaker.
    """

    failures: int = 20
    pause: float = 10.0
    max_pause: float = 300.0


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What holds for every step that calls this host; each credential has its own count.

    `private`: its name may resolve to a loopback, link-local or private address. `ca`, `cert` and
    `key` are files (PEM) for TLS. `proxy` is an http:// URL.
    """

    name: str  # lower case; `host` or `host:port`
    concurrency: int | None = None
    rate: Rate | None = None
    quota: Quota = Quota()
    breaker: Breaker = Breaker()
    adaptive: bool = True
    private: bool = False
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Auth:
    """How a call shows who is calling. Every text but `kind`, `name` and `place` is a secret.

    kind `basic`: `user`, `secret`; `bearer`: `secret`; `key`: header or query parameter `name`,
    as `place` says, with `secret`; `oauth2` (client credentials, RFC 6749 section 4.4): a token
    from `token_url` for `user` and `secret`, with `scope` and `audience` if given.
    """

    kind: str  # basic | bearer | key | oauth2
    secret: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    name: str = "X-Api-Key"
    place: str = "header"  # header | query
    token_url: str = ""
    scope: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True)
class Pages:
    """How the following pages of an answer are found; their items make one list.

    `items` is a JMESPath to a page's list. One of: `next` is `link` (RFC 8288, rel=next) or a
    JMESPath to the next page's URL; `cursor` is a JMESPath to a value that query parameter `param`
    carries; neither: `param` counts pages from `first` until one is empty.
    """

    items: str = "@"
    next: str | None = None
    cursor: str | None = None
    param: str = "page"
    first: int = 1
    most: int = 100  # pages of one answer; more is an error


@dataclass(frozen=True, slots=True)
class Job:
    """How to wait for an asynchronous API: submit once, then poll until it is finished.

    The place to poll is `url` (a template over the submission's answer, `{id}`), else the answer's
    Location header. `status` is a JMESPath over a poll's answer: a value in `done` ends it well,
    one in `failed` badly; without it a 202 means "not yet" and 200 or 303 "done". `result` is a
    template of the URL to fetch the result from; without it, it is the last poll's answer.
    """

    url: str | None = None
    status: str | None = None
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    result: str | None = None
    every: float = 10.0  # seconds between polls, unless Retry-After says another
    within: float = 30 * 86400.0  # seconds


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """An HTTP call for each record (for a batch of them, or for a whole payload of format raw).

    `url`, `query` values, `headers` values, `form` values and `body` may hold `{field}` templates;
    secrets in them have been put in already. At most one of `json`, `form` and `body` is given;
    without any, a method with content sends the step's `send` fields as a JSON object.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    query: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    json: object | None = None
    form: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    body: str | None = field(default=None, repr=False)  # may hold secrets
    auth: Auth | None = None
    pages: Pages | None = None
    job: Job | None = None
    idempotent: bool | None = None  # None: by method (RFC 9110 section 9.2.2)
    idempotency_key: str | None = "Idempotency-Key"  # header of calls that aren't idempotent
    max_response: int = 64 * 1024 * 1024  # bytes of one answer, decoded; format raw has no bound


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """A program, run without a shell. `{field}` in an argument becomes part of that argument.

    With `batch`, the records come on stdin as JSON Lines and the results are expected on stdout in
    the same order; without, one JSON object comes and one JSON value is expected. Format raw: the
    payload comes on stdin, and stdout is the result. `shell` is a text for bash(1) instead; no
    field goes into it. `progress` is a regular expression with one group, the percentage in a line
    of stderr.
    """

    run: tuple[str, ...] = ()
    shell: str | None = None
    progress: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    memory: int | None = None  # bytes of address space
    max_output: int = 64 * 1024 * 1024  # bytes; format raw has no bound

    @property
    def words(self) -> tuple[str, ...]:
        """The program and its arguments; of bash, all but the text that comes last."""
        # A job fails when any part of its pipeline does.
        return self.run if self.shell is None else ("bash", "-o", "pipefail", "-c")


@dataclass(frozen=True, slots=True)
class PythonSettings:
    """An async function `f(record, **options)`, by its entry point in group roundtrip.steps."""

    use: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LookupSettings:
    """A local file as a table: `.csv`, `.tsv`, SQLite (`table`) or MaxMind (`.mmdb`).

    `key` is a template; the row whose `column` equals it is the answer. MaxMind needs no column.
    """

    file: str
    key: str
    column: str | None = None
    table: str | None = None
    missing: str = "null"  # null | error: what an unknown key means


@dataclass(frozen=True, slots=True)
class Batch:
    """Many records in one call.

    `item` is a JSON template of what one record sends; without it, its `send` fields as an object.
    The list of items stands where the step says `{batch}`, else it is the whole body. `results` is
    a JMESPath to the answers in the answer. They belong to the records `by` position, or `by` the
    value that this JMESPath finds in each, which must equal the record's `key` template; `by`
    `keys` means that the answers are an object and its member names are the keys.
    """

    size: int
    by: str = "position"
    key: str | None = None
    item: object | None = None
    results: str = "@"
    linger: float = 0.02  # seconds to wait for more records before a batch goes


Action = HttpSettings | CommandSettings | PythonSettings | LookupSettings


@dataclass(frozen=True, slots=True)
class StepSettings:
    """One enrichment. `select` maps an output field to a JMESPath over the answer.

    `needs` names steps that must have ended before; those whose results its templates name are
    waited for anyway. `when` is a JMESPath over the record: false skips the step. `fallback` names
    the step that is tried when this one fails; it runs for nothing else, and its answer goes where
    this one's would. `send` lists the only fields that may leave the host; None: those that the
    templates name; `*` among them: all that the record came with.
    """

    name: str
    action: Action
    select: Mapping[str, str] = field(default_factory=dict)
    into: str | None = None  # default: the step's name
    on_error: str = "annotate"  # annotate | drop | fail
    needs: tuple[str, ...] = ()
    when: str | None = None
    fallback: str | None = None
    send: tuple[str, ...] | None = None
    batch: Batch | None = None
    cache: float | None = None  # seconds an answer may be reused; None: only within one payload
    rate: Rate | None = None
    quota: Quota = Quota()
    concurrency: int = 20
    timeout: float = 30.0
    retry: Retry = field(default_factory=Retry)


@dataclass(frozen=True, slots=True)
class Csv:
    """How a table is written; None: detected. `header` names the columns of a file without any."""

    delimiter: str | None = None
    quote: str = '"'
    encoding: str | None = None
    header: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Formats:
    """What is known of a payload's format beforehand.

    `json_path` is the way to the array of records in a JSON document (`data.items`); `xml_record`
    the name of the element that is repeated (`invoice`, or a way: `orders/order`).
    """

    csv: Csv = Csv()
    json_path: str | None = None
    xml_record: str | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A named graph of steps, and the original names (globs) that it is for."""

    name: str
    steps: tuple[StepSettings, ...]
    match: tuple[str, ...] = ("*",)
    format: str = "auto"  # auto | csv | tsv | json | jsonl | xml | raw
    formats: Formats = Formats()
