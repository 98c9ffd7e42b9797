"""Commands that fail, hang or can't be started; dead letters; retries; markers; full disks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from roundtrip.errors import ExitCode
from tests.processes import lives
from tests.watching.conftest import Scene, until

FAILING = 'echo "no good: $1" >&2; exit 7'


def test_a_failed_run_is_remembered_listed_and_tried_again_only_when_asked(scene: Scene) -> None:
    scene.put("bad")
    done = scene.run("--once", *scene.script(FAILING))
    assert done.returncode == ExitCode.FAILED
    assert b"bad: exit code 7; remembered as failed" in done.stderr
    assert scene.run("--once", *scene.script(FAILING)).returncode == ExitCode.OK
    assert scene.runs() == Counter(["bad"])
    listed = scene.run("--list-failed", "--state", scene.state)
    assert listed.stdout == os.fsencode(scene.folder / "bad") + b"\n"
    told = json.loads(scene.run("--list-failed", "--json", "--state", scene.state).stdout)
    assert told["reason"] == "exit code 7" and told["attempts"] == 1
    for to, code in ((">&-", ExitCode.USAGE), (">/dev/full", ExitCode.SHARE)):
        shell = ["sh", "-c", f'exec "$@" {to}', "sh"]
        untold = scene.run("--list-failed", "--json", "--state", scene.state, under=shell)
        assert (untold.returncode, untold.stderr.count(b"standard output")) == (code, 1)
    assert scene.run("--once", "--retry-failed", *scene.script()).returncode == ExitCode.OK
    assert scene.runs() == Counter({"bad": 2})
    assert scene.run("--list-failed", "--state", scene.state).stdout == b""


def test_a_dead_letter_lies_with_its_problem_document_and_replaces_nothing(scene: Scene) -> None:
    options = ("--once", "--dead-letter", str(scene.dead))
    for content in ("first", "second"):
        scene.put("bad.csv", content)
        done = scene.run(*options, *scene.script(FAILING))
        assert done.returncode == ExitCode.FAILED and b"; moved to " in done.stderr
    assert os.listdir(scene.folder) == []
    letters = [path for path in scene.dead.iterdir() if path.suffix == ".csv"]
    assert {path.read_text() for path in letters} == {"first", "second"}
    assert scene.dead / "bad.csv" in letters
    for letter in letters:
        problem = json.loads((scene.dead / f"{letter.name}.problem.json").read_text())
        assert problem["type"] == "tag:roundtrip,2026:watch-failed"
        assert problem["detail"] == "exit code 7" and problem["exit"] == 7
        assert problem["path"] == str(scene.folder / "bad.csv")
        assert "no good: " in problem["stderr"]
    assert len(os.listdir(scene.dead)) == 4
    assert scene.run("--once", *scene.script()).returncode == ExitCode.OK
    assert scene.journal() == {} or set(scene.journal()) == {"bad.csv"}


@pytest.mark.parametrize("once", [True, False])
def test_a_file_put_back_from_the_dead_letters_is_run_again(scene: Scene, once: bool) -> None:
    scene.put("bad")
    scene.put("good")
    options = ("--dead-letter", str(scene.dead))
    body = 'case "$1" in *bad) exit 1; esac'
    if once:
        assert scene.run("--once", *options, *scene.script(body)).returncode == ExitCode.FAILED
    else:
        process = scene.start(*options, *scene.script(body))
        scene.ran("good", "bad")
        scene.remembered("good")
        until(lambda: (scene.dead / "bad").exists(), "the dead letter")
        scene.stop(process)
    (scene.dead / "bad").rename(scene.folder / "bad")
    assert scene.run("--once", *options, *scene.script()).returncode == ExitCode.OK
    assert scene.runs() == Counter({"bad": 2, "good": 1})
    scene.run("--once", *options, *scene.script())
    assert scene.runs() == Counter({"bad": 2, "good": 1})


def test_a_file_that_was_moved_away_by_a_watch_told_to_stop_is_run_again_when_put_back(
    scene: Scene,
) -> None:
    scene.put("bad")
    body = 'touch "$2.began"; until [ -e "$2.go" ]; do sleep 0.05; done; exit 1'
    process = scene.start("--dead-letter", str(scene.dead), *scene.script(body))
    until((scene.root / "runs.began").exists, "the run")
    process.send_signal(15)
    assert b"waiting for 1 run" in process.stderr.readline()
    (scene.root / "runs.go").touch()
    assert process.wait(timeout=30) == ExitCode.OK
    (scene.dead / "bad").rename(scene.folder / "bad")
    scene.run("--once", *scene.script())
    assert scene.runs() == Counter({"bad": 2})


def test_a_dead_letter_keeps_a_name_of_any_bytes_and_of_full_length(scene: Scene) -> None:
    names = [b"\xff" * 255, b"x" * 250 + b".csv"]
    for name in names:
        scene.put(name)
    scene.run("--once", "--dead-letter", str(scene.dead), *scene.script(FAILING))
    assert os.listdir(scene.folder) == []
    assert sum(not name.endswith(".problem.json") for name in os.listdir(scene.dead)) == 2


def test_a_file_that_was_replaced_while_its_run_failed_is_no_dead_letter_but_run_again(
    scene: Scene,
) -> None:
    scene.put("x", "bad")
    body = 'grep -q good "$1" && exit 0; echo good > "$1.new"; mv "$1.new" "$1"; exit 1'
    process = scene.start("--dead-letter", str(scene.dead), *scene.script(body))
    until(lambda: scene.runs()["x"] == 2, "the second run")
    until(lambda: scene.journal().get("x", {}).get("outcome") == "done", "it is done")
    scene.stop(process)
    assert os.listdir(scene.dead) == [] and os.listdir(scene.folder) == ["x"]


@pytest.mark.needs("root", "unshare", "mount")
def test_a_dead_letter_folder_on_another_file_system_is_refused(scene: Scene) -> None:
    script = 'mount -t tmpfs none "$1" && shift && exec "$@"'
    scene.dead.mkdir()
    under = ["unshare", "--mount", "sh", "-c", script, "sh", str(scene.dead)]
    done = scene.run("--dead-letter", str(scene.dead), *scene.script(), under=under)
    assert done.returncode == ExitCode.SHARE
    assert b"on another file system" in done.stderr


def test_a_failed_run_is_tried_again_with_longer_pauses_until_it_is_done(scene: Scene) -> None:
    body = 'date +%s.%N >> "$2.times"; [ $(wc -l < "$2.times") -ge 4 ]'
    scene.put("a")
    options = ("--once", "--retries", "5", "--retry-delay", "200ms")
    done = scene.run(*options, *scene.script(body))
    assert done.returncode == ExitCode.OK
    times = [float(line) for line in (scene.root / "runs.times").read_text().split()]
    pauses = [after - before for before, after in pairwise(times)]
    assert len(pauses) == 3
    assert all(pause >= least for pause, least in zip(pauses, (0.19, 0.39, 0.79), strict=True))
    assert scene.journal()["a"]["attempts"] == 4


def test_attempts_count_across_a_restart(scene: Scene) -> None:
    scene.put("a")
    options = ("--retries", "2", "--retry-delay", "500ms")
    process = scene.start(*options, *scene.script("exit 1"))
    scene.ran("a")
    scene.remembered("a")
    process.kill()
    process.wait()
    done = scene.run("--once", *options, *scene.script("exit 1"))
    assert done.returncode == ExitCode.FAILED
    assert scene.runs() == Counter({"a": 3})


def test_a_run_that_takes_too_long_is_ended_with_all_that_it_started(scene: Scene) -> None:
    scene.put("a")
    body = 'trap "" TERM; sleep 600 & echo $! > "$2.pid"; sleep 600; sleep 600'
    began = time.monotonic()
    done = scene.run("--once", "--timeout", "300ms", *scene.script(body))
    assert time.monotonic() - began < 15
    assert done.returncode == ExitCode.FAILED and b"took longer than 0.3 s" in done.stderr
    left = int((scene.root / "runs.pid").read_text())
    until(lambda: not lives(left), "what it started has ended")


def test_what_a_command_leaves_in_the_background_does_not_hold_it_up(scene: Scene) -> None:
    scene.put("a")
    body = 'sleep 30 >&- 2>&- & echo $! > "$2.pid"'
    began = time.monotonic()
    # Its own descriptors, which the sleep would hold: files, not pipes.
    with (scene.root / "out").open("wb") as out:
        done = scene.start("--once", *scene.script(body), stdout=out, stderr=out)
        assert done.wait(timeout=20) == ExitCode.OK
    assert time.monotonic() - began < 15
    os.kill(int((scene.root / "runs.pid").read_text()), 9)


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program", ".", "/etc/passwd"])
def test_a_program_that_is_not_there_is_refused_before_any_file_is_touched(
    scene: Scene, program: str
) -> None:
    scene.put("a")
    done = scene.run("--once", "--dead-letter", str(scene.dead), "--exec", program)
    assert done.returncode == ExitCode.USAGE
    assert f"{program}: there is no such program".encode() in done.stderr
    assert os.listdir(scene.folder) == ["a"] and not scene.state.exists()


def _program(scene: Scene, content: str) -> Path:
    path = scene.root / "program"
    path.with_suffix(".new").write_text(content)
    path.with_suffix(".new").chmod(0o755)
    path.with_suffix(".new").rename(path)
    return path


def test_a_program_that_vanishes_later_costs_no_file_and_is_started_when_it_is_back(
    scene: Scene,
) -> None:
    program = _program(scene, f'#!/bin/sh\nprintf "%s\\0" "$1" >> {scene.log}\n')
    process = scene.start("--dead-letter", scene.dead, "--exec", str(program), "{path}")
    scene.put("a")
    scene.ran("a")
    scene.remembered("a")
    program.rename(scene.root / "aside")
    scene.put("b")
    assert b"b: not run now: " in process.stderr.readline()
    assert os.listdir(scene.state / "claims") == [] and os.listdir(scene.dead) == []
    (scene.root / "aside").rename(program)
    scene.ran("a", "b")
    scene.stop(process)


def test_with_once_files_whose_program_can_not_be_started_are_left_for_the_next_run(
    scene: Scene,
) -> None:
    scene.put("a")
    scene.put("b")
    program = _program(scene, "#!/no/such/interpreter\n")
    options = ("--once", "--dead-letter", str(scene.dead), "--exec", str(program), "{path}")
    done = scene.run(*options)
    assert done.returncode == ExitCode.FAILED
    assert done.stderr.count(b"can't be started: No such file") == 1
    assert sorted(os.listdir(scene.folder)) == ["a", "b"] and os.listdir(scene.dead) == []
    _program(scene, f'#!/bin/sh\nprintf "%s\\0" "$1" >> {scene.log}\n')
    assert scene.run(*options).returncode == ExitCode.OK
    scene.ran("a", "b")


def test_a_signal_that_ends_a_command_is_named(scene: Scene) -> None:
    scene.put("a")
    done = scene.run("--once", *scene.script("kill -SEGV $$"))
    assert b"ended by SIGSEGV" in done.stderr


def test_a_command_reads_nothing_from_us_and_holds_nothing_of_ours_but_the_claim(
    scene: Scene,
) -> None:
    scene.put("a")
    body = 'cat > "$2.stdin"; ls -l /proc/self/fd > "$2.fds"'
    assert scene.run("--once", *scene.script(body)).returncode == ExitCode.OK
    assert (scene.root / "runs.stdin").read_text() == ""
    targets = [
        line.rpartition("-> ")[2] for line in (scene.root / "runs.fds").read_text().splitlines()
    ]
    ours = [each for each in targets if str(scene.root) in each and not each.endswith("runs.fds")]
    assert len(ours) == 1 and "/state/claims/" in ours[0]
    assert not [each for each in targets if each.startswith("socket:")]


# Markers


def marked(scene: Scene, name: str, content: str, **wrong: object) -> dict[str, object]:
    fields = {
        "v": 1,
        "exchange": name,
        "size": len(content),
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        **wrong,
    }
    scene.put(name, content)
    return fields


def test_with_markers_a_file_is_run_when_its_marker_is_there_and_true(scene: Scene) -> None:
    process = scene.start("--on", "done", *scene.script())
    fields = marked(scene, "orders.csv", "id,ip\n")
    scene.put("empty-marker", "x")
    scene.put("empty-marker.done", "")
    scene.ran("empty-marker")
    scene.put("orders.csv.done", json.dumps(fields))
    scene.ran("empty-marker", "orders.csv")
    # A marker that comes first.
    fields = marked(scene, "late.csv", "late")
    (scene.folder / "late.csv").rename(scene.root / "late.csv")
    scene.put("late.csv.done", json.dumps(fields))
    (scene.root / "late.csv").rename(scene.folder / "late.csv")
    scene.ran("empty-marker", "orders.csv", "late.csv")
    scene.stop(process)


@pytest.mark.parametrize("wrong", [{"size": 3}, {"sha256": "0" * 64}, {"exchange": "other"}])
def test_a_file_that_is_not_what_its_marker_says_waits_until_it_is(
    scene: Scene, wrong: dict[str, object]
) -> None:
    fields = marked(scene, "x.csv", "content", **wrong)
    scene.put("x.csv.done", json.dumps(fields))
    done = scene.run("--once", "--on", "done", *scene.script())
    assert done.returncode == ExitCode.OK and b"x.csv: not complete: " in done.stderr
    process = scene.start("--on", "done", *scene.script())
    assert b"not complete" in process.stderr.readline()
    assert scene.runs() == Counter()
    scene.put("x.csv.done", json.dumps(marked(scene, "x.csv", "content")))
    scene.ran("x.csv")
    scene.stop(process)


# No room


@pytest.mark.needs("root", "unshare", "mount")
def test_on_a_full_disk_nothing_is_run_and_when_there_is_room_everything_is(scene: Scene) -> None:
    """The claim comes first: without one there is no run."""
    for number in range(3):
        scene.put(f"f{number}")
    scene.state.mkdir()
    mounted = 'mount -t tmpfs -o size=64k,nr_inodes=40 none "$1" && shift && exec "$@"'
    under = ["unshare", "--mount", "sh", "-c", mounted, "sh", str(scene.state)]
    process = scene.start(*scene.script(), under=under)
    scene.ran("f0", "f1", "f2")
    inside = ["nsenter", "--mount", "-t", str(process.pid), "sh", "-c"]
    fill = f"cat /dev/zero > {scene.state}/ballast"
    subprocess.run([*inside, fill], stderr=subprocess.DEVNULL)
    scene.put("late")
    assert b"late: not run now: " in process.stderr.readline()
    assert scene.runs()["late"] == 0
    subprocess.run([*inside, f"rm {scene.state}/ballast"], check=True)
    scene.ran("f0", "f1", "f2", "late")
    scene.stop(process)


def test_with_no_room_it_says_so_once_however_many_files_wait(scene: Scene) -> None:
    for number in range(50):
        scene.put(f"f{number}")
    scene.state.mkdir()
    (scene.state / "claims").mkdir()
    (scene.state / "claims").chmod(0o500)
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=0"]
    process = scene.start(*scene.script(), under=without)
    assert b"not run now" in process.stderr.readline()
    time.sleep(0.5)
    (scene.state / "claims").chmod(0o700)
    until(lambda: len(scene.runs()) == 50, "all are run")
    assert b"not run now" not in scene.stop(process)


@pytest.mark.parametrize("deep", [False, True])
def test_a_dead_letter_folder_that_is_watched_itself_is_refused(scene: Scene, deep: bool) -> None:
    inside = scene.folder / "failed" if deep else scene.folder
    options = ["--once", *(["-r"] if deep else [])]
    done = scene.run(*options, "--dead-letter", inside, *scene.script())
    assert done.returncode == ExitCode.SHARE
    assert b"must be outside of the watched folder" in done.stderr
    scene.put("bad")
    hidden = scene.folder / ".failed"
    assert scene.run(*options, "--dead-letter", hidden, *scene.script("exit 1")).returncode == 1
    assert (hidden / "bad").exists()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_never_get_what_is_meant_for_them(
    scene: Scene, closed: str
) -> None:
    scene.put("a")
    scene.put("b")
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    process = scene.start("--once", "--json", *scene.script("echo out; echo err >&2"), under=shell)
    process.communicate(timeout=30)
    assert process.returncode == ExitCode.OK
    scene.ran("a", "b")
    assert (scene.folder / "a").read_text() == "content"
    assert set(scene.journal()) == {"a", "b"}
