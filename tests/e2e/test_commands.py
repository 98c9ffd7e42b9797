"""`roundtrip agent --once`, `send`, `status` and what their exit codes say."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from random import Random

import pytest

from tests.e2e.api import Api
from tests.e2e.payloads import sample
from tests.e2e.world import World, wait_until


def test_agents_started_by_cron_finish_an_exchange_by_turns(world: World) -> None:
    asked = sample(Random(3), "orders.csv", 2000)
    world.drop(asked.name, asked.content)
    for _ in range(2):
        for host in (world.a, world.b):
            done = host.run("agent", "--once")
            assert done.returncode == 0, done.stderr
    assert (world.inbox / "orders.csv").read_bytes() == asked.result
    done = world.a.run("agent", "--once")
    assert done.returncode == 0, done.stderr
    assert not world.leftovers()


def test_once_with_nothing_to_do_ends_at_once(world: World) -> None:
    for host in (world.a, world.b):
        assert host.run("agent", "--once", seconds=10).returncode == 0


def test_once_deals_with_many_files(world: World) -> None:
    samples = [sample(Random(n), f"{n}.jsonl", 300) for n in range(200)]
    for asked in samples:
        world.drop(asked.name, asked.content)
    for host in (world.a, world.b, world.a, world.b):
        assert host.run("agent", "--once").returncode == 0
    assert len(list(world.inbox.iterdir())) == 200
    assert not world.leftovers()


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_second_agent_says_who_works_here_and_exits(role: str, running: World) -> None:
    host = running.a if role == "a" else running.b
    done = host.run("agent")
    assert done.returncode == 5
    assert str(host.pid) in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_send_and_wait_prints_the_path_of_the_result(running: World) -> None:
    asked = sample(Random(4), "orders.jsonl", 800)
    path = running.folder / asked.name
    path.write_bytes(asked.content)
    done = running.a.run("send", path, "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{running.inbox / asked.name}\n"
    assert (running.inbox / asked.name).read_bytes() == asked.result
    assert path.read_bytes() == asked.content
    running.wait_closed()
    assert not list(running.a.folder("state/outcomes").iterdir())


def test_send_passes_standard_input_on_and_the_result_to_standard_output(running: World) -> None:
    asked = sample(Random(5), "stdin.bin", 2_000_000)
    done = running.a.run("send", "-", "--wait", "--name", asked.name, stdin=asked.content)
    assert done.returncode == 0, done.stderr
    assert done.stdout == asked.result
    assert not list(running.inbox.iterdir())


def test_send_with_json_prints_one_object_for_each_file(running: World) -> None:
    paths = []
    for number in range(3):
        paths.append(running.folder / f"{number}.raw")
        paths[-1].write_bytes(b"x" * number)
    done = running.a.run("send", *paths, "--wait", "--json")
    assert done.returncode == 0, done.stderr
    found = {line["file"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(found) == {str(path) for path in paths}
    for line in found.values():
        assert line["outcome"] == "enriched"


def test_a_name_that_is_no_text_is_there_as_base64_in_json_and_as_it_is_elsewhere(
    running: World,
) -> None:
    path = os.fsencode(running.folder) + b"/b\xfd.raw"
    Path(os.fsdecode(path)).write_bytes(b"x")
    done = running.a.run("send", "--wait", "--json", os.fsdecode(path))
    found = json.loads(done.stdout)
    assert found["file"].endswith("/b\ufffd.raw")
    assert base64.b64decode(found["file_base64"]) == path
    result = os.fsencode(running.inbox) + b"/b\xfd.raw"
    assert base64.b64decode(found["path_base64"]) == result
    os.unlink(result)
    done = running.a.run("send", "--wait", os.fsdecode(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, result + b"\n", b"")
    found = json.loads(running.a.run("send", "--json", os.fsdecode(path)).stdout)
    assert base64.b64decode(found["file_base64"]) == path


def test_send_without_wait_prints_the_exchange_s_name(running: World) -> None:
    path = running.folder / "x.raw"
    path.write_bytes(b"x")
    done = running.a.run("send", path)
    assert done.returncode == 0
    assert done.stdout.decode().strip().endswith("-x.raw")
    assert running.result("x.raw") == b"x"


def test_send_says_that_an_exchange_has_failed(running: World) -> None:
    path = running.folder / "broken.json"
    path.write_bytes(b"{not JSON")
    done = running.a.run("send", path, "--wait", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["outcome"] == "failed"
    assert b"broken.json" in done.stderr


def test_send_gives_up_waiting_but_not_the_exchange(running: World, api: Api) -> None:
    api.hold()
    path = running.folder / "slow.raw"
    path.write_bytes(b"slow")
    done = running.a.run("send", path, "--wait", "--timeout", "0.3")
    assert done.returncode == 6
    api.release()
    assert running.result("slow.raw") == b"slow"


def test_send_refuses_what_is_not_there(running: World) -> None:
    done = running.a.run("send", running.folder / "nothing.csv")
    assert done.returncode == 7
    assert b"no such file" in done.stderr


def test_sending_to_a_pipeline_that_is_not_there_fails_clearly(running: World) -> None:
    path = running.folder / "x.raw"
    path.write_bytes(b"x")
    done = running.a.run("send", path, "--wait", "--pipeline", "nonsense")
    assert done.returncode == 1
    assert b"nonsense" in done.stderr


def test_the_agents_stop_within_seconds_and_say_so(running: World, api: Api) -> None:
    api.hold()
    running.drop("held.raw", b"held")
    wait_until(lambda: api.waiting, "B is asking")
    assert running.a.stop(5) == 0
    assert running.b.stop(13) == 0
    for host in (running.a, running.b):
        assert [line["event"] for line in host.lines()][-1] == "stopped"


def test_an_idle_agent_stops_at_once_without_a_complaint(running: World) -> None:
    running.drop("x.csv", b"key\nk1\n")
    running.result("x.csv")
    running.wait_closed()
    for host in (running.a, running.b):
        assert host.stop(3) == 0
        assert {line["level"] for line in host.lines()} == {"info"}


def test_status_tells_what_is_under_way_and_how_the_other_side_is(running: World, api: Api) -> None:
    api.hold()
    running.drop("held.raw", b"held")
    wait_until(lambda: api.waiting, "B is asking")
    for host, peer in ((running.a, "b"), (running.b, "a")):
        done = host.run("status", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["states"]["requested"] == 1
        assert report["peer"]["role"] == peer
        assert report["agent"]["pid"] == host.pid
    api.release()
    running.result("held.raw")


def test_an_agent_without_its_folders_says_what_to_do(world: World) -> None:
    world.unenriched.rename(world.folder / "away")
    for host in (world.a, world.b):
        done = host.run("agent", "--once")
        assert done.returncode == 4
        assert b"Traceback" not in done.stderr


def test_every_line_of_the_log_is_json_and_names_its_exchange(running: World) -> None:
    running.drop("x.csv", b"key\nk1\n")
    running.drop("broken.json", b"{")
    running.result("x.csv")
    running.wait_closed()
    wait_until(lambda: len(running.b.events("closed")) == 2, "B has closed both")
    for host in (running.a, running.b):
        for line in host.lines():
            assert line["event"] != "not JSON"
            assert {"time", "level", "event"} <= line.keys()
    [exchange] = [line["exchange"] for line in running.a.events("taken") if line["file"] == "x.csv"]
    assert _story(running.a.lines(), exchange) == [
        "taken", "published", "delivered", "dropped marker", "dropped payload", "closed",
    ]  # fmt: skip
    assert _story(running.b.lines(), exchange) == [
        "answered", "dropped marker", "dropped payload", "closed",
    ]  # fmt: skip


def _story(lines: list[dict[str, str]], exchange: str) -> list[str]:
    mine = [line for line in lines if line.get("exchange") == exchange]
    return [f"{line['event']} {line['what']}" if "what" in line else line["event"] for line in mine]


def test_nothing_is_left_running_when_standard_error_is_closed(world: World) -> None:
    # A supervisor may close the pipe that it read the log from.
    process = subprocess.Popen(world.a.command("agent", "--once"), stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(20) == 0
