"""What is done to a deployed pair, one function a test; each returns the sheet of its load.

The load of a breakage is two files a second, from before it begins until after its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.lab import network
from tests.lab.pair import ROOT, Pair, Sheet, until

_RATE = 2.0
_BEFORE = 4.0
_AFTER = 6.0
PATIENCE = 240.0

Case = Callable[[Pair], Sheet]


def thousand(pair: Pair) -> Sheet:
    """One thousand exchanges, as fast as they can be handed in."""
    begun = time.monotonic()
    pair.application("send", "--prefix", "many", "--count", 1000)
    sheet = pair.balance(900)
    seconds = time.monotonic() - begun
    return {**sheet, "expected": 1000, "exchanges a second": round(sheet["delivered"] / seconds, 1)}


def events(pair: Pair) -> Sheet:
    """One at a time: what an exchange takes when nothing else is under way."""
    pair.application("send", "--prefix", "one", "--count", 60, "--rate", 1)
    return {**pair.balance(60), "expected": 60, "woken by": pair.backends()}


def idle(pair: Pair) -> Sheet:
    """A minute without work but the canary's: what waiting costs each host."""
    machines = (pair.a, pair.b)
    before = [pair.usage(machine) for machine in machines]
    begun = time.monotonic()
    time.sleep(60)
    minutes = (time.monotonic() - begun) / 60
    cost = {}
    for machine, (cpu, calls) in zip(machines, before, strict=True):
        cpu_now, calls_now = pair.usage(machine)
        cost[f"CPU s a minute, {machine.name}"] = round((cpu_now - cpu) / minutes, 2)
        cost[f"NFS calls a minute, {machine.name}"] = round((calls_now - calls) / minutes)
    return {**pair.balance(0), **cost}


def slow_writers(pair: Pair) -> Sheet:
    """Files written over 28 s with fsync each 7 s, in the outbox and on B's share itself."""
    pair.begin("slow", "--prefix", "slow", "--count", 4, "--pause", 7)
    pair.application("request", "--prefix", "direct", "--count", 4, "--pause", 7, "--seconds", 120)
    return {**pair.balance(120), "expected": 8}


def during(
    pair: Pair, name: str, seconds: float, act: Callable[[], None], *, more: int = 0
) -> Sheet:
    """Let load flow from before until after what `act` does, for about so many seconds.

    `more` files are handed in by `act` itself.
    """
    count = int((_BEFORE + seconds + _AFTER) * _RATE)
    pair.begin("send", "--prefix", name, "--count", count, "--rate", _RATE)
    time.sleep(_BEFORE)
    act()
    healed = time.monotonic()
    time.sleep(_AFTER)
    pair_sheet = pair.balance(PATIENCE)
    while pair_sheet["sent"] < count + more and time.monotonic() - healed < PATIENCE:
        pair_sheet = pair.balance(PATIENCE)
    return {
        **pair_sheet,
        "expected": count + more,
        "all in after": round(time.monotonic() - healed, 1),
    }


def _cut(pair: Pair, seconds: float) -> Sheet:
    def act() -> None:
        network.cut()
        time.sleep(seconds)
        network.heal()

    return during(pair, f"cut{seconds:g}", seconds, act)


def cut_5(pair: Pair) -> Sheet:
    """No packet passes for 5 s."""
    return _cut(pair, 5)


def cut_60(pair: Pair) -> Sheet:
    """No packet passes for a minute."""
    return _cut(pair, 60)


def cut_300(pair: Pair) -> Sheet:
    """No packet passes for five minutes."""
    return _cut(pair, 300)


def kill_agents_in_cut(pair: Pair) -> Sheet:
    """Both agents get SIGKILL while no packet passes."""

    def act() -> None:
        network.cut()
        time.sleep(5)
        for machine in (pair.a, pair.b):
            machine.do("systemctl", "kill", "--signal=KILL", "--kill-whom=all", "roundtrip.service")
        time.sleep(10)
        network.heal()

    return during(pair, "killed", 20, act)


def server_reboot(pair: Pair) -> Sheet:
    """Host B, which serves Unenriched, reboots."""
    return during(pair, "reboot-b", 20, lambda: _note(pair.b.reboot()))


def server_crash(pair: Pair) -> Sheet:
    """Host B's plug is pulled."""

    def act() -> None:
        pair.b.crash()
        pair.b.boot()
        pair.b.wait_ready()

    return during(pair, "crash-b", 20, act)


def client_reboot(pair: Pair) -> Sheet:
    """Host A, which mounts Unenriched and serves Enriched, reboots."""
    pair.application("send", "--prefix", "before", "--count", 40)
    pair.a.reboot()
    pair.application("send", "--prefix", "after", "--count", 20, "--rate", _RATE)
    return {**pair.balance(PATIENCE), "expected": 60}


def client_crash(pair: Pair) -> Sheet:
    """Host A's plug is pulled in the middle of traffic."""
    pair.application("send", "--prefix", "before", "--count", 40)
    pair.a.do("sync")
    pair.a.crash()
    pair.a.boot()
    pair.a.wait_ready()
    pair.application("send", "--prefix", "after", "--count", 20, "--rate", _RATE)
    return {**pair.balance(PATIENCE), "expected": 60}


def unmounted(pair: Pair) -> Sheet:
    """`umount --lazy` under both agents."""

    def act() -> None:
        for machine in (pair.a, pair.b):
            machine.do("umount", "--lazy", pair.mount_unit(machine))

    return during(pair, "umount", 10, act)


def stale_handles(pair: Pair) -> Sheet:
    """B's share is replaced by a copy of itself: same names, other files, handles lead nowhere.

    Over NFS that goes for the mount itself, too. Only root can mend it: B's server must forget the
    folder that it exported (exportfs(8), -f), and A unmount what it had; the automount goes on.
    """

    def act() -> None:
        share = f"{ROOT}/share/Unenriched"
        # What is removed while it is copied makes cp say so, and exit with 1.
        pair.b.do(f"cp -a {share} {share}.copy || true")
        pair.b.do(f"mv {share} {share}.old && mv {share}.copy {share}")
        time.sleep(5)
        pair.b.do(f"rm -rf {share}.old; ! command -v exportfs || exportfs -f")
        pair.a.do("umount", "--lazy", pair.mount_unit(pair.a))

    return during(pair, "stale", 10, act)


def read_only(pair: Pair) -> Sheet:
    """A's mount turns read-only for 15 s, for its agent as well."""
    point = pair.mount_unit(pair.a)

    def remount(state: str) -> None:
        # The agent has a mount namespace of its own, and what is remounted outside stays there.
        inside = "nsenter --mount --target $(systemctl show -P MainPID roundtrip.service)"
        command = f"{inside} mount -o remount,bind,{state} {point}"
        # EBUSY while a file there is open for writing (mount(2)): with two files a second, try on.
        until(f"{point} is {state}", lambda: pair.a.ask(command).returncode == 0, PATIENCE)

    def act() -> None:
        remount("ro")
        time.sleep(15)
        remount("rw")

    return during(pair, "read-only", 15, act)


def full_disk(pair: Pair) -> Sheet:
    """B's disk is full for 15 s, its share and its state."""

    def act() -> None:
        fill = "fallocate -l $(df --output=avail -B1 / | tail -1) /srv/filler"
        pair.b.do(f"{fill} || cat /dev/zero > /srv/filler || true")
        time.sleep(15)
        pair.b.do("rm /srv/filler")

    return during(pair, "full", 15, act)


def clock_off(pair: Pair) -> Sheet:
    """B's clock jumps ten minutes ahead, and after 15 s ten minutes back."""

    def act() -> None:
        pair.b.do("date --set='+10 min'")
        time.sleep(15)
        pair.b.do("date --set='-10 min'")

    return during(pair, "clock", 15, act)


def _note(_: object) -> None:
    """What came out of it is not asked for."""


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        thousand, events, idle, slow_writers, cut_5, cut_60, kill_agents_in_cut, server_reboot,
        server_crash, client_reboot, client_crash, unmounted, stale_handles, read_only,
        full_disk, clock_off, cut_300,
    )
}  # fmt: skip
"""In the order in which they are done."""
ON_NAS = ("thousand", "events", "idle", "cut_5", "cut_60", "kill_agents_in_cut")
"""What is the same where both shares are on a third host."""
