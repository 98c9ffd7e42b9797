"""From a valid file to Settings: paths made absolute, secrets filled in, keys checked together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path

from roundtrip.config.document import Path as Keys
from roundtrip.config.document import Problem
from roundtrip.config.models import FileModel, HttpModel, PipelineModel, StepModel
from roundtrip.config.secrets import Secrets
from roundtrip.config.settings import (
    LimitsSettings,
    OutboxSettings,
    Settings,
    SharesSettings,
    TimingSettings,
)
from roundtrip.config.texts import check_origin
from roundtrip.enrich.settings import HttpStep, Pipeline, Retry


class Builder:
    """Builds the Settings of one file for one role; what it finds wrong gathers in `problems`."""

    def __init__(self, model: FileModel, file: Path, role: str) -> None:
        self.model = model
        self.file = file
        self.role = role
        self.problems: list[Problem] = []
        self.root = file.parent
        if model.root is not None:
            self.root = self.path(("root",), model.root)
        self.secrets = Secrets(
            {name: self.path(("secrets", name), text) for name, text in model.secrets.items()},
            os.environ,
        )

    def settings(self) -> Settings:
        """Return the settings; they are of use only if `problems` is still empty."""
        model = self.model
        archive = model.archive
        settings = Settings(
            role=self.role,
            root=self.root,
            file=self.file,
            shares=self.shares(),
            outbox=self.outbox(),
            inbox=self.path(("inbox",), model.inbox),
            failed=self.path(("failed",), model.failed),
            archive=self.path(("archive",), archive.path) if archive else None,
            archive_keep=archive.keep if archive else None,
            state=self.path(("state",), model.state),
            quarantine=self.path(("quarantine",), model.quarantine),
            watch_backend=model.watch.backend,
            watch_interval=model.watch.interval,
            limits=LimitsSettings(**model.limits.model_dump()),
            timing=TimingSettings(**model.timing.model_dump()),
            durability=model.durability,
            log_level=model.log.level,
            pipelines=tuple(self.pipeline(*item) for item in model.pipelines.items()),
        )
        self.problems += collisions(settings)
        return settings

    def path(self, keys: Keys, text: str) -> Path:
        """Return an absolute path, without a look at the disk: a mount may hang."""
        expanded = os.path.expanduser(text)
        if expanded.startswith("~"):
            self.problem(keys, "names a user that this host doesn't have; write the whole path")
        return Path(os.path.abspath(self.root / expanded))

    def shares(self) -> SharesSettings:
        """Return where the two shares are."""
        shares = self.model.shares
        return SharesSettings(
            unenriched=self.path(("shares", "unenriched"), shares.unenriched.path),
            enriched=self.path(("shares", "enriched"), shares.enriched.path),
            empty_marker=shares.unenriched.empty_marker,
        )

    def outbox(self) -> OutboxSettings:
        """Return where the outbox is and how it is read."""
        outbox = self.model.outbox
        return OutboxSettings(
            path=self.path(("outbox",), outbox.path),
            complete=outbox.complete,
            settle=outbox.settle,
            ignore=tuple(outbox.ignore),
        )

    def pipeline(self, name: str, model: PipelineModel) -> Pipeline:
        """Return one pipeline."""
        keys: Keys = ("pipelines", name, "steps")
        steps = tuple(self.step((*keys, index), step) for index, step in enumerate(model.steps))
        return Pipeline(name=name, steps=steps, match=tuple(model.match), format=model.format)

    def step(self, keys: Keys, model: StepModel) -> HttpStep:
        """Return one step; its `{field}` templates stay, its secrets are filled in."""
        http, at = model.http, (*keys, "http")
        return HttpStep(
            name=model.name,
            url=self.url((*at, "url"), http),
            method=http.method,
            headers=self.filled((*at, "headers"), http.headers),
            query=self.filled((*at, "query"), http.query),
            json=http.json_,
            body=None if http.body is None else self.fill((*at, "body"), http.body),
            select=dict(model.select),
            into=model.into,
            on_error=model.on_error,
            cache=model.cache,
            rate=model.rate,
            concurrency=model.concurrency,
            timeout=model.timeout,
            retry=Retry(model.retry.attempts, model.retry.max_delay),
            idempotent=http.idempotent,
        )

    def url(self, keys: Keys, http: HttpModel) -> str:
        """Return the URL, its host checked again now that secrets are in it."""
        url = self.fill(keys, http.url)
        if "${" not in url:  # else it is not filled in: this role has no use for it
            try:
                check_origin(url)
            except ValueError as error:
                self.problem(keys, f"{error} (with its secrets filled in)")
        return url

    def filled(self, keys: Keys, texts: Mapping[str, str]) -> dict[str, str]:
        """Return texts by name with their secrets filled in."""
        return {name: self.fill((*keys, name), text) for name, text in texts.items()}

    def fill(self, keys: Keys, text: str) -> str:
        """Return one text with its secrets filled in, which only role b needs."""
        if self.role != "b":
            return text
        try:
            return self.secrets.fill(text)
        except ValueError as error:
            self.problem(keys, str(error))
            return text

    def problem(self, keys: Keys, text: str) -> None:
        """Note what is wrong with a key."""
        self.problems.append(Problem(keys, text))


def folders(settings: Settings) -> dict[str, Path]:
    """Return the folders that the role works in, by their key."""
    both = {
        "shares.unenriched": settings.shares.unenriched,
        "shares.enriched": settings.shares.enriched,
        "state": settings.state,
    }
    if settings.role == "b":
        return {**both, "quarantine": settings.quarantine}
    own = {"outbox": settings.outbox.path, "inbox": settings.inbox, "failed": settings.failed}
    return {**both, **own, **({"archive": settings.archive} if settings.archive else {})}


def collisions(settings: Settings) -> Iterator[Problem]:
    """Yield a problem for each two folders that are one, or of which one holds the other."""
    for (key, path), (other, other_path) in combinations(folders(settings).items(), 2):
        if path == other_path:
            yield Problem(tuple(other.split(".")), f"is the same folder as {key}; they must differ")
        elif path in other_path.parents:
            yield Problem(tuple(other.split(".")), f"lies inside {key}; put it outside")
        elif other_path in path.parents:
            yield Problem(tuple(key.split(".")), f"lies inside {other}; put it outside")
