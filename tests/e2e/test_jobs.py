"""Jobs: sent by pipe, waited for later, started again, and alive through every interruption."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeWorld
from tests.e2e.payloads import sample
from tests.e2e.world import PATIENCE, REPOSITORY, World, wait_until


def waiting_sender(world: World, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """A `send` whose exchange is published, and not answered.

    Whatever started the tests may ignore signals, as a shell does for what runs in the background.
    """
    sender = subprocess.Popen(
        ["env", "--default-signal", *world.a.command("send", *arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    assert sender.stdin is not None
    sender.stdin.write(b"content")
    sender.stdin.close()
    sender.stdin = None
    return sender


def sent(world: World, path: Path, *arguments: str) -> str:
    done = world.a.run("send", "-t", "poll", path, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def file(world: World, name: str, content: bytes = b"content") -> Path:
    path = world.folder / name
    path.write_bytes(content)
    return path


# By pipe


def test_a_job_stands_in_a_shell_s_pipeline(running: World) -> None:
    asked = sample(Random(6), "orders.jsonl", 20_000)
    send = " ".join(running.a.command("send", "-t", "pipe", "--name", "orders.jsonl", "-"))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"cat | {send} | cat"],
        input=asked.content, capture_output=True, timeout=60, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == asked.result
    assert not list(running.inbox.iterdir())


def test_files_sent_by_pipe_come_in_their_order(running: World, api: Api) -> None:
    paths = [file(running, f"{number}.raw", b"%d\n" % number) for number in range(20)]
    done = running.a.run("send", "-t", "pipe", *paths)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"".join(b"%d\n" % number for number in range(20))
    assert done.stderr.decode().splitlines()[-1] == "roundtrip: 20 files: 20 enriched"


def test_one_that_fails_is_told_and_the_others_are_printed(running: World) -> None:
    paths = [file(running, "1.raw", b"1\n"), file(running, "x.json", b"{"), file(running, "2.raw")]
    done = running.a.run("send", "-t", "pipe", *paths)
    assert done.returncode == 1
    assert done.stdout == b"1\ncontent"
    lines = done.stderr.decode().splitlines()
    assert "x.json: " in lines[0]
    assert lines[-1] == "roundtrip: 3 files: 2 enriched, 1 failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_pipe_says_how_to_pick_its_answer_up(
    number: signal.Signals, running: World, api: Api
) -> None:
    api.hold()
    sender = waiting_sender(running, "-t", "pipe", "--name", "slow.raw", "-")
    wait_until(lambda: api.waiting, "B is asking")
    sender.send_signal(number)
    out, err = sender.communicate(timeout=PATIENCE)
    assert sender.returncode == 128 + number
    assert out == b""
    [line] = err.decode().splitlines()
    assert "roundtrip poll " in line
    api.release()
    done = running.a.run("poll", line.rpartition(" ")[2])
    assert (done.returncode, done.stdout) == (0, b"content")


def test_a_reader_that_leaves_loses_nothing(running: World, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    send = " ".join(running.a.command("send", "-t", "pipe", "--name", "big.raw", "-"))
    done = subprocess.run(
        ["bash", "-c", f"{send} | head -c 1000; exit ${{PIPESTATUS[0]}}"],
        input=content, capture_output=True, timeout=60, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, content[:1000])
    [line] = done.stderr.decode().splitlines()
    assert f"its answer lies in {running.inbox}/big.raw" in line
    found = running.a.run("poll", line.rpartition(" ")[2])
    assert (found.returncode, found.stdout) == (0, content)


def test_on_a_terminal_many_files_are_one_bar(running: World) -> None:
    paths = [file(running, f"{number}.raw") for number in range(40)]
    master, slave = pty.openpty()
    sender = subprocess.Popen(
        running.a.command("send", "--wait", *paths),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave, cwd=REPOSITORY,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:  # EIO: the other end is closed.
        pass
    os.close(master)
    out, _ = sender.communicate(timeout=PATIENCE)
    assert sender.returncode == 0
    assert len(out.splitlines()) == 40
    text = shown.decode()
    assert "40 files" in text
    assert "40 enriched" in text
    assert "17.raw" not in text


def test_hundreds_of_files_are_waited_for_with_one_watch(running: World) -> None:
    # max_user_instances is 128 on most systems; each file had an inotify instance of its own.
    paths = [file(running, f"{number}.raw", b"x") for number in range(300)]
    done = running.a.run("send", "--wait", *paths)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 300


# To be picked up


def test_a_job_is_picked_up_when_its_sender_likes(running: World, api: Api) -> None:
    api.hold()
    name = sent(running, file(running, "x.raw"))
    done = running.a.run("poll", name, "--timeout", "0.2")
    assert (done.returncode, done.stdout) == (6, b"")
    api.release()
    for _ in range(2):
        done = running.a.run("poll", name)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"content", b"")
    assert (running.inbox / "x.raw").exists()
    done = running.a.run("poll", name, "--remove")
    assert (done.returncode, done.stdout) == (0, b"content")
    assert not (running.inbox / "x.raw").exists()
    done = running.a.run("poll", name)
    assert (done.returncode, len(done.stderr.splitlines())) == (7, 1)


def test_asking_once_waits_for_nothing(running: World, api: Api) -> None:
    api.hold()
    name = sent(running, file(running, "x.raw"))
    assert running.a.run("poll", name, "--timeout", "0").returncode == 6
    api.release()
    running.result("x.raw")
    wait_until(lambda: running.a.run("poll", name, "--timeout", "0").returncode == 0, "it is done")


def test_a_failed_job_says_why_and_its_exit_status_says_so(running: World) -> None:
    name = sent(running, file(running, "x.json", b"{no"))
    done = running.a.run("poll", name)
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 1


def test_an_expired_job_has_an_exit_status_of_its_own(running: World, api: Api) -> None:
    api.hold()
    name = sent(running, file(running, "x.raw"), "--deadline", "1s")
    done = running.a.run("poll", name)
    api.release()
    assert (done.returncode, done.stdout) == (12, b"")
    assert b"No answer came in time" in done.stderr


@pytest.mark.parametrize("how", [("-t", "pipe"), ("-t", "poll"), ("--wait",)])
def test_if_one_file_can_t_be_sent_none_is(how: tuple[str, ...], world: World) -> None:
    nothing, folder = world.folder / "no\nthing.raw", world.folder
    done = world.a.run("send", *how, file(world, "1.raw"), nothing, folder, file(world, "2.raw"))
    assert (done.returncode, done.stdout) == (7, b"")
    told = [line.removeprefix("roundtrip: ") for line in done.stderr.decode().splitlines()]
    assert told == [
        f"{world.folder}/no\ufffdthing.raw: no such file",
        f"{world.folder}: not a regular file",
        "nothing was sent",
    ]
    assert not world.under_way()


def too_large(world: World, name: str) -> Path:
    """A file for which there is no room, as is found out when it is its turn."""
    path = file(world, name)
    os.truncate(path, 1 << 43)
    return path


def test_what_fails_while_it_is_sent_is_counted_and_the_others_go_on(running: World) -> None:
    large = too_large(running, "large.raw")
    done = running.a.run(
        "send", "-t", "pipe", file(running, "1.raw", b"1\n"), large, file(running, "2.raw")
    )
    assert (done.returncode, done.stdout) == (4, b"1\ncontent")
    told = done.stderr.decode().splitlines()
    assert told[0].startswith(f"roundtrip: {large}: not sent: ")
    assert told[1:] == ["roundtrip: 3 files: 2 enriched, 1 not sent"]


def test_the_names_of_those_that_were_sent_are_printed(world: World) -> None:
    done = world.a.run("send", file(world, "1.raw"), too_large(world, "x"), file(world, "2.raw"))
    assert done.returncode == 4
    assert sorted(done.stdout.decode().split()) == world.under_way()["state/submit"]
    assert len(world.under_way()["state/submit"]) == 2
    told = done.stderr.decode().splitlines()[-1]
    assert told == "roundtrip: 3 files: 1 not sent, 2 sent"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_name_that_standard_output_does_not_take_is_told_elsewhere(
    unbuffered: str, world: World
) -> None:
    files = [file(world, "x.raw"), file(world, "y.raw")]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            world.a.command("send", "-t", "poll", *files),
            stdout=full, stderr=subprocess.PIPE, timeout=60, check=False, cwd=REPOSITORY,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert done.returncode == 4
    told = {line.rpartition(" ")[2] for line in done.stderr.decode().splitlines()}
    names = world.under_way()["state/submit"]
    assert len(names) == 2 and told >= set(names)


# What lies in the inbox may be taken


def test_an_answer_that_was_taken_is_told_as_such(running: World) -> None:
    name = sent(running, file(running, "x.raw"))
    running.result("x.raw")
    (running.inbox / "x.raw").unlink()
    for option in ([], ["--path"], ["--json"]):
        done = running.a.run("poll", name, *option)
        assert done.returncode == 13
        [line] = done.stderr.decode().splitlines()
        assert f"was delivered to {running.inbox}/x.raw at 2" in line
        assert line.endswith("and has been taken from there")
        assert bool(done.stdout) == (option == ["--json"])
    assert json.loads(done.stdout)["taken"] is True
    assert running.a.run("poll").stdout == b""


def test_another_file_in_its_place_is_neither_printed_nor_removed(running: World) -> None:
    name = sent(running, file(running, "x.raw"))
    running.result("x.raw")
    (running.inbox / "x.raw").write_bytes(b"CONTENT")
    done = running.a.run("poll", name, "--remove")
    assert (done.returncode, done.stdout) == (13, b"")
    [line] = done.stderr.decode().splitlines()
    assert line.endswith("and has been changed or replaced there since")
    assert (running.inbox / "x.raw").read_bytes() == b"CONTENT"


def test_a_problem_document_that_was_taken_is_a_failure_all_the_same(running: World) -> None:
    name = sent(running, file(running, "x.json", b"{no"))
    document = running.failed / "x.json.problem.json"
    wait_until(document.exists, "it has failed")
    document.unlink()
    done = running.a.run("poll", name)
    assert (done.returncode, done.stdout) == (1, b"")
    [line] = done.stderr.decode().splitlines()
    assert "has been taken from there" in line


def test_a_pipe_leaves_nothing_in_the_inbox_if_it_is_told_to(running: World) -> None:
    done = running.a.run("send", "-t", "pipe", file(running, "x.raw"))
    assert (done.returncode, done.stdout) == (0, b"content")
    done = running.a.run("send", "-t", "pipe", file(running, "y.raw"), "--remove")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"content", b"")
    assert [path.name for path in running.inbox.iterdir()] == ["x.raw"]


@pytest.mark.parametrize("arguments", [("-",), ("--remove", "x.raw")])
def test_an_answer_stays_in_the_inbox_while_a_delivery_needs_it(
    arguments: tuple[str, ...], make_world: MakeWorld, tmp_path: Path
) -> None:
    fifo, out = tmp_path / "go", tmp_path / "out"
    os.mkfifo(fifo)
    script = f'read line < {fifo}; cat -- "$1" > {out}'
    run = {"exec": {"run": ["sh", "-c", script, "sh", "{path}"]}}
    world = make_world(a={"deliver": {"tell": run}})
    world.start()
    file(world, "x.raw")
    files = [str(world.folder / each) if each == "x.raw" else each for each in arguments]
    done = world.a.run("send", "-t", "pipe", *files, "--pipeline", "echo", stdin=b"content")
    assert (done.returncode, done.stdout) == (0, b"content")
    told = done.stderr.decode().splitlines()
    assert len(told) == (1 if "--remove" in arguments else 0)
    [path] = world.inbox.iterdir()
    fifo.write_text("go\n")
    wait_until(lambda: world.a.events("delivery done"), "it is delivered")
    assert out.read_bytes() == b"content"
    assert path.exists()


@pytest.mark.parametrize("name", ["01ARZ3NDEKTSV4RRFFQ69G5FAV-x", "../x", ""])
def test_a_name_that_nobody_has_sent_is_refused_in_one_line(name: str, world: World) -> None:
    for command in ("poll", "cancel"):
        done = world.a.run(command, name)
        assert done.returncode == 7
        assert len(done.stderr.splitlines()) == 1


def test_what_can_be_picked_up_is_listed(running: World, api: Api) -> None:
    assert running.a.run("poll").stdout == b""
    first = sent(running, file(running, "1.raw"))
    running.result("1.raw")
    api.hold()
    second = sent(running, file(running, "2.raw"))
    running.drop("not-sent.raw", b"x")
    wait_until(lambda: api.waiting == 2, "both are at the API")
    found = [json.loads(line) for line in running.a.run("poll", "--json").stdout.splitlines()]
    assert found == [
        {"exchange": first, "stage": "enriched"},
        {"exchange": second, "stage": "requested"},
    ]
    api.release()


def test_a_sent_job_needs_no_agent_and_outlives_every_restart(world: World, api: Api) -> None:
    api.hold()
    name = sent(world, file(world, "x.raw"))
    poller = subprocess.Popen(
        world.a.command("poll", name, "-i", "1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    for life in range(3):
        world.start()
        wait_until(lambda before=life: api.calls["echo:x.raw"] > before, "B is asking")
        world.a.kill()
        world.b.kill()
    world.start()
    api.release()
    out, _ = poller.communicate(timeout=PATIENCE)
    assert (poller.returncode, out) == (0, b"content")


def test_an_answer_whose_path_others_are_told_stays_where_it_is(make_world: MakeWorld) -> None:
    tell = {"exec": {"run": ["true"]}, "match": ["*.told"]}
    world = make_world(a={"deliver": {"tell": tell}})
    world.start()
    for name in ("x.told", "y.raw"):
        done = world.a.run(
            "send", "-t", "pipe", "--name", name, "--pipeline", "echo", "-", stdin=b"content"
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"content", b"")
    assert [path.name for path in world.inbox.iterdir()] == ["x.told"]


# Given up


def test_a_cancelled_job_fails_at_once_and_b_stops_working_on_it(running: World, api: Api) -> None:
    api.hold()
    name = sent(running, file(running, "x.raw"))
    wait_until(lambda: api.waiting, "B is asking")
    done = running.a.run("cancel", name)
    assert (done.returncode, done.stdout.decode()) == (0, f"{name}  cancelled\n")
    done = running.a.run("poll", name)
    assert done.returncode == 1
    assert b"It was cancelled" in done.stderr
    assert (running.failed / "x.raw").read_bytes() == b"content"
    api.release()
    running.wait_swept()
    assert not list(running.inbox.iterdir())
    assert not list(running.a.folder("state/cancel").iterdir())


def test_a_job_is_cancelled_before_any_agent_has_seen_it(world: World, api: Api) -> None:
    name = sent(world, file(world, "x.raw"))
    done = world.a.run("cancel", name)
    assert done.returncode == 0
    assert b"when an agent runs" in done.stdout
    world.start()
    assert world.a.run("poll", name).returncode == 1
    world.wait_swept()
    assert not api.calls


def test_what_is_answered_can_not_be_cancelled(running: World) -> None:
    name = sent(running, file(running, "x.raw"))
    running.result("x.raw")
    running.wait_closed()
    done = running.a.run("cancel", name, name)
    assert done.returncode == 7
    assert len(done.stderr.splitlines()) == 2
    assert running.a.run("poll", name).stdout == b"content"


# Started again


def flaky(fails: int, count: Path) -> dict[str, Any]:
    """A pipeline whose program fails so many times; it leaves a line in `count` each time."""
    script = (
        f'echo "$ROUNDTRIP_EXCHANGE" >> {count}; test $(wc -l < {count}) -gt {fails} '
        "|| { echo 'not today' >&2; exit 3; }; cat"
    )
    step = {"name": "job", "command": {"shell": script}}
    return {"jobs": {"match": ["*.job"], "format": "raw", "steps": [step]}}


def test_a_failed_job_is_started_again_after_a_pause(make_world: MakeWorld, tmp_path: Path) -> None:
    count = tmp_path / "count"
    world = make_world(b={"pipelines": flaky(2, count)})
    world.start()
    path = file(world, "x.job")
    done = world.a.run("send", "-t", "pipe", path, "--attempts", "5", "--pause", "200ms")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"content", b"")
    assert len(count.read_text().splitlines()) == 3
    assert len(world.a.events("failed, again")) == 2
    assert "not today" in world.a.events("failed, again")[0]["reason"]


def test_a_program_s_percentage_is_seen_on_both_hosts(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    script = f"echo 'computing: 37.5% done' >&2; cat {fifo} > /dev/null; cat"
    step = {"name": "job", "command": {"shell": script, "progress": "([0-9.]+)% done"}}
    world = make_world(
        b={"pipelines": {"jobs": {"match": ["*"], "format": "raw", "steps": [step]}}}
    )
    world.start()
    name = sent(world, file(world, "x.job"))
    for host in (world.a, world.b):
        [item] = wait_until(
            lambda host=host: json.loads(host.run("status", "--json").stdout)["progress"],
            "there is progress",
        )
        assert (item["exchange"], item["done"]) == (name, 0.375)
    fifo.write_bytes(b"")
    assert world.a.run("poll", name).stdout == b"content"


def test_a_program_that_asks_for_patience_is_asked_again_until_it_has_the_answer(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    script = f'echo "$ROUNDTRIP_EXCHANGE" >> {count}; test $(wc -l < {count}) -gt 6 || exit 75; cat'
    step = {
        "name": "job", "command": {"shell": script},
        "retry": {"attempts": 1_000_000, "max_delay": "50ms"},
    }  # fmt: skip
    world = make_world(
        b={"pipelines": {"jobs": {"match": ["*"], "format": "raw", "steps": [step]}}}
    )
    world.start()
    name = sent(world, file(world, "x.job"))
    wait_until(lambda: count.exists() and len(count.read_text().splitlines()) > 2, "it was asked")
    world.b.kill()
    world.b.start()
    assert world.a.run("poll", name).stdout == b"content"
    assert set(count.read_text().splitlines()) == {name}


def test_the_last_failure_is_the_answer(make_world: MakeWorld, tmp_path: Path) -> None:
    count = tmp_path / "count"
    world = make_world(b={"pipelines": flaky(99, count)})
    world.start()
    path = file(world, "x.job")
    done = world.a.run("send", "-t", "pipe", path, "--attempts", "2", "--pause", "100ms")
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(count.read_text().splitlines()) == 2
    document = json.loads((world.failed / "x.job.problem.json").read_text())
    assert document["exit_code"] == 3
    assert document["stderr"] == "not today\n"
    assert (world.failed / "x.job").read_bytes() == b"content"


def test_a_pause_outlives_the_agents(make_world: MakeWorld, tmp_path: Path) -> None:
    count = tmp_path / "count"
    world = make_world(b={"pipelines": flaky(1, count)})
    world.start()
    name = sent(world, file(world, "x.job"), "--attempts", "2", "--pause", "6s")
    wait_until(lambda: world.a.events("failed, again"), "it has failed")
    world.a.kill()
    world.a.start()
    assert len(count.read_text().splitlines()) == 1
    assert world.a.run("poll", name, "--timeout", "0").returncode == 6
    done = world.a.run("poll", name)
    assert (done.returncode, done.stdout) == (0, b"content")
    assert len(count.read_text().splitlines()) == 2


def test_a_failed_attempt_is_told_wherever_one_asks(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world(b={"pipelines": flaky(99, tmp_path / "count")})
    world.start()
    name = sent(world, file(world, "x.job"), "--attempts", "5", "--pause", "1h")
    wait_until(lambda: world.a.events("failed, again"), "it has failed")
    told = "attempt 1 of 5 failed: Program failed; next at 2"
    # The ticket is written a moment after the line of the log.
    wait_until(lambda: told in asked(world, name), "poll tells it")
    assert told in world.a.run("poll").stdout.decode()
    assert told in world.a.run("explain", name).stdout.decode()
    assert told in " ".join(world.a.run("status").stdout.decode().split())
    [item] = json.loads(world.a.run("status", "--json").stdout)["attempts"]
    assert (item["exchange"], item["failed"], item["attempts"]) == (name, 1, 5)
    [item] = [json.loads(line) for line in world.a.run("poll", "--json").stdout.splitlines()]
    assert (item["failed"], item["attempts"], item["reason"]) == (1, 5, "Program failed")


def asked(world: World, name: str) -> str:
    """What `poll` says of an exchange that is under way."""
    return world.a.run("poll", name, "--timeout", "0").stderr.decode()


def test_a_deadline_ends_the_attempts(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world(b={"pipelines": flaky(99, tmp_path / "count")})
    world.start()
    path = file(world, "x.job")
    done = world.a.run(
        "send", "-t", "pipe", path, "--attempts", "99", "--pause", "1h", "--deadline", "1s"
    )
    assert done.returncode == 12


# What is wrong with the command line


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "email", "x"),
        ("-t", "pipe", "--wait", "x"),
        ("--attempts", "0", "x"),
        ("-", "-"),
        ("--name", "y.csv", "x"),
        ("-t", "pipe", "--json", "x"),
        ("--remove", "x"),
        ("--wait", "--remove", "x"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    arguments: tuple[str, ...], world: World
) -> None:
    done = world.a.run("send", *arguments)
    assert done.returncode == 2
    assert done.stdout == b""


def test_mail_without_a_mail_server_is_a_matter_of_the_configuration(world: World) -> None:
    done = world.a.run("send", "-t", "email", "a@b.example", file(world, "x.raw"))
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"no `mail` section" in done.stderr
    assert not world.under_way()


@pytest.mark.parametrize("address", ["nobody", "a@b@c", "a b@c", "a@b\nBcc: c@d"])
def test_what_is_no_address_is_refused(address: str, world: World) -> None:
    done = world.a.run("send", "-t", "email", address, file(world, "x.raw"))
    assert done.returncode == 7
    assert len(done.stderr.splitlines()) <= 2
