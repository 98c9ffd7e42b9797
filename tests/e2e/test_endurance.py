"""What must not grow, and what must not get lost, when it is much or when events are."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from random import Random

from roundtrip.protocol.markers import Digest, RequestMarker
from roundtrip.protocol.names import Namer
from tests.e2e.conftest import MakeWorld
from tests.e2e.payloads import sample
from tests.e2e.scale import descriptors, resident
from tests.e2e.world import World, visible, wait_until

QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def _batch(world: World, first: int, count: int) -> None:
    samples = [sample(Random(n), f"{n}.jsonl", 300) for n in range(first, first + count)]
    for asked in samples:
        world.drop(asked.name, asked.content)
    wait_until(lambda: len(os.listdir(world.inbox)) == count, "all results", 60)
    for asked in samples:
        assert (world.inbox / asked.name).read_bytes() == asked.result
        (world.inbox / asked.name).unlink()
    world.wait_closed()


def test_neither_open_files_nor_memory_grow_with_the_exchanges(running: World) -> None:
    _batch(running, 0, 500)
    hosts = (running.a, running.b)
    files = [descriptors(host) for host in hosts]
    memory = [resident(host) for host in hosts]
    _batch(running, 500, 1000)
    # B keeps a bounded number of connections to the API open.
    assert descriptors(hosts[0]) <= files[0]
    assert descriptors(hosts[1]) <= files[1] + 64
    assert all(resident(host) < before + 6 for host, before in zip(hosts, memory, strict=True))


def test_requests_are_found_after_the_kernel_s_queue_has_overflowed(world: World) -> None:
    count = QUEUE // 2 + 500
    world.b.start()
    os.kill(world.b.pid, signal.SIGSTOP)
    namer = Namer()
    content = b"x"
    digest = Digest(1, hashlib.sha256(content).hexdigest())
    for _ in range(count):
        exchange = namer("x.raw")
        (world.unenriched / exchange).write_bytes(content)
        marker = RequestMarker(exchange, "x.raw", digest).encode()
        (world.unenriched / f"{exchange}.done").write_bytes(marker)
    os.kill(world.b.pid, signal.SIGCONT)
    wait_until(lambda: len(visible(world.enriched)) == 2 * count, "all answers", 60, 0.1)


def test_files_are_found_after_the_outbox_s_queue_has_overflowed(world: World) -> None:
    count = QUEUE // 2 + 500
    world.a.start()
    os.kill(world.a.pid, signal.SIGSTOP)
    for number in range(count):
        (world.outbox / f"{number}.raw").write_bytes(b"x")
    os.kill(world.a.pid, signal.SIGCONT)
    wait_until(lambda: len(visible(world.unenriched)) == 2 * count, "all requests", 60, 0.1)
    assert not visible(world.outbox)


def test_answers_are_found_after_a_was_stopped_for_a_while(running: World) -> None:
    os.kill(running.a.pid, signal.SIGSTOP)
    for number in range(300):
        (running.outbox / f"{number}.raw").write_bytes(b"x")
    os.kill(running.a.pid, signal.SIGCONT)
    wait_until(lambda: len(visible(running.inbox)) == 300, "all results")


def test_both_roles_work_in_one_root(make_world: MakeWorld) -> None:
    world = make_world()
    shares = {"unenriched": "../hostB/Unenriched", "enriched": "Enriched"}
    one = world.a.root
    # B with A's folder as its root: state/, quarantine/ and the log are shared.
    world.b.configure({**world.settings_b, "root": str(one), "shares": shares})
    assert world.b.run("init").returncode == 0
    world.start()
    asked = sample(Random(1), "orders.csv", 900)
    world.drop(asked.name, asked.content)
    assert world.result(asked.name) == asked.result
    world.wait_closed()


def test_records_of_answers_that_nobody_asks_for_go_after_a_while(running: World) -> None:
    path = running.folder / "x.raw"
    path.write_bytes(b"x")
    assert running.a.run("send", path).returncode == 0
    running.result("x.raw")
    running.wait_closed()
    [record] = running.a.folder("state/outcomes").iterdir()
    long_ago = record.with_name("0" * 26 + record.name[26:])
    record.rename(long_ago)
    os.utime(long_ago, (0, 0))
    running.a.kill()
    os.utime(running.a.folder("state/cleaned-a"), (0, 0))  # Else it is not due before an hour.
    running.a.start()
    wait_until(lambda: not long_ago.exists(), "it is gone")


def test_an_inbox_that_is_replaced_is_delivered_to(running: World) -> None:
    running.drop("first.raw", b"1")
    running.result("first.raw")
    running.wait_closed()
    running.inbox.rename(running.folder / "taken away")
    running.inbox.mkdir()
    running.drop("second.raw", b"2")
    assert running.result("second.raw") == b"2"


def test_a_result_waits_for_an_inbox_that_is_missing(running: World) -> None:
    running.inbox.rmdir()
    running.drop("second.raw", b"2")
    wait_until(lambda: running.a.events("held"), "an attempt")
    running.inbox.mkdir()
    assert running.result("second.raw", 30) == b"2"
