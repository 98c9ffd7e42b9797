"""The command step with real programs: what they get, what their end means, and what they leave."""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from roundtrip import processes
from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault
from roundtrip.enrich.settings import Batch, Retry
from roundtrip.programs import printable
from tests.enrich.local import answer, new_run, step
from tests.enrich.processes import children
from tests.processes import lives

MIB = 1024 * 1024


def sh(script: str, *arguments: str, **given: Any) -> Any:
    """A step that runs a shell script: the one way to say in a line what a program does."""
    return step(run=("sh", "-c", script, "sh", *arguments), **given)


def python(program: str, **given: Any) -> Any:
    return step(run=(sys.executable, "-c", program), **given)


async def fault(made: Any, record: dict[str, Any], kind: type = RecordFault) -> Any:
    with pytest.raises(kind) as caught:
        await answer(made, record)
    return caught.value


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_record_comes_on_stdin_and_the_answer_goes_to_stdout() -> None:
    found = await answer(step(run=("cat",)), {"ip": "1", "n": 2, "name": "Käthe\n"})
    assert found == {"ip": "1", "n": 2, "name": "Käthe\n"}


async def test_stdin_is_one_line() -> None:
    assert await answer(sh("wc -l"), {"a": "x\ny"}) == 1


async def test_only_the_fields_of_send_are_sent() -> None:
    made = step(run=("cat",), send=("ip", "geo.city", "absent"))
    record = {"ip": "1", "secret": "2", "geo": {"city": "Köln", "zip": "5"}}
    assert await answer(made, record) == {"ip": "1", "geo.city": "Köln"}


async def test_select_takes_the_answer_apart() -> None:
    made = step(run=("echo", '{"a": {"b": 1.10}, "c": 2}'), select={"b": "a.b", "d": "d"})
    assert json.dumps(await answer(made, {}), default=str) == '{"b": "1.10", "d": null}'


async def test_a_program_may_ignore_a_large_record() -> None:
    assert await answer(sh("exec <&-; sleep 0.1; echo 1"), {"text": "x" * MIB}) == 1


async def test_no_output_is_null() -> None:
    assert await answer(step(run=("true",)), {}) is None


@pytest.mark.parametrize(
    "value",
    ["a b", "$(id)", "`id`", "'; id", '"', "*", "a\nb", "x -o y", "\\", "Köln", "{ip}", "~"],
)
async def test_a_field_stays_inside_its_argument(value: str) -> None:
    program = "import json, sys; print(json.dumps(sys.argv[1:]))"
    made = step(run=(sys.executable, "-c", program, "pre-{v}-{n}", "{v}", "{{v}}"))
    found = await answer(made, {"v": value, "n": 7})
    assert found == [f"pre-{value}-7", value, "{v}"]


@pytest.mark.parametrize(
    "arguments, value, refused",
    [
        (("{v}",), "-rf", True),
        (("{v}",), "--", True),
        (("{v}",), "-1.5", True),
        (("{v}{n}",), "-rf", True),
        (("{v}.txt",), "-rf", True),
        (("x={v}",), "-rf", False),
        (("--opt={v}",), "-rf", False),
        (("--", "{v}"), "-rf", False),
        (("{v}", "--"), "-rf", True),
        (("{v}",), "rf-", False),
    ],
)
async def test_a_field_can_not_become_an_option(
    arguments: tuple[str, ...], value: str, refused: bool
) -> None:
    made = step(run=("true", *arguments))
    if not refused:
        await answer(made, {"v": value, "n": 1})
        return
    with pytest.raises(RecordFault, match=r"field 'v' begins with '-'.*put '--' before it"):
        made.call({"v": value, "n": 1})


@pytest.mark.parametrize(
    "record", [{}, {"v": ""}, {"v": None}, {"v": [1]}, {"v": "a\0b"}, {"v": "\ud800"}]
)
def test_a_field_that_is_no_argument_fails_its_record(record: dict[str, Any]) -> None:
    with pytest.raises(RecordFault):
        step(run=("true", "{v}"), send=("v",)).call(record)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"run": ()}, "name a program"),
        ({"run": ("",)}, "name a program"),
        ({"run": ("{v}",)}, "a field can't choose the program"),
        ({"run": ("x", "{v}"), "send": ("w",)}, "{v} is not among the step's send"),
        ({"run": ("x", "{v}"), "batch": Batch(2)}, "with batch, no argument can hold {v}"),
        ({"run": ("x",), "batch": Batch(2, by="id")}, "give batch.key"),
        ({"run": ("x",), "select": {"a": "]"}}, "select.a:"),
    ],
)
def test_settings_that_can_not_work_are_refused_at_once(given: Any, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        step(**given)
    assert str(caught.value).startswith("step s: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_an_exit_code_is_the_records_error_with_the_end_of_stderr() -> None:
    found = await fault(sh("printf 'a\\033[31mb\\nno such city\\n' >&2; exit 3"), {})
    assert found.as_dict() == {
        "title": "Program failed",
        "detail": "step s: sh: exit code 3: a [31mb no such city",
    }
    assert found.lasting


async def test_a_lot_of_stderr_is_neither_in_the_way_nor_shown() -> None:
    program = "import sys; sys.stderr.write('x' * 5_000_000 + 'the end'); sys.exit(1)"
    found = await fault(python(program), {})
    assert found.detail.endswith("x" * 493 + "the end")
    assert len(found.detail) < 700


async def test_of_stderr_only_the_end_is_kept() -> None:
    async def nothing(_: object) -> None:
        pass

    script = b"head -c 1000000 /dev/zero >&2; echo the end >&2"
    async with processes.started([b"sh", b"-c", script], {}) as child:
        errors = await processes.piped(child, nothing, nothing)
    assert len(errors) == processes.TAIL
    assert errors.endswith(b"the end\n")


@pytest.mark.parametrize(
    ("token", "script", "shown"),
    [
        ("tell-nobody", "echo $TOKEN", "***"),
        ("Bearer tell-nobody", "echo $TOKEN", "***"),
        ("Bearer tell-nobody", "echo 401 for ${TOKEN#Bearer }", "401 for ***"),
        ("tell-nobody", "printf %s $TOKEN; printf '%16377s' end", "end"),
    ],
)
async def test_what_the_environment_adds_is_not_shown_in_an_error(
    token: str, script: str, shown: str
) -> None:
    found = await fault(sh(f"({script}) >&2; exit 1", environment={"TOKEN": token}), {})
    assert found.detail.endswith(f"exit code 1: {shown}")


@pytest.mark.parametrize(
    "script, kind, title",
    [
        ("exit 127", StepFault, "Program not found"),
        ("exit 126", StepFault, "Program not found"),
        ("kill -KILL $$", PassingFault, "Program killed"),
        ("exit 255", RecordFault, "Program failed"),
    ],
)
async def test_what_a_programs_end_means(script: str, kind: type, title: str) -> None:
    found = await fault(sh(script), {}, kind)
    assert (type(found), found.title) == (kind, title)


async def test_a_signal_is_named() -> None:
    assert (await fault(sh("kill -SEGV $$"), {})).detail == "step s: sh: ended by SIGSEGV"


async def test_exit_code_75_is_tried_again(tmp_path: Path) -> None:
    script = f"echo >> {tmp_path}/n; [ $(wc -l < {tmp_path}/n) = 3 ] || exit 75; echo 9"
    run = new_run()
    assert await answer(sh(script, retry=Retry(attempts=5)), {}, run) == 9
    assert run.stats.calls == 3
    (tmp_path / "n").unlink()
    found = await fault(sh(script, retry=Retry(attempts=2)), {})
    assert "exit code 75" in found.detail


@pytest.mark.parametrize(
    "program", ["no-such-program-here", "/no/such/program", "/etc/passwd", "/"]
)
async def test_a_program_that_is_not_there_stops_the_step(program: str) -> None:
    found = await fault(step(run=(program,)), {}, StepFault)
    assert found.detail.startswith(f"step s: {program}: ")


@pytest.mark.parametrize("first_line", ["#!/no/such/interpreter", "\x7fELF nonsense"])
async def test_a_program_that_can_not_be_run_stops_the_step(
    tmp_path: Path, first_line: str
) -> None:
    program = tmp_path / "program"
    program.write_text(first_line + "\n")
    program.chmod(0o755)
    await fault(step(run=(str(program),)), {}, StepFault)


async def test_an_argument_that_is_too_long_fails_only_its_record() -> None:
    found = await fault(step(run=("true", "{v}")), {"v": "x" * 3 * MIB})
    assert (type(found), found.title) == (RecordFault, "Unusable field")


@pytest.mark.parametrize("output", ["{", "1 2", "text"])
async def test_output_that_is_no_json_is_the_records_error(output: str) -> None:
    found = await fault(step(run=("echo", output)), {})
    assert found.detail == "step s: echo answered with no valid JSON"


async def test_endless_output_is_cut_off() -> None:
    found = await fault(step(run=("yes",), max_output=100_000), {})
    assert found.detail == "step s: yes: it printed more than 100000 bytes"
    assert children() == set()


async def test_the_environment_is_small_and_holds_no_secrets(monkeypatch: Any) -> None:
    monkeypatch.setenv("GEO_TOKEN", "secret")
    monkeypatch.setenv("TZ", "UTC")
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    found = await answer(python(program, environment={"KEY": "k", "LANG": "C.UTF-8"}), {})
    assert found["KEY"] == "k" and found["TZ"] == "UTC" and found["PATH"]
    assert "GEO_TOKEN" not in found
    assert set(found) <= {
        *("HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ", "USER", "KEY")
    }


@pytest.mark.needs("prlimit")
async def test_memory_is_limited_and_only_when_asked_for() -> None:
    program = "import json, resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_AS)))"
    assert await answer(python(program, memory=256 * MIB), {}) == [256 * MIB, 256 * MIB]
    assert await answer(python(program), {}) == list(resource.getrlimit(resource.RLIMIT_AS))
    found = await fault(python("'x' * (1 << 30)", memory=256 * MIB), {})
    assert "MemoryError" in found.detail


@pytest.mark.needs("prlimit")
async def test_a_missing_program_is_found_missing_below_a_memory_limit_as_well() -> None:
    await fault(step(run=("no-such-program-here",), memory=256 * MIB), {}, StepFault)


async def test_a_program_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/pid; sleep 1000"
    found = await fault(sh(script, timeout=0.3), {}, PassingFault)
    assert found.detail == "step s: sh: not ended within 0.3 s, so it was stopped"
    await until(lambda: not lives(int((tmp_path / "pid").read_text())))
    assert children() == set()


async def test_a_program_that_ignores_sigterm_is_killed_nevertheless(monkeypatch: Any) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    began = time.monotonic()
    script = "trap '' TERM; while :; do sleep 0.05; done"
    await fault(sh(script, timeout=0.3), {}, PassingFault)
    assert time.monotonic() - began < 10
    assert children() == set()


async def test_a_program_may_tidy_up_on_sigterm(tmp_path: Path) -> None:
    script = f"trap 'echo tidy > {tmp_path}/f; exit 0' TERM; while :; do sleep 0.05; done"
    await fault(sh(script, timeout=0.3), {}, PassingFault)
    assert (tmp_path / "f").read_text() == "tidy\n"


async def test_a_call_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    script = (
        f"sleep 1000 & echo $! > {tmp_path}/pid.tmp; mv {tmp_path}/pid.tmp {tmp_path}/pid; wait"
    )
    calling = asyncio.create_task(answer(sh(script), {}))
    await until((tmp_path / "pid").exists)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await until(lambda: not lives(int((tmp_path / "pid").read_text())))
    assert children() == set()


async def test_a_call_given_up_while_its_program_starts_leaves_no_process(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/pid; wait"
    calling = asyncio.create_task(answer(sh(script), {}))
    while not children():
        await asyncio.sleep(0)
    while not (tmp_path / "pid").exists():
        time.sleep(0.01)  # the loop stands still, so the start is not finished
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await until(lambda: not lives(int((tmp_path / "pid").read_text())))
    assert children() == set()


async def test_what_a_program_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/pid; echo 1"  # it holds stdout open
    assert await asyncio.wait_for(answer(sh(script), {}), 10) == 1
    await until(lambda: not lives(int((tmp_path / "pid").read_text())))


@pytest.mark.needs("setsid")
async def test_a_daemon_that_holds_stderr_delays_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(processes, "LINGER", 0.1)
    script = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 1000' >/dev/null & "
    script += f"while [ ! -s {tmp_path}/pid ]; do :; done; echo 1"
    before = len(os.listdir("/proc/self/fd"))
    try:
        assert await asyncio.wait_for(answer(sh(script), {}), 10) == 1
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # no pipe stays open
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


async def test_many_programs_at_once_stay_within_the_steps_concurrency(tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/$1; ls {tmp_path} | wc -l; rmdir {tmp_path}/$1"
    made, run = sh(script, "{n}", concurrency=4), new_run()
    found = await asyncio.gather(*(answer(made, {"n": n}, run) for n in range(40)))
    assert max(found) <= 4
    assert run.stats.calls == 40
    assert children() == set()


def test_the_key_changes_with_all_that_changes_the_answer() -> None:
    def key(record: dict[str, Any], **given: Any) -> bytes:
        return step(**{"run": ("x", "{a}"), **given}).call(record).key

    record = {"a": "1", "b": 2}
    keys = [
        key(record),
        key({"a": "1", "b": 3}),
        key(record, run=("y", "{a}")),
        key(record, run=("x", "1", "")),
        key(record, environment={"K": "1"}),
        key(record, environment={"K": "2"}),
        key(record, select={"c": "c"}),
        key(record, name="other"),
        key(record, send=("a",)),
        key(record, memory=1 << 30),
    ]
    assert len(set(keys)) == len(keys)
    assert key(record) == keys[0]
    assert key({"a": "1", "b": 9}, send=("a",)) == keys[8]


async def test_a_batch_is_one_process_with_a_line_for_each_record() -> None:
    made = step(run=("cat",), batch=Batch(10), select={"n": "n"})
    run = new_run()
    found = await made.together([made.call({"n": n, "t": "a\nb"}) for n in range(3)], run)
    assert [each.value for each in found] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert run.stats.calls == 1


async def test_a_batchs_item_says_what_a_record_sends() -> None:
    batch = Batch(10, item={"q": "{n}", "kind": ["x-{n}"]})
    made = step(run=("cat",), batch=batch)
    (found,) = await made.together([made.call({"n": 1, "secret": 2})], new_run())
    assert found.value == {"q": 1, "kind": ["x-1"]}


async def test_a_batch_finds_its_records_by_key_in_any_order() -> None:
    batch = Batch(10, by="id", key="{n}")
    made = step(run=("sh", "-c", "tac; echo '{\"id\": 9}'"), send=("n", "id"), batch=batch)
    calls = [made.call({"n": n, "id": n}) for n in (1, 2)] + [made.call({"n": 3, "id": "else"})]
    first, second, third = await made.together(calls, new_run())
    assert (first.value, second.value) == ({"n": 1, "id": 1}, {"n": 2, "id": 2})
    assert third.detail == "step s: sh: no answer for this record in the batch"


@pytest.mark.parametrize("script", ["head -n 1", "cat; echo 1", "echo '{'"])
async def test_a_batch_whose_answers_do_not_fit_fails_as_a_whole(script: str) -> None:
    made = sh(script, batch=Batch(10))
    with pytest.raises(RecordFault):
        await made.together([made.call({"n": n}) for n in range(2)], new_run())


async def whole(made: Any, payload: bytes, name: str = "x") -> tuple[bytes, Any]:
    sink, run = io.BytesIO(), new_run()
    await made.whole(name, io.BytesIO(payload), sink, run)
    return sink.getvalue(), run


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 8 * MIB])
async def test_a_whole_payload_goes_through_bit_for_bit(size: int) -> None:
    payload = os.urandom(size)
    out, run = await whole(step(run=("cat",)), payload)
    assert out == payload
    assert run.stats.calls == 1


async def test_a_whole_payloads_name_is_a_field() -> None:
    out, _ = await whole(step(run=("echo", "{name}")), b"", "my file.bin")
    assert out == b"my file.bin\n"


async def test_a_whole_payload_is_sent_again_after_exit_code_75(tmp_path: Path) -> None:
    script = f"cat; [ -e {tmp_path}/n ] || {{ touch {tmp_path}/n; exit 75; }}"
    out, run = await whole(sh(script, retry=Retry(attempts=2)), b"payload")
    assert (out, run.stats.calls) == (b"payload", 2)


async def test_a_whole_payload_that_was_half_written_is_not_sent_again(tmp_path: Path) -> None:
    made = sh("cat; exit 75", retry=Retry(attempts=5))
    sink, run = io.BytesIO(), new_run()
    with pytest.raises(RecordFault, match="exit code 75"):
        await made.whole("x", io.BytesIO(bytes(8 * MIB)), sink, run)
    assert run.stats.calls == 1


async def test_a_whole_payload_may_take_longer_than_the_timeout_while_it_moves() -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.1; done"
    out, _ = await whole(sh(script, timeout=0.5), b"")
    assert out == b"1\n2\n3\n4\n5\n6\n7\n8\n"
    with pytest.raises(PassingFault, match=r"not ended within 0\.5 s"):
        await whole(sh("sleep 1000", timeout=0.5), b"")
    assert children() == set()


async def test_a_job_tells_its_percentage_on_stderr() -> None:
    made = step(shell="cat; for n in 25 50; do echo $n% >&2; done", progress="([0-9]+)%")
    out, run = await whole(made, b"payload")
    assert (out, run.progress(0.0).done) == (b"payload", 0.5)


async def test_a_job_of_several_steps_tells_how_far_all_of_them_are() -> None:
    made = step(shell="echo 50% >&2", progress="([0-9]+)%")
    run = new_run()
    run.part = (2, 4)
    await made.whole("x", io.BytesIO(), io.BytesIO(), run)
    assert run.progress(0.0).done == 2.5 / 4


async def test_a_jobs_silence_is_broken_by_its_percentage() -> None:
    script = "for n in 1 2 3 4 5 6 7 8; do echo $n% >&2; sleep 0.1; done; echo done"
    out, _ = await whole(step(shell=script, progress="([0-9]+)%", timeout=0.5), b"")
    assert out == b"done\n"


@pytest.mark.parametrize("script", ["false | cat", "cat | false | cat"])
async def test_a_shells_pipeline_fails_with_any_of_its_parts(script: str) -> None:
    with pytest.raises(RecordFault, match="bash: exit code 1"):
        await whole(step(shell=script), b"x")


async def test_a_shells_text_is_no_template() -> None:
    out, _ = await whole(step(shell="awk '{name = $1; print name}' | sort"), b"b 1\na 2\n")
    assert out == b"a\nb\n"


async def test_a_job_knows_its_file_and_its_exchange() -> None:
    out, _ = await whole(step(shell='echo "$ROUNDTRIP_NAME $ROUNDTRIP_EXCHANGE"'), b"", "a b")
    assert out == b"a b x\n"


async def test_a_failed_jobs_stderr_and_exit_code_are_for_the_problem_document() -> None:
    script = "echo 5% >&2; echo $KEY >&2; echo two >&2; exit 7"
    made = step(shell=script, progress="([0-9]+)%", environment={"KEY": "secret-word"})
    with pytest.raises(RecordFault) as caught:
        await whole(made, b"")
    assert caught.value.members == {"exit_code": 7, "stderr": "***\ntwo\n"}


async def test_a_killed_job_says_by_which_signal() -> None:
    with pytest.raises(PassingFault) as caught:
        await whole(step(shell="kill -KILL $$"), b"")
    assert caught.value.members == {"signal": "SIGKILL", "stderr": ""}


class Slow(io.RawIOBase):
    """A sink on a slow disk."""

    def __init__(self) -> None:
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        time.sleep(0.05)
        self.size += len(piece)
        return len(piece)


async def test_a_slow_sink_gets_everything(monkeypatch: Any) -> None:
    monkeypatch.setattr(processes, "LINGER", 0.01)
    sink = Slow()
    made = step(run=("head", "-c", str(24 * MIB), "/dev/zero"))
    await made.whole("x", io.BytesIO(), sink, new_run())
    assert sink.size == 24 * MIB


async def test_an_unreadable_source_is_no_fault_of_the_program() -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        await step(run=("cat",)).whole("x", Torn(), io.BytesIO(), new_run())
    assert children() == set()


@pytest.mark.parametrize(
    "errors, shown",
    [
        (b"", ""),
        (b" a \n\n b\t", "a b"),
        (b"\xff\x00\x1b]0;t\x07", "\N{REPLACEMENT CHARACTER} ]0;t"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}x".encode(), "x"),
        (b"y" * 501, "..." + "y" * 500),
    ],
)
def test_stderr_is_shown_in_one_harmless_line(errors: bytes, shown: str) -> None:
    assert printable(errors) == shown
