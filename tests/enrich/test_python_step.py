"""The python step: functions of packages that importlib.metadata really finds, and their errors."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from roundtrip.enrich.faults import PassingFault, RecordFault, StepFault
from roundtrip.enrich.settings import Batch, Retry
from tests.enrich.local import answer, new_run, step

NUMBERS = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Puts a module and its metadata where Python looks for packages; the entry point's name."""

    def make(code: str, *, use: str | None = None, version: str = "1.0", attr: str = "f") -> str:
        number = next(NUMBERS)
        module, name = f"step_module_{number}", use or f"step{number}"
        place = tmp_path / str(number)
        info = place / f"{module}-{version}.dist-info"
        info.mkdir(parents=True)
        (place / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[roundtrip.steps]\n{name} = {module}:{attr}\n")
        monkeypatch.syspath_prepend(place)
        return name

    return make


FAULTS = "from roundtrip.enrich.faults import *\n"


async def test_the_function_gets_the_record_and_the_options(install: Any) -> None:
    use = install("async def f(record, *, a, b=1):\n    return [record, a, b]\n")
    made = step(use=use, options={"a": [1]}, send=("x",))
    assert await answer(made, {"x": {"y": 1.5}, "z": 2}) == [{"x": {"y": Decimal("1.5")}}, [1], 1]
    whole = step(use=use, options={"a": 1})
    assert (await answer(whole, {"x": 1, "z": 2}))[0] == {"x": 1, "z": 2}


async def test_fractions_are_floats_and_large_integers_whole(install: Any) -> None:
    use = install("async def f(record):\n    return [type(v).__name__ for v in record.values()]\n")
    record = {"a": Decimal("1.10"), "b": 10**30, "c": None, "d": True}
    assert await answer(step(use=use), record) == ["float", "int", "NoneType", "bool"]


async def test_select_takes_the_answer_apart(install: Any) -> None:
    use = install("async def f(record):\n    return {'a': {'b': 2}, 'c': (1, 2)}\n")
    made = step(use=use, select={"b": "a.b", "n": "length(c)"})
    assert made.selected == ("b", "n")
    assert await answer(made, {}) == {"b": 2, "n": 2}


async def test_what_the_function_does_to_its_record_stays_there(install: Any) -> None:
    use = install("async def f(record):\n    record['a'].append(1)\n    return record\n")
    record: dict[str, Any] = {"a": []}
    call = step(use=use).call(record)
    for _ in range(2):
        assert (await call.make(new_run())).value == {"a": [1]}
    assert record == {"a": []}


@pytest.mark.parametrize(
    "body, detail",
    [
        ("raise KeyError('city')", "KeyError: 'city'"),
        ("raise ValueError('two\\nlines \\x1b[31m')", "ValueError: two lines [31m"),
        ("import sys; sys.exit('enough')", "SystemExit: enough"),
        ("raise OSError(2, 'gone')", "OSError: [Errno 2] gone"),
        ("raise TimeoutError('slow')", "TimeoutError: slow"),
    ],
)
async def test_an_exception_is_the_records_error_in_one_line(
    install: Any, body: str, detail: str, caplog: Any
) -> None:
    use = install(f"async def f(record):\n    {body}\n")
    detail = detail.replace("OSError: [Errno 2]", "FileNotFoundError: [Errno 2]")
    with (
        caplog.at_level(logging.DEBUG, "roundtrip.enrich"),
        pytest.raises(RecordFault) as caught,
    ):
        await answer(step(use=use), {})
    assert type(caught.value) is RecordFault
    assert caught.value.as_dict() == {
        "title": "Plugin failed",
        "detail": f"step s: {use}: {detail}",
    }
    (logged,) = caplog.records
    assert logged.levelno == logging.DEBUG and logged.exc_info


@pytest.mark.parametrize("kind", [RecordFault, PassingFault, StepFault])
async def test_the_functions_own_faults_are_kept(install: Any, kind: type) -> None:
    fault = f"{kind.__name__}('No city', 'nothing is there', 404)"
    use = install(FAULTS + f"async def f(record):\n    raise {fault}\n")
    with pytest.raises(RecordFault) as caught:
        await answer(step(use=use), {})
    assert type(caught.value) is kind
    assert caught.value.as_dict() == {
        "title": "No city",
        "status": 404,
        "detail": f"step s: {use}: nothing is there",
    }


async def test_a_transient_error_is_tried_again(install: Any) -> None:
    code = (
        "tries = []\nasync def f(record):\n    tries.append(1)\n"
        "    if len(tries) < 3:\n        raise Transient(RecordFault('Busy', 'not now'))\n"
        "    return len(tries)\n"
    )
    run = new_run()
    made = step(use=install(FAULTS + code), retry=Retry(attempts=5))
    assert await answer(made, {}, run) == 3
    assert run.stats.calls == 3
    with pytest.raises(RecordFault, match=r"Busy: step s: .*: not now"):
        await answer(step(use=install(FAULTS + code), retry=Retry(attempts=2)), {})


async def test_a_function_that_takes_too_long_is_stopped(install: Any) -> None:
    code = "import asyncio\nasync def f(record):\n    await asyncio.Event().wait()\n"
    with pytest.raises(PassingFault, match=r"no answer within 0\.05 s"):
        await answer(step(use=install(code), timeout=0.05), {})


async def test_a_function_that_cancels_itself_ends_nothing_else(install: Any) -> None:
    code = "import asyncio\nasync def f(record):\n    raise asyncio.CancelledError\n"
    with pytest.raises(PassingFault, match="it cancelled itself"):
        await answer(step(use=install(code)), {})


async def test_a_call_that_is_given_up_ends_the_function(install: Any) -> None:
    code = (
        "import asyncio\nbegun, ended = asyncio.Event(), asyncio.Event()\n"
        "async def f(record):\n    begun.set()\n    try:\n        await asyncio.Event().wait()\n"
        "    finally:\n        ended.set()\n"
        "async def g(record):\n    return [begun.is_set(), ended.is_set()]\n"
    )
    use = install(code)
    made = step(use=use)
    module = __import__(f"step_module_{use.removeprefix('step')}")
    calling = asyncio.create_task(answer(made, {}))
    await module.begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert module.ended.is_set()


@pytest.mark.parametrize("value", ["object()", "{1: object()}", "'\\ud800'", "f"])
async def test_an_answer_that_is_no_json_is_the_records_error(install: Any, value: str) -> None:
    use = install(f"async def f(record):\n    return {value}\n")
    with pytest.raises(RecordFault) as caught:
        await answer(step(use=use), {})
    assert caught.value.title == "Unusable answer"


async def test_an_answer_may_hold_what_json_has_no_type_for(install: Any) -> None:
    code = (
        "from decimal import Decimal\nfrom datetime import date\n"
        "async def f(record):\n    return {'d': Decimal('1.10'), 'on': date(2026, 1, 2)}\n"
    )
    found = await answer(step(use=install(code)), {})
    assert found == {"d": Decimal("1.10"), "on": "2026-01-02"}


@pytest.mark.parametrize(
    "code, given, said",
    [
        ("def f(record): return 1", {}, "is no async function"),
        ("f = 1", {}, "is no async function"),
        ("import no_such_module", {}, "can't be loaded: ModuleNotFoundError"),
        ("raise SystemExit('no')", {}, "can't be loaded: SystemExit: no"),
        ("g = 1", {}, "can't be loaded: AttributeError"),
        ("syntax error", {}, "can't be loaded: SyntaxError"),
        ("async def f(record): ...", {"options": {"a": 1}}, "unexpected keyword argument 'a'"),
        ("async def f(record, *, a): ...", {}, "missing a required"),
        ("async def f(record): ...", {"batch": Batch(2)}, "batch is for http and command only"),
        ("async def f(record): ...", {"select": {"a": "]"}}, "select.a: "),
    ],
)
def test_a_function_that_can_not_be_called_is_refused_at_the_start(
    install: Any, code: str, given: Any, said: str
) -> None:
    use = install(code + "\n")
    with pytest.raises(ValueError) as caught:
        step(use=use, **given)
    text = str(caught.value)
    assert text.startswith("step s: ") and said in text and "\n" not in text
    if "python.use" in text:
        assert f"{use} (step_module_" in text


def test_an_unknown_name_says_which_there_are(install: Any) -> None:
    known = install("async def f(record): ...\n")
    with pytest.raises(
        ValueError, match=rf"no installed package has 'no-such'.*; there: .*{known}"
    ):
        step(use="no-such")


def test_a_name_that_two_packages_offer_is_refused(install: Any) -> None:
    for _ in range(2):
        install("async def f(record): ...\n", use="twice")
    with pytest.raises(ValueError, match=r"several packages offer 'twice': step_module_.*, step_"):
        step(use="twice")


def test_the_key_changes_with_all_that_changes_the_answer(install: Any, tmp_path: Path) -> None:
    use = install("async def f(record, a=1): ...\nasync def g(record): ...\n")
    other = install("async def f(record): ...\n")

    def key(record: dict[str, Any], **given: Any) -> bytes:
        return step(**{"use": use, **given}).call(record).key

    keys = [
        key({"a": 1}),
        key({"a": 2}),
        key({"a": 1}, use=other),
        key({"a": 1}, options={"a": 2}),
        key({"a": 1}, select={"b": "b"}),
        key({"a": 1}, name="t"),
    ]
    (info,) = tmp_path.glob(f"*/*_{use.removeprefix('step')}-1.0.dist-info")
    (info / "METADATA").write_text((info / "METADATA").read_text().replace("1.0", "1.1"))
    keys.append(key({"a": 1}))
    assert len(set(keys)) == len(keys)
    assert key({"a": 1, "b": 2}, send=("a",)) == key({"a": 1, "b": 3}, send=("a",))


async def test_format_raw_has_no_record_for_a_function(install: Any) -> None:
    made = step(use=install("async def f(record): ...\n"))
    with pytest.raises(StepFault, match="format raw has no records"):
        await made.whole("x", None, None, new_run())


async def test_calls_run_at_once_within_the_steps_concurrency(install: Any) -> None:
    code = (
        "import asyncio\nnow = most = 0\n"
        "async def f(record):\n    global now, most\n    now += 1\n    most = max(most, now)\n"
        "    await asyncio.sleep(0.001)\n    now -= 1\n    return most\n"
    )
    made, run = step(use=install(code), concurrency=3), new_run()
    found = await asyncio.gather(*(answer(made, {"n": n}, run) for n in range(30)))
    assert max(found) == 3
    assert json.dumps(run.stats.calls) == "30"
