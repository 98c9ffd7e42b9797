"""Which files are run, how often, and with which arguments: real processes on real folders."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess

import pytest

from roundtrip.errors import ExitCode
from tests.processes import inotify_watches
from tests.watching.conftest import Scene, until

ODD = [b"\xff\xfe caf\xe9", b"a\nb", b"-rf", b"$(touch x)", b"'\"`;&|", b"{path}", b"  ", b"%s\\0"]


def test_what_is_there_and_what_comes_is_run_once_and_not_again_after_a_restart(
    scene: Scene,
) -> None:
    scene.put("early")
    process = scene.start(*scene.script())
    scene.ran("early")
    scene.put("late")
    (scene.folder / "written").write_text("in place")
    scene.ran("early", "late", "written")
    scene.remembered("early", "late", "written")
    scene.stop(process)
    assert scene.run("--once", *scene.script()).returncode == ExitCode.OK
    scene.ran("early", "late", "written")


def test_a_file_that_is_replaced_or_written_again_is_run_again_and_one_only_touched_up_is_not(
    scene: Scene,
) -> None:
    for name in ("replaced", "appended", "made mode", "linked", "made again"):
        scene.put(name)
    again = scene.folder / "made again"
    times = again.stat()
    scene.run("--once", *scene.script())
    scene.put("replaced")
    with open(scene.folder / "appended", "a") as file:
        file.write("more")
    (scene.folder / "made mode").chmod(0o600)
    os.link(scene.folder / "linked", scene.root / "backup")
    again.unlink()
    scene.put("made again")
    os.utime(again, ns=(times.st_atime_ns, times.st_mtime_ns))
    scene.run("--once", *scene.script())
    ran = scene.runs()
    assert {name for name, count in ran.items() if count == 2} == {
        "replaced",
        "appended",
        "made again",
    }
    assert ran["made mode"] == ran["linked"] == 1


def test_names_of_any_bytes_arrive_as_they_are(scene: Scene) -> None:
    for name in ODD:
        scene.put(name)
    done = scene.run("--once", *scene.script())
    assert done.returncode == ExitCode.OK, done.stderr
    scene.ran(*map(os.fsdecode, ODD))
    assert os.listdir(scene.root / "incoming") and not (scene.root / "x").exists()
    scene.run("--once", *scene.script())
    scene.ran(*map(os.fsdecode, ODD))


def test_every_placeholder_stands_for_what_is_documented(scene: Scene) -> None:
    (scene.folder / "sub").mkdir()
    scene.put("sub/photo.tar.gz", "12345")
    words = ["{}", "{path}", "{name}", "{stem}", "{ext}", "{dir}", "{rel}", "{event}", "{size}"]
    words += ["{attempt}", "{{path}}", "{print $1}", "a{stem}b{ext}"]
    done = scene.run("--once", "--recursive", "--exec", "printf", "%s\\n", *words)
    path = f"{scene.folder}/sub/photo.tar.gz"
    assert done.stdout.decode().splitlines() == [
        path, path, "photo.tar.gz", "photo.tar", ".gz", f"{scene.folder}/sub", "sub/photo.tar.gz",
        "found", "5", "1", "{path}", "{print $1}", "aphoto.tarb.gz",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["echo", "{pth}"], "did you mean {path}?"),
        (["{name}"], "the program can't be a placeholder"),
        (["sh", "-c", "gzip {path}"], "a placeholder in the code that sh runs"),
        (["env", "bash", "-ec", "gzip {}"], "a placeholder in the code that bash runs"),
        (["su", "root", "-c", "echo {name}"], "a placeholder in the code that su runs"),
        (["python3", "-c", "print('{name}')"], "write sys.argv[1] there"),
        ([], "--exec needs a program"),
    ],
)
def test_a_command_that_can_not_be_meant_is_refused_before_anything_is_run(
    scene: Scene, command: list[str], says: str
) -> None:
    scene.put("file")
    done = scene.run("--once", "--exec", *command)
    assert done.returncode == ExitCode.USAGE
    assert says in done.stderr.decode()


def test_a_name_that_would_be_an_option_fails_unless_two_dashes_stand_before_it(
    scene: Scene,
) -> None:
    scene.put("-n")
    done = scene.run("--once", "--retries", "3", "--exec", "echo", "{name}")
    assert (done.returncode, done.stdout) == (ExitCode.FAILED, b"")
    assert b"begins with a dash" in done.stderr
    done = scene.run("--once", "--retry-failed", "--exec", "printf", "--", "%s", "{name}")
    assert done.stdout == b"-n"


def test_hidden_and_in_flight_names_are_left_alone(scene: Scene) -> None:
    for name in (".x.csv.1a2b3c4d.part", "x.part", "x.TMP", "x~", ".hidden", "x.filepart", "good"):
        scene.put(name)
    (scene.folder / "folder").mkdir()
    (scene.folder / "link").symlink_to(scene.folder / "good")
    os.mkfifo(scene.folder / "fifo")
    scene.run("--once", *scene.script())
    scene.ran("good")


def test_globs_choose_by_name(scene: Scene) -> None:
    for name in ("a.png", "b.jpg", "c.txt", "keep.png"):
        scene.put(name)
    scene.run(
        "--once", "--match", "*.png", "--match", "*.jpg", "--ignore", "keep*", *scene.script()
    )
    scene.ran("a.png", "b.jpg")


def test_a_file_that_is_being_written_is_run_when_it_is_closed_and_whole(scene: Scene) -> None:
    with open(scene.folder / "slow", "w") as file:
        file.write("half")
        file.flush()
        process = scene.start(*scene.script('cat "$1" >> "$2.content"'))
        scene.put("other")
        scene.ran("other")
        file.write(" and the rest")
    scene.ran("other", "slow")
    scene.stop(process)
    assert (scene.root / "runs.content").read_text() == "contenthalf and the rest"


def test_moved_to_takes_no_notice_of_files_written_in_place_until_it_lists(scene: Scene) -> None:
    process = scene.start("--on", "moved_to", *scene.script())
    scene.put("first")
    scene.ran("first")
    (scene.folder / "in place").write_text("x")
    scene.put("second")
    os.link(scene.folder / "second", scene.folder / "linked")
    scene.ran("first", "second", "linked")
    scene.stop(process)


def test_new_only_leaves_what_was_there_unless_something_happens_to_it(scene: Scene) -> None:
    scene.put("old")
    scene.put("old but written again")
    process = scene.start("--new-only", *scene.script())
    until(lambda: (scene.state / "journal").exists(), "it has begun")
    until(lambda: inotify_watches(process.pid), "it watches")
    scene.put("new")
    scene.ran("new")
    (scene.folder / "old but written again").write_text("again")
    scene.ran("new", "old but written again")
    scene.stop(process)


def test_a_command_that_changes_its_file_runs_once_with_in_place(scene: Scene) -> None:
    process = scene.start("--in-place", *scene.script('echo changed > "$1"'))
    scene.put("a")
    scene.ran("a")
    scene.remembered("a")
    scene.put("b")
    scene.ran("a", "b")
    scene.stop(process)
    scene.run("--once", "--in-place", *scene.script())
    scene.ran("a", "b")


def test_runs_overlap_up_to_the_number_asked_for(scene: Scene) -> None:
    """Each run waits until another one is there as well: with one at a time none would end."""
    for name in ("a", "b"):
        scene.put(name)
    meet = 'touch "$1.here"; until [ -e "${1%?}a.here" ] && [ -e "${1%?}b.here" ]; '
    done = scene.run(
        "-j", "2", "--once", "--ignore", "*.here", *scene.script(meet + "do sleep 0.05; done")
    )
    assert done.returncode == ExitCode.OK
    scene.ran("a", "b")


def test_with_one_at_a_time_the_oldest_is_first(scene: Scene) -> None:
    for number, name in enumerate(["c", "a", "b"]):
        os.utime(scene.put(name), (number, number))
    scene.run("--once", *scene.script())
    assert list(scene.runs()) == ["c", "a", "b"]


# What is told


def test_without_a_command_each_path_is_told_as_the_folder_was_written(scene: Scene) -> None:
    scene.put("a b")
    words = ["incoming", "--once"]
    done = subprocess.run([*_watch(), *words], cwd=scene.root, capture_output=True, check=True)
    assert done.stdout == b"incoming/a b\n"
    assert scene.run("--once", "-0").stdout == os.fsencode(scene.folder / "a b") + b"\0"
    assert not scene.state.exists()


def _watch() -> tuple[str, ...]:
    from tests.watching.conftest import WATCH

    return WATCH


def test_without_a_command_but_with_a_state_each_is_told_once(scene: Scene) -> None:
    scene.put("a")
    assert scene.run("--once", "--state", scene.state).stdout
    scene.put("b")
    assert scene.run("--once", "--state", scene.state).stdout.endswith(b"/b\n")
    assert scene.run("--once", "--state", scene.state).stdout == b""


def test_json_lines_hold_names_of_any_bytes(scene: Scene) -> None:
    for name in ODD:
        scene.put(name)
    lines = scene.run("--once", "--json").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert all(line.isascii() for line in lines)
    raw = {
        base64.b64decode(each["name_base64"]) if "name_base64" in each else each["name"].encode()
        for each in found
    }
    assert raw == set(ODD)


def test_json_tells_how_each_run_ended_and_what_programs_print_goes_to_stderr(
    scene: Scene,
) -> None:
    scene.put("good")
    scene.put("bad")
    script = 'echo "from $1"; echo words >&2; case "$1" in *bad) exit 3; esac'
    done = scene.run("--once", "--json", *scene.script(script))
    found = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert found["good"]["outcome"] == "done" and found["good"]["exit"] == 0
    assert found["bad"]["outcome"] == "failed" and found["bad"]["exit"] == 3
    assert found["bad"]["reason"] == "exit code 3" and found["bad"]["attempt"] == 1
    assert done.stderr.count(b"from ") == 2 and b"words" in done.stderr


def test_a_reader_who_leaves_ends_the_watch_at_once(scene: Scene) -> None:
    process = scene.start()
    scene.put("a")
    assert process.stdout.readline().endswith(b"/a\n")
    process.stdout.close()
    assert process.wait(timeout=10) == ExitCode.OK
    assert process.stderr.read() == b""


def test_a_reader_of_what_commands_print_who_leaves_ends_the_watch_and_costs_no_file(
    scene: Scene,
) -> None:
    process = scene.start(*scene.script('cat "$1"'))
    scene.put("a")
    assert process.stdout.read(7) == b"content"
    scene.remembered("a")
    process.stdout.close()
    assert process.wait(timeout=10) == ExitCode.OK
    assert process.stderr.read() == b""
    for name in ("b", "c"):
        scene.put(name)
    gone = ["sh", "-c", 'exec "$@" | true', "sh"]
    scene.run("--once", *scene.script('cat "$1"'), under=gone)
    assert scene.run("--once", *scene.script('cat "$1"')).returncode == ExitCode.OK
    assert {entry["outcome"] for entry in scene.journal().values()} == {"done"}


@pytest.mark.parametrize("to", [">&-", ">/dev/full"])
def test_files_that_nobody_could_be_told_of_are_not_remembered(scene: Scene, to: str) -> None:
    scene.put("a")
    scene.put("b")
    shell = ["sh", "-c", f'exec "$@" {to}', "sh"]
    done = scene.run("--once", "--state", scene.state, under=shell)
    assert done.returncode == (ExitCode.USAGE if to == ">&-" else ExitCode.SHARE)
    assert done.stderr.count(b"standard output") == 1
    assert scene.run("--once", "--state", scene.state).stdout.count(b"\n") == 2


def test_without_a_stdout_commands_that_print_are_run_as_ever(scene: Scene) -> None:
    scene.put("a")
    shell = ["sh", "-c", 'exec "$@" >&-', "sh"]
    done = scene.run("--once", *scene.script('cat "$1"'), under=shell)
    assert (done.returncode, done.stderr) == (ExitCode.OK, b"")
    scene.ran("a")


def test_ten_thousand_files_that_come_while_it_runs_are_each_told_once(scene: Scene) -> None:
    process = scene.start("--state", scene.state)
    seen: list[str] = []
    names = [f"{number:05}" for number in range(10_000)]
    for name in names:
        (scene.root / name).touch()
        os.utime(scene.root / name, (1, 1))
        (scene.root / name).write_text(name)
        os.rename(scene.root / name, scene.folder / name)
    while len(seen) < len(names):
        seen.append(os.path.basename(process.stdout.readline().decode().strip()))
    scene.stop(process)
    assert process.stdout.closed or process.stdout.read() == b""
    assert sorted(seen) == names


# Troubles


def test_a_second_watch_says_in_one_line_who_works_there(scene: Scene) -> None:
    process = scene.start(*scene.script())
    scene.put("a")
    scene.ran("a")
    second = scene.run(*scene.script())
    assert second.returncode == ExitCode.BUSY
    assert second.stderr.decode().count("\n") == 1
    assert f"process {process.pid}" in second.stderr.decode()
    scene.stop(process)


def test_a_second_command_for_one_folder_is_told_why_it_gets_no_file(scene: Scene) -> None:
    scene.put("a")
    assert scene.run("--once", "--exec", "echo", "first", "{name}").stdout == b"first a\n"
    second = ("--once", "--exec", "echo", "second", "{name}")
    done = scene.run(*second)
    assert (done.returncode, done.stdout) == (ExitCode.OK, b"")
    assert b"(1 remembered); a second command needs a --state of its own" in done.stderr
    assert scene.run(*second).stderr == b""
    own = scene.run("--state", scene.root / "other", *second)
    assert (own.stdout, own.stderr) == (b"second a\n", b"")


def test_a_file_that_was_away_while_nobody_or_a_listing_looked_is_new(scene: Scene) -> None:
    for name in ("a", "b"):
        scene.put(name)
    scene.run("--once", *scene.script())
    (scene.folder / "a").rename(scene.root / "a")
    scene.run("--once", *scene.script())
    (scene.root / "a").rename(scene.folder / "a")
    scene.run("--once", *scene.script())
    assert scene.runs() == {"a": 2, "b": 1}
    process = scene.start(*scene.script())
    (scene.folder / "b").rename(scene.root / "b")
    until(lambda: set(scene.journal()) == {"a"}, "it is forgotten")
    process.kill()
    process.wait()
    (scene.root / "b").rename(scene.folder / "b")
    scene.run("--once", *scene.script())
    assert scene.runs() == {"a": 2, "b": 2}


def test_the_state_of_another_folder_is_refused(scene: Scene) -> None:
    scene.run("--once", *scene.script())
    scene.folder.rename(scene.root / "other")
    done = scene.run("--once", *scene.script())
    assert done.returncode == ExitCode.SHARE and b"there is no such folder" in done.stderr
    words = [*_watch(), str(scene.root / "other"), "--once", "--state", str(scene.state)]
    done = subprocess.run([*words, "--exec", "true"], capture_output=True)
    assert done.returncode == ExitCode.SHARE
    assert b"give each folder a --state of its own" in done.stderr


def test_state_in_the_watched_folder_is_refused(scene: Scene) -> None:
    inside = scene.folder / "state"
    done = scene.run("-r", "--once", "--state", inside, "--exec", "true")
    assert done.returncode == ExitCode.SHARE
    assert b"outside of the watched folder" in done.stderr


def test_the_default_state_is_below_the_users_state_folder(scene: Scene) -> None:
    scene.put("a")
    environment = {**os.environ, "XDG_STATE_HOME": str(scene.root / "xdg")}
    words = [*_watch(), str(scene.folder), "--once", "--exec", "echo", "{name}"]
    for expected in (b"a\n", b""):
        done = subprocess.run(words, env=environment, capture_output=True, check=True)
        assert done.stdout == expected
    (found,) = (scene.root / "xdg/roundtrip/watch").iterdir()
    assert found.name.startswith("incoming-")
    assert found.stat().st_mode & 0o077 == 0


def test_a_link_to_a_folder_is_followed_wherever_it_leads(scene: Scene) -> None:
    first = scene.folder.rename(scene.root / "first")
    (scene.root / "second").mkdir()
    scene.folder.symlink_to(first)
    scene.put("a")
    scene.run("--once", *scene.script())
    scene.folder.unlink()
    scene.folder.symlink_to(scene.root / "second")
    scene.put("b")
    assert scene.run("--once", *scene.script()).returncode == ExitCode.OK
    scene.ran("a", "b")


def test_a_folder_that_goes_and_comes_back_is_watched_again(scene: Scene) -> None:
    process = scene.start(*scene.script())
    scene.put("before")
    scene.ran("before")
    scene.folder.rename(scene.root / "aside")
    scene.folder.mkdir()
    scene.put("after")
    scene.ran("before", "after")
    scene.stop(process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_that_waits_ends_at_once_when_told_to(scene: Scene, number: signal.Signals) -> None:
    process = scene.start(*scene.script())
    scene.put("a")
    scene.ran("a")
    scene.stop(process, number)
    wanted = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.OK}[number]
    assert process.returncode == wanted
