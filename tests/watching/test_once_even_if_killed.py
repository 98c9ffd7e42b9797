"""kill -9 of the watch, of its helpers and of commands, anywhere: each file is run exactly once.

What is certain is that no file is run twice. Where the process that watched a command was killed
itself, nobody knows how the command ended: such a file is a dead letter by default.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from roundtrip.errors import ExitCode
from tests.processes import children
from tests.watching.conftest import Scene, until

HOLD = (
    'touch "$2.begun"; until [ -e "$2.go" ]; do sleep 0.02; done; printf "%s\\0" "$1" >> "$2.end"'
)
"""A command's body that waits for a sign, and says that it came to its end."""


def held(scene: Scene, *options: str, files: tuple[str, ...] = ("a", "b")) -> Any:
    """A watch in the middle of its first run."""
    for age, name in enumerate(files):
        os.utime(scene.put(name), (age, age))
    # Not by a pipe: the command holds stderr as well, and may outlive the watch.
    with (scene.root / "err").open("wb") as err:
        process = scene.start(*options, *scene.script(HOLD), stderr=err, stdout=err)
    until(lambda: (scene.root / "runs.begun").exists(), "the first run")
    return process


def said(scene: Scene, what: str) -> str:
    """What the held watch said on stderr, as soon as that has `what` in it."""
    path = scene.root / "err"
    until(lambda: what in path.read_text(), what)
    return path.read_text()


def ended(scene: Scene) -> Counter[str]:
    end = scene.root / "runs.end"
    if not end.exists():
        return Counter()
    return Counter(os.path.basename(path) for path in end.read_text().split("\0")[:-1])


def runner_of(process: subprocess.Popen[bytes]) -> int:
    """The process that forks the runs."""
    (runner,) = until(lambda: children(process.pid), "the runner")
    return int(runner)


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_killed_watch_leaves_its_run_to_finish_and_the_next_one_waits_for_it(
    scene: Scene,
) -> None:
    process = held(scene)
    process.kill()
    process.wait()
    second = scene.start("--once", *scene.script(HOLD))
    line = second.stderr.readline().decode()
    assert line == "roundtrip: waiting for 1 run of an earlier watch, still under way\n"
    until(lambda: scene.runs()["b"], "the other file is not held up")
    assert scene.runs() == Counter("ab")
    (scene.root / "runs.go").touch()
    assert second.wait(timeout=30) == ExitCode.OK
    assert scene.runs() == ended(scene) == Counter("ab")
    assert set(scene.journal()) == {"a", "b"} and not os.listdir(scene.state / "claims")


def test_a_run_that_ends_while_no_watch_is_there_counts(scene: Scene) -> None:
    process = held(scene, files=("a",))
    process.kill()
    (scene.root / "runs.go").touch()
    until(lambda: ended(scene), "the end of the run")
    assert scene.run("--once", *scene.script(HOLD)).returncode == ExitCode.OK
    assert scene.runs() == Counter("a")


@pytest.mark.parametrize("policy", ["dead", "retry"])
def test_a_run_whose_end_nobody_saw_is_a_dead_letter_or_run_again(
    scene: Scene, policy: str
) -> None:
    """The watch, the runner, the process of the run and the command: all at once."""
    process = held(scene, "--interrupted", policy, files=("a",))
    runner = runner_of(process)
    (run,) = children(runner)
    (command,) = children(run)
    for pid in (process.pid, runner, run):
        killed(pid)
    os.killpg(command, signal.SIGKILL)
    (scene.root / "runs.go").touch()
    options = ("--once", "--interrupted", policy, "--dead-letter", str(scene.dead))
    done = scene.run(*options, *scene.script(HOLD))
    assert b"nobody saw how the command ended" in done.stderr
    if policy == "dead":
        assert done.returncode == ExitCode.FAILED and scene.runs() == Counter("a")
        problem = json.loads((scene.dead / "a.problem.json").read_text())
        assert problem["type"].endswith("watch-interrupted")
        assert os.listdir(scene.folder) == []
    else:
        assert done.returncode == ExitCode.OK
        assert scene.runs() == Counter("aa") and ended(scene) == Counter("a")


def test_a_command_that_outlives_its_run_is_waited_for_and_not_run_beside_itself(
    scene: Scene,
) -> None:
    process = held(scene, "--interrupted", "retry", files=("a",))
    (run,) = children(runner_of(process))
    killed(run)
    time.sleep(1.0)  # The command holds the claim's lock: nothing else may happen.
    assert scene.runs() == Counter("a")
    (scene.root / "runs.go").touch()
    until(lambda: ended(scene)["a"] == 2, "run again, after it had ended")
    assert scene.runs() == Counter("aa")
    scene.stop(process)


def test_a_killed_runner_ends_the_watch_in_one_line_and_its_run_goes_on(scene: Scene) -> None:
    process = held(scene)
    killed(runner_of(process))
    assert process.wait(timeout=30) == ExitCode.INTERNAL
    assert said(scene, "start again").count("\n") == 1
    (scene.root / "runs.go").touch()
    assert scene.run("--once", *scene.script(HOLD)).returncode == ExitCode.OK
    assert scene.runs() == ended(scene) == Counter("ab")


def test_a_first_ctrl_c_waits_for_the_run_and_begins_no_other(scene: Scene) -> None:
    process = held(scene)
    process.send_signal(signal.SIGINT)
    said(scene, "waiting for 1 run")
    (scene.root / "runs.go").touch()
    assert process.wait(timeout=30) == ExitCode.INTERRUPTED
    assert scene.runs() == ended(scene) == Counter("a")
    assert scene.journal()["a"]["outcome"] == "done"


def test_a_second_ctrl_c_leaves_the_run_to_itself(scene: Scene) -> None:
    process = held(scene)
    process.send_signal(signal.SIGINT)
    said(scene, "again to leave")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == ExitCode.INTERRUPTED
    said(scene, "1 run left to go on alone")
    assert ended(scene) == Counter()
    (scene.root / "runs.go").touch()
    assert scene.run("--once", *scene.script(HOLD)).returncode == ExitCode.OK
    assert scene.runs() == ended(scene) == Counter("ab")


def test_ctrl_c_at_a_terminal_does_not_reach_the_command(scene: Scene) -> None:
    """The terminal sends it to all processes of the foreground group."""
    process = held(scene)
    os.killpg(os.getpgid(runner_of(process)), 0)
    assert os.getpgid(runner_of(process)) != os.getpgid(process.pid)
    (run,) = children(runner_of(process))
    (command,) = children(run)
    groups = {os.getpgid(pid) for pid in (process.pid, run, command)}
    assert len(groups) == 3
    (scene.root / "runs.go").touch()
    scene.ran("a", "b")
    scene.stop(process)


# Killed at the n-th call of its kind

CALLS = [
    ("fsync,fdatasync", 4),
    ("unlink,unlinkat", 2),
    ("rename,renameat,renameat2", 2),
    ("sendto,sendmsg", 2),
    ("write", 5),
    ("flock", 2),
]


def _points() -> list[tuple[str, int]]:
    return [(call, number) for call, last in CALLS for number in range(1, last + 1)]


@pytest.mark.needs("strace")
@pytest.mark.parametrize(("call", "number"), _points())
def test_no_file_is_run_twice_whichever_process_is_killed_at_its_n_th_call(
    scene: Scene, call: str, number: int
) -> None:
    """Every process counts for itself: the watch, its runner, each run and each command."""
    names = [f"f{each}" for each in range(4)]
    for name in names:
        scene.put(name)
    inject = f"--inject={call}:signal=KILL:when={number}"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", f"--trace={call}", inject]
    options = ("--once", "-j", "2", "--dead-letter", str(scene.dead))
    hurt = scene.start(*options, *scene.script(), under=strace)
    hurt.communicate(timeout=60)
    for _ in range(10):
        done = scene.run(*options, *scene.script())
        if done.returncode == ExitCode.OK:
            break
    assert done.returncode == ExitCode.OK, done.stderr
    runs = scene.runs()
    assert max(runs.values(), default=0) <= 1, runs
    buried = {path.name for path in scene.dead.iterdir() if path.suffix != ".json"}
    assert set(runs) | buried == set(names)
    assert not os.listdir(scene.state / "claims")


@pytest.mark.needs("strace")
@pytest.mark.parametrize("number", range(1, 9))
def test_if_only_the_watch_is_killed_at_its_n_th_call_every_file_is_run_exactly_once(
    scene: Scene, number: int
) -> None:
    """Not followed into the runner: what the watch itself does, in steps of several calls."""
    names = [f"f{each}" for each in range(3)]
    for name in names:
        scene.put(name)
    inject = f"--inject=fsync,fdatasync,rename,unlink,sendto,recvfrom:signal=KILL:when={number}"
    hurt = scene.start(
        "--once", *scene.script(), under=["strace", "-qq", "-o", "/dev/null", inject]
    )
    hurt.communicate(timeout=60)
    done = scene.run("--once", "--dead-letter", str(scene.dead), *scene.script())
    assert done.returncode == ExitCode.OK, done.stderr
    assert scene.runs() == Counter(names)
    assert not os.listdir(scene.dead)


def test_each_of_many_files_is_run_once_though_the_watch_is_killed_again_and_again(
    scene: Scene,
) -> None:
    names = [f"f{number:03}" for number in range(120)]
    for name in names[:60]:
        scene.put(name)
    coming = iter(names[60:])
    for kills in range(6):
        process = scene.start("-j", "3", *scene.script())
        for name in itertools.islice(coming, 10):
            scene.put(name)
        until(lambda kills=kills: len(scene.runs()) >= 15 * (kills + 1), "some runs")
        process.kill()
        process.wait()
    done = scene.run("--once", "-j", "3", *scene.script())
    assert done.returncode == ExitCode.OK
    assert scene.runs() == Counter(names)


def test_a_torn_last_line_of_the_journal_is_made_good_by_the_claim(scene: Scene) -> None:
    """A power cut while the journal was written: the claim goes only when the line is on disk."""
    scene.put("a")
    scene.put("b")
    scene.run("--once", *scene.script())
    journal: Path = scene.state / "journal"
    entry = scene.journal()["b"]
    outcome = {"code": 0, "seconds": 0.1}
    claim = scene.state / "claims" / str(entry["run"])
    claim.write_text(f"{json.dumps(entry)}\n{json.dumps(outcome)}\n")
    journal.write_bytes(journal.read_bytes()[:-20])
    scene.run("--once", *scene.script())
    assert scene.runs() == Counter("ab")
    assert scene.journal()["b"]["outcome"] == "done" and not claim.exists()
