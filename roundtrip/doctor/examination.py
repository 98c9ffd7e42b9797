"""The whole examination: what is looked at, in which order, and the findings of all of it.

configuration -> own folders, running agent -> both shares (at once) -> host
              \\-> API hosts (meanwhile)
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roundtrip import mounts
from roundtrip.config import Settings
from roundtrip.doctor import configuration, deliveries, folders, machine, queue, shares
from roundtrip.doctor.disposable import Facts, gather
from roundtrip.doctor.findings import OK, About, Finding, Severity, Verdict, finding, worst
from roundtrip.doctor.shares import Expected
from roundtrip.enrich.settings import HttpSettings
from roundtrip.places import Places

if TYPE_CHECKING:
    from roundtrip.doctor.apis import Visits


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that was found, and the facts behind it."""

    settings: Settings | None
    findings: list[Finding]
    facts: dict[str, Any]

    @property
    def worst(self) -> Severity:
        """How bad the worst finding is."""
        return worst(self.findings)


def examine(path: Path | None, role: str | None, *, offline: bool = False) -> Examination:
    """Look at everything, within seconds whatever hangs; `offline` leaves the API hosts out."""
    loaded = configuration.read(path, role)
    settings = loaded.settings
    if settings is None:
        found, facts = machine.look(machine.Need(role))
        return Examination(None, [*loaded.findings, *found], {"host": facts})
    visits = None if offline or settings.role == "a" or not loaded.whole else _visits(settings)
    here = _Here(settings, role)
    found = [*loaded.findings, *here.look(), *deliveries.look(settings, offline=offline)]
    found += queue.look(settings, offline=offline)
    return Examination(settings, [*found, *_apis(visits, settings, offline=offline)], here.facts)


def _visits(settings: Settings) -> Visits:
    from roundtrip.doctor.apis import Visits  # httpx takes 170 ms to import; role a needs none.

    return Visits(settings)


def _apis(visits: Visits | None, settings: Settings, *, offline: bool) -> list[Finding]:
    if visits is not None:
        found = visits.findings()
        if found:
            return found
        text = "no pipeline calls a host"
    elif settings.role == "a":
        text = "not checked: host A needs no internet but for what its deliveries say"
        if not deliveries.targets(settings):
            text = "not checked: host A needs no internet, and nothing here uses it"
    elif offline:
        text = "not checked: --offline"
    else:
        text = "not checked: the configuration has to be mended first"
    return [finding("internet", "apis", Verdict(OK, text))]


class _Here:
    """What is on this host, for one agent's settings."""

    def __init__(self, settings: Settings, role: str | None) -> None:
        self._settings = settings
        self._places = Places(settings)
        self._role = role
        self.facts: dict[str, Any] = {}

    def look(self) -> list[Finding]:
        """Look at folders, shares and the host."""
        reserve = self._settings.limits.reserve
        own = gather({"folders": folders.task(self._places)})["folders"]
        expected = [self._expected("unenriched", own), self._expected("enriched", own)]
        told = gather({share.name: share.task for share in expected})
        mountinfo = _mountinfo()
        found = [*self._host(own), *folders.agent(own, self._command)]
        found += folders.judge(self._places, own, mountinfo, reserve, self._command)
        for share in expected:
            found += shares.judge(share, told[share.name], mountinfo)
        self.facts |= {"folders": own, **told}
        return found

    def _host(self, own: Facts) -> list[Finding]:
        found, self.facts["host"] = machine.look(self._need(own))
        return found

    def _need(self, own: Facts) -> machine.Need:
        steps = [step for pipeline in self._settings.pipelines for step in pipeline.steps]
        state = own.get(str(self._places.state), {})
        return machine.Need(
            role=self._settings.role,
            exchanges=self._settings.limits.exchanges,
            calls=sum(step.concurrency for step in steps if isinstance(step.action, HttpSettings)),
            backend=self._settings.watch_backend,
            pid=folders.pid_of(own),
            user=state.get("owner"),
        )

    def _expected(self, name: About, own: Facts) -> Expected:
        home = "b" if name == "unenriched" else "a"
        paths = self._settings.shares
        return Expected(
            name=name,
            path=str(paths.unenriched if name == "unenriched" else paths.enriched),
            role=self._settings.role,
            home=home,
            pinned=own.get(f"pin_{name}"),
            pin=str(self._places.pins / f"{name}.share"),
            reserve=self._settings.limits.reserve,
            heartbeat=self._settings.timing.heartbeat,
            backend=self._settings.watch_backend,
            interval=self._settings.watch_interval,
            init=self._command("init"),
        )

    def _command(self, name: str) -> str:
        role = f" --role {self._role}" if self._role else ""
        return f"roundtrip {name} --config {shlex.quote(str(self._settings.file))}{role}"


def _mountinfo() -> str:
    try:
        return mounts.read()
    except OSError:
        return ""  # no /proc: then nothing is known of mounts
