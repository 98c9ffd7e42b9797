"""An agent's figures as Prometheus metrics; what each one means: docs/reference/metrics.md.

Loaded only where `metrics.listen` is set.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from roundtrip.agent.figures import Figures
from roundtrip.deliver.runner import Runner
from roundtrip.protocol.markers import Outcome
from roundtrip.protocol.states import State
from roundtrip.roles.canary import Canary
from roundtrip.roles.health import Condition, Severity
from roundtrip.roles.responder import Responder
from roundtrip.roles.tally import BOUNDS, Tally

if TYPE_CHECKING:
    from roundtrip.dispatch.supervision import QueueFigures
    from roundtrip.enrich.limits import Figures as HostFigures


def agent_metrics(figures: Figures, version: str, peer_age: float | None) -> Iterator[Metric]:
    """What both roles have, then what one of them has. To be used up on the agent's event loop.

    `peer_age` is how many seconds ago the other side gave its last sign of life.
    """
    side, tally = figures.side, figures.side.tally
    role = side.role.value
    about = _family("info", "This agent.", "role", "version")
    about.add_metric((role, version), 1.0)
    yield about
    yield from _exchanges(side.figures(), tally)
    yield from _shares(figures, role, peer_age)
    yield from _looks(figures)
    if isinstance(side, Responder):
        yield from _work(tally)
        yield _gauge("exchanges_held_up", "Exchanges that wait for a limit.", len(side.held_up))
    else:
        yield _counter("answers_refused", "Answers that could not be used.", tally.refused)
        if side.canary is not None:
            yield from _canary(side.canary)
        if figures.deliveries:
            yield from _deliveries(figures.deliveries)


def _conditions(conditions: Sequence[Condition]) -> Iterator[Metric]:
    counts = Counter(condition.severity for condition in conditions)
    by_severity = {severity.value: counts[severity] for severity in Severity}
    yield _gauges("conditions", "Things that are wrong now.", "severity", by_severity)
    if not conditions:
        return
    each = _family("condition", "1 while this is wrong; status says what to do.", "key", "severity")
    for condition in conditions:
        each.add_metric((condition.key, condition.severity.value), 1.0)
    yield each


def _canary(canary: Canary) -> Iterator[Metric]:
    results = {"ok": canary.ok, "late": canary.late, "failed": canary.failed}
    yield _counters("canaries", "Canaries sent, by what became of them.", "result", results)
    if canary.latency is not None:
        text = "What the last canary that came back took for the whole way."
        yield _gauge("canary_seconds", text, canary.latency)


def _deliveries(runners: Sequence[Runner]) -> Iterator[Metric]:
    due = _family("deliveries_due", "Parcels that are still to be delivered.", "delivery")
    failing = _family("deliveries_failing", "Those of them that were tried in vain.", "delivery")
    text = "Time since the oldest of the failing became due; 0 without any."
    age = _family("deliveries_failing_age_seconds", text, "delivery")
    results = CounterMetricFamily(
        "roundtrip_deliveries",
        "Attempts at delivering, by what became of them.",
        labels=("delivery", "result"),
    )
    for runner in runners:
        name, count, since = runner.settings.name, runner.notes.count, runner.notes.failing
        due.add_metric((name,), float(runner.waiting + runner.running))
        failing.add_metric((name,), float(len(since)))
        now = time.time()
        age.add_metric((name,), max(now - min(since.values(), default=now), 0.0))
        numbers = {"delivered": count.delivered, "failed": count.failed, "dead": count.dead}
        for result, number in numbers.items():
            results.add_metric((name, result), float(number))
    yield from (due, failing, age, results)


def dead_metrics(counts: Mapping[str, int]) -> Iterator[Metric]:
    """How many parcels of each delivery are dead."""
    if counts:
        text = "Parcels that nobody tries to deliver any more."
        yield _gauges("deliveries_dead", text, "delivery", counts)


def _exchanges(stages: Mapping[str, object], tally: Tally) -> Iterator[Metric]:
    numbers = {stage: count for stage, count in stages.items() if isinstance(count, int)}
    under_way = {stage: count for stage, count in numbers.items() if stage != "done"}
    yield _gauges("exchanges", "Under way here, by stage.", "stage", under_way)
    states = [state.value for state in State if state is not State.ABSENT]
    listed = {state: tally.listed.get(state, 0) for state in states}
    yield _gauges("listed_exchanges", "Found by the last full listing.", "state", listed)
    text = "Answers published (role b) or delivered (role a)."
    outcomes = {outcome.value: tally.outcomes[outcome] for outcome in Outcome}
    yield _counters("answers", text, "outcome", outcomes)
    yield _counter("publications", "Payloads put on a share with their markers.", tally.published)
    text = "Payload bytes read from the shares and put on them."
    yield _counters("payload_bytes", text, "direction", tally.bytes)
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    yield HistogramMetricFamily(
        "roundtrip_exchange_seconds",
        "From a file's arrival to its result (role a); making an answer (role b).",
        buckets=list(zip(bounds, map(float, accumulate(tally.durations)), strict=True)),
        sum_value=tally.seconds,
    )


def _shares(figures: Figures, role: str, peer_age: float | None) -> Iterator[Metric]:
    yield _gauge("shares_ok", "1 while both shares are there.", figures.shares_ok)
    yield from _conditions(figures.conditions)
    yield _counter("shares_lost", "Times that a share went away.", figures.shares_lost)
    yield _counter("listings", "Full listings of both shares.", figures.listings)
    yield _gauge("listing_age_seconds", "Time since the last one.", figures.listing_age)
    ages = {role: figures.beat_age}
    if peer_age is not None:
        ages["a" if role == "b" else "b"] = peer_age
    text = "Time since each agent's last sign of life."
    yield _gauges("heartbeat_age_seconds", text, "role", ages)
    watch = _family("watch_info", "How each folder is watched.", "folder", "backend")
    for item in figures.backends.items():
        watch.add_metric(item, 1.0)
    yield watch


def _looks(figures: Figures) -> Iterator[Metric]:
    schedules = figures.schedules
    looks = {
        "running": sum(schedule.running for schedule in schedules),
        "waiting": sum(schedule.waiting for schedule in schedules),
    }
    yield _gauges("looks", "Names that are looked at, or wait for that.", "state", looks)
    failures = {
        "system": sum(schedule.held for schedule in schedules),
        "defect": sum(schedule.defects for schedule in schedules),
    }
    yield _counters("errors", "Looks that failed, and are repeated.", "kind", failures)


def _work(tally: Tally) -> Iterator[Metric]:
    work = tally.work
    records = {result: work[result] for result in ("ok", "failed")}
    yield _counters("records", "Records done.", "result", records)
    yield _counter("calls", "Calls made, repeated ones included.", work["calls"])
    yield _counter("calls_saved", "Calls not made, as the answer was known.", work["cached"])
    yield _counter("withdrawals", "Requests withdrawn before their answer.", tally.withdrawn)


def queue_metrics(found: QueueFigures | None) -> Iterator[Metric]:
    """The queue between host B's agent and its workers; nothing before it was looked at."""
    if found is None:
        return
    if found.depth is not None:
        counts = {key: count for key, count in found.depth._asdict().items() if count is not None}
        yield _gauges("queue_messages", "Messages at the broker.", "state", counts)
    workers = found.workers.values()
    working = sum(said.get("works") is True for said in workers)
    states = {"working": working, "standby": len(workers) - working}
    yield _gauges("queue_workers", "Living workers.", "state", states)
    jobs = [said.get("jobs") for said in workers]
    text = "Jobs that living workers have in hand."
    yield _gauge("queue_jobs", text, sum(number for number in jobs if isinstance(number, int)))
    yield _gauge("queue_age_seconds", "Time since the queue was looked at.", found.age)


def host_metrics(hosts: Sequence[HostFigures], now: float) -> Iterator[Metric]:
    """What role b's limits are doing, for each host and credential; `now` is Unix time."""
    names = ("host", "credential")
    calls = _family("host_calls", "Calls under way, or waiting for their turn.", *names, "state")
    limit = _family("host_limit_calls", "Calls that may be under way at once.", *names)
    breaker = _family("host_breaker", "1 for the state that the breaker is in.", *names, "state")
    pause = _family("host_pause_seconds", "Time until the host is called again.", *names)
    for each in hosts:
        about = (each.host, str(each.credential))
        calls.add_metric((*about, "running"), float(each.in_flight))
        calls.add_metric((*about, "waiting"), float(each.waiting))
        limit.add_metric(about, float(each.limit))
        for state in ("closed", "half-open", "open"):
            breaker.add_metric((*about, state), float(state == each.breaker))
        pause.add_metric(about, max((each.paused_until or now) - now, 0.0))
    yield from (calls, limit, breaker, pause)
    yield from _quotas(hosts)


def _quotas(hosts: Sequence[HostFigures]) -> Iterator[Metric]:
    names = ("host", "credential", "quota", "window")
    spent: Counter[tuple[str, str, str, str]] = Counter()
    most: Counter[tuple[str, str, str, str]] = Counter()
    for each in hosts:
        for one in each.quotas:  # Steps of two pipelines may have one name.
            about = (each.host, str(each.credential), one.name, one.window)
            spent[about] += one.calls
            most[about] += one.limit
    calls = _family("quota_calls", "Calls spent in the quota's current window.", *names)
    limit = _family("quota_limit_calls", "Calls that the quota allows in a window.", *names)
    for about, count in spent.items():
        calls.add_metric(about, float(count))
        limit.add_metric(about, float(most[about]))
    yield from (calls, limit)


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"roundtrip_{name}", text, labels=labels)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"roundtrip_{name}", text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"roundtrip_{name}", text, value=float(value))


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = _family(name, text, label)
    for key, value in values.items():
        metric.add_metric((key,), float(value))
    return metric


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = CounterMetricFamily(f"roundtrip_{name}", text, labels=(label,))
    for key, value in values.items():
        metric.add_metric((key,), float(value))
    return metric
