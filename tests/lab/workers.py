"""What is done to a deployed pair with `dispatch: queue`: a worker on B, two on a third host, w.

Each function returns the sheet of its load, as in tests/lab/cases.py.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

from tests.lab import network
from tests.lab.cases import PATIENCE, Case, during
from tests.lab.machine import Machine
from tests.lab.names import LIMITED, RUN
from tests.lab.pair import Pair, Sheet, until

_WORKERS = 3
_WINDOW = 10.0  # seconds in which a rate is looked at: long beside what a guest's network dawdles
_EARLY = 30.0  # of a minute: late enough, and calls would wait at its end for another reason
_UNIT = "roundtrip-worker@1.service"
_UNITS = {"redis": "redis-server.service", "rabbitmq": "rabbitmq-server.service"}
_AT_ONCE = 40
_DONE = '"event": "job done"'
_TAKEN = '"event": "job taken"'
_TAKEN_AGAIN = '"event": "job taken".*"try": [2-9]'


def three_hundred(pair: Pair) -> Sheet:
    """Three hundred exchanges, as fast as they can be handed in, through workers of both hosts."""
    before = _count(pair, _DONE)
    begun = time.monotonic()
    pair.application("send", "--prefix", "many", "--count", 300)
    sheet = pair.balance(600)
    seconds = time.monotonic() - begun
    done = _count(pair, _DONE) - before
    each = {f"by {machine.name}": done[machine.name] for machine in pair.machines[1:]}
    return {**sheet, "expected": 300, **each, "exchanges a second": round(300 / seconds, 1)}


def shared_rate(pair: Pair) -> Sheet:
    """Four calls a second, whoever makes them: 160 records' worth."""
    since = time.time()
    pair.application("send", "--prefix", "rated", "--count", 160)
    sheet = pair.balance(600)
    times = _times("rated", since)
    # Rates are spread: of each worker's part, a window can hold both its ends.
    most = max(sum(begin <= when < begin + _WINDOW for when in times) for begin in times)
    allowed = int(_rate() * _WINDOW) + _WORKERS
    found = {"calls": len(times), "seconds": round(times[-1] - times[0], 1), "most in 10 s": most}
    return {**sheet, "expected": 160, **found, "calls too many": max(most - allowed, 0)}


def shared_quota(pair: Pair) -> Sheet:
    """Sixty calls a minute, whoever makes them: 100 records' worth, so they end in the next one."""
    time.sleep(max(0.0, 62 - time.time() % 60) if time.time() % 60 > _EARLY else 0)
    since = time.time()
    pair.application("send", "--prefix", "counted", "--count", 100)
    sheet = pair.balance(600)
    minutes = Counter(int(when // 60) for when in _times("counted", since))
    over = sum(max(calls - 60, 0) for calls in minutes.values())
    found = {"calls in each minute": [calls for _, calls in sorted(minutes.items())]}
    return {**sheet, "expected": 100, **found, "calls too many": over}


def worker_killed(pair: Pair) -> Sheet:
    """A worker on each host gets SIGKILL."""

    def act() -> None:
        for machine in pair.machines[1:]:
            machine.do("systemctl", "kill", "--signal=KILL", _UNIT)
        time.sleep(20)

    return _broken(pair, "wkill", 20, act)


def workers_crash(pair: Pair) -> Sheet:
    """The plug of the host that runs only workers is pulled; it is started again after 15 s."""

    def act() -> None:
        third = _third(pair)
        third.crash()
        time.sleep(15)
        third.boot()
        third.wait_ready()

    return _broken(pair, "wcrash", 40, act)


def workers_cut(pair: Pair) -> Sheet:
    """No packet passes between B and the host of workers for 60 s."""

    def act() -> None:
        network.cut((pair.b.name, _third(pair).name))
        time.sleep(60)
        network.heal()

    return _broken(pair, "wcut", 60, act)


def broker_killed(pair: Pair) -> Sheet:
    """The broker gets SIGKILL, stays away for 10 s, and is started."""
    unit = _UNITS[pair.label]

    def act() -> None:
        pair.b.do(f"systemctl kill --signal=KILL {unit}; systemctl stop {unit}")
        time.sleep(10)
        pair.b.do("systemctl", "start", unit)

    return _broken(pair, "broker", 12, act)


def queue_reboot(pair: Pair) -> Sheet:
    """Host B reboots: its agent, its worker, the broker and the queue's folder."""

    def act() -> None:
        pair.b.reboot()

    return _broken(pair, "breboot", 20, act)


def _broken(pair: Pair, name: str, seconds: float, act: Callable[[], None]) -> Sheet:
    """What `act` does to workers that have slow jobs in hand, while two files a second flow.

    Nothing is over before all workers are back.
    """
    before, taken = _count(pair, _TAKEN_AGAIN), _count(pair, _TAKEN)

    def hands_are_full() -> bool:
        now = _count(pair, _TAKEN)
        return all(now[each] > count + 1 for each, count in taken.items())

    def with_full_hands() -> None:
        pair.application("send", "--prefix", f"rated-{name}", "--count", _AT_ONCE)
        until("jobs on each host", hands_are_full, PATIENCE)
        act()

    sheet = during(pair, name, seconds, with_full_hands, more=_AT_ONCE)
    back = until("all workers", lambda: _all_there(pair), PATIENCE)
    found = {"taken again": sum((_count(pair, _TAKEN_AGAIN) - before).values())}
    return {**sheet, **found, "all workers after": round(back, 1)}


def _third(pair: Pair) -> Machine:
    return pair.machines[2]


def _count(pair: Pair, what: str) -> Counter[str]:
    """How often the workers of each host have said so since they were deployed."""
    count = f"journalctl --namespace=roundtrip -o cat --no-pager | grep -c '{what}'"
    return Counter({each.name: int(each.ask(count).stdout) for each in pair.machines[1:]})


def _times(word: str, since: float) -> list[float]:
    time.sleep(1)  # It is written down twice a second.
    told = json.loads((RUN / "calls.json").read_text())["times"][word]
    return [when for when in told if when >= since]


def _rate() -> float:
    return float(str(LIMITED["rated"]["rate"]).removesuffix("/s"))


def _all_there(pair: Pair) -> bool:
    told = pair.b.ask("roundtrip", "status", "--json")
    agent = json.loads(told.stdout or "{}").get("agent") or {}
    return len(agent.get("queue", {}).get("workers", [])) == _WORKERS


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        three_hundred, shared_rate, shared_quota, worker_killed, workers_crash, workers_cut,
        broker_killed, queue_reboot,
    )
}  # fmt: skip
"""In the order in which they are done."""
