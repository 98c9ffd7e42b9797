"""From a valid file to the settings of its pipelines and hosts."""

from __future__ import annotations

from roundtrip.config.document import Path as Keys
from roundtrip.config.filling import Filling
from roundtrip.config.host_models import HostModel, QuotaModel
from roundtrip.config.http_models import AuthModel, HttpModel, JobModel, PagesModel
from roundtrip.config.step_models import (
    BatchModel,
    CommandModel,
    LookupModel,
    PipelineModel,
    StepModel,
)
from roundtrip.enrich.settings import (
    Action,
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
    Pipeline,
    PythonSettings,
    Quota,
    Retry,
    StepSettings,
)


def pipeline(filling: Filling, name: str, model: PipelineModel) -> Pipeline:
    """Return one pipeline."""
    keys: Keys = ("pipelines", name, "steps")
    csv = model.csv
    return Pipeline(
        name=name,
        steps=tuple(_step(filling, (*keys, at), step) for at, step in enumerate(model.steps)),
        match=tuple(model.match),
        format=model.format,
        formats=Formats(
            csv=Csv(csv.delimiter, csv.quote, csv.encoding, tuple(csv.header)),
            json_path=model.json_.path,
            xml_record=model.xml.record,
        ),
    )


def host(filling: Filling, name: str, model: HostModel) -> HostSettings:
    """Return what holds for one host."""
    keys: Keys = ("hosts", name)
    breaker = model.breaker
    return HostSettings(
        name=name,
        concurrency=model.concurrency,
        rate=model.rate,
        quota=_quota(model.quota),
        breaker=Breaker(**breaker.model_dump()) if breaker else Breaker(failures=0),
        adaptive=model.adaptive,
        private=model.private,
        proxy=None if model.proxy is None else filling.local((*keys, "proxy"), model.proxy),
        ca=filling.file((*keys, "ca"), model.ca),
        cert=filling.file((*keys, "cert"), model.cert),
        key=filling.file((*keys, "key"), model.key),
    )


def _quota(model: QuotaModel) -> Quota:
    return Quota(model.minute, model.day, model.month)


def _step(filling: Filling, keys: Keys, model: StepModel) -> StepSettings:
    """A step; its `{field}` templates stay, its secrets are filled in."""
    retry = model.retry
    return StepSettings(
        name=model.name,
        action=_action(filling, keys, model),
        select=dict(model.select),
        into=model.into,
        on_error=model.on_error,
        needs=tuple(model.needs),
        when=model.when,
        fallback=model.fallback,
        send=None if model.send is None else tuple(model.send),
        batch=None if model.batch is None else _batch(model.batch),
        cache=model.cache,
        rate=model.rate,
        quota=_quota(model.quota),
        concurrency=model.concurrency,
        timeout=model.timeout,
        retry=Retry(retry.attempts, retry.max_delay, retry.patience),
    )


def _action(filling: Filling, keys: Keys, model: StepModel) -> Action:
    if model.command is not None:
        return _command(filling, (*keys, "command"), model.command)
    if model.python is not None:
        return PythonSettings(model.python.use, model.python.options)
    if model.lookup is not None:
        return _lookup(filling, (*keys, "lookup"), model.lookup)
    if model.http is not None:
        return _http(filling, (*keys, "http"), model.http)
    return HttpSettings(url="")  # the check between keys has said that a kind is missing


def _http(filling: Filling, keys: Keys, model: HttpModel) -> HttpSettings:
    key = model.idempotency_key
    return HttpSettings(
        url=filling.url((*keys, "url"), model.url),
        method=model.method,
        headers=filling.each((*keys, "headers"), model.headers),
        query=filling.each((*keys, "query"), model.query),
        json=model.json_,
        form=filling.each((*keys, "form"), model.form),
        body=None if model.body is None else filling.fill((*keys, "body"), model.body),
        auth=None if model.auth is None else _auth(filling, (*keys, "auth"), model.auth),
        pages=None if model.pages is None else _pages(model.pages),
        job=None if model.job is None else _job(filling, (*keys, "job"), model.job),
        idempotent=model.idempotent,
        idempotency_key=None if key == "off" else key,
        max_response=model.max_response,
    )


def _auth(filling: Filling, keys: Keys, model: AuthModel) -> Auth | None:
    if (basic := model.basic) is not None:
        return Auth(
            "basic",
            user=filling.sent((*keys, "basic", "user"), basic.user),
            secret=filling.sent((*keys, "basic", "password"), basic.password),
        )
    if model.bearer is not None:
        return Auth("bearer", secret=filling.sent((*keys, "bearer"), model.bearer))
    if (key := model.key) is not None:
        value = filling.sent((*keys, "key", "value"), key.value)
        return Auth("key", secret=value, name=key.name, place=key.in_)
    if (oauth2 := model.oauth2) is not None:
        at = (*keys, "oauth2")
        return Auth(
            "oauth2",
            user=filling.sent((*at, "client_id"), oauth2.client_id),
            secret=filling.sent((*at, "client_secret"), oauth2.client_secret),
            token_url=filling.url((*at, "token_url"), oauth2.token_url),
            scope=filling.sent((*at, "scope"), oauth2.scope),
            audience=filling.sent((*at, "audience"), oauth2.audience),
        )
    return None  # the check between keys has said that it is empty


def _pages(model: PagesModel) -> Pages:
    return Pages(**model.model_dump())


def _job(filling: Filling, keys: Keys, model: JobModel) -> Job:
    return Job(
        url=None if model.url is None else filling.place((*keys, "url"), model.url),
        status=model.status,
        done=tuple(model.done),
        failed=tuple(model.failed),
        result=None if model.result is None else filling.place((*keys, "result"), model.result),
        every=model.every,
        within=model.within,
    )


def _command(filling: Filling, keys: Keys, model: CommandModel) -> CommandSettings:
    at = (*keys, "environment")
    return CommandSettings(
        run=tuple(model.run or ()),
        shell=model.shell,
        progress=model.progress,
        environment={
            name: filling.local((*at, name), text) for name, text in model.environment.items()
        },
        memory=model.memory,
        max_output=model.max_output,
    )


def _lookup(filling: Filling, keys: Keys, model: LookupModel) -> LookupSettings:
    return LookupSettings(
        file=str(filling.path((*keys, "file"), model.file)),
        key=model.key,
        column=model.column,
        table=model.table,
        missing=model.missing,
    )


def _batch(model: BatchModel) -> Batch:
    return Batch(**model.model_dump())
