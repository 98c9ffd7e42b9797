"""Programs: what they are given, and what their end means."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from roundtrip.deliver.exec import Exec
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings, ExecSettings
from tests.deliver.parcels import parcel_of
from tests.e2e.world import wait_until
from tests.processes import lives


def program(*run: str, **environment: str) -> Exec:
    action = ExecSettings(run, environment)
    return Exec(DeliverySettings("tell", action), action)


async def failure(made: Exec, parcel: Parcel) -> Undelivered:
    with pytest.raises(Undelivered) as told:
        await made.deliver(parcel)
    assert told.value.text.isprintable()
    return told.value


async def test_fields_are_whole_arguments_whatever_is_in_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    name = "a b'c\"$(id)`id`;\n*.csv"
    made = program(
        "sh", "-c", 'printf "%s\\n" "$@" > "$0"', str(out), "<{original_name}>", "{size}"
    )
    await made.deliver(parcel_of(tmp_path, b"content", original_name=name))
    assert out.read_text() == f"<{name}>\n7\n"


async def test_a_name_that_would_be_an_option_is_refused(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, b"x", original_name="-rf")
    told = await failure(program("true", "{original_name}"), parcel)
    assert not told.passing
    assert "would be an option" in told.text
    await program("true", "--", "{original_name}").deliver(parcel)


async def test_a_field_that_is_not_there_is_named(tmp_path: Path) -> None:
    told = await failure(program("true", "{customer}"), parcel_of(tmp_path, b"id\n1\n"))
    assert not told.passing
    assert "'customer'" in told.text


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no paper\x1b[2J' >&2; exit 3", "sh: exit code 3: no paper"),
        ("kill -9 $$", "sh: ended by SIGKILL"),
        ("exec /nowhere/at/all", "sh: exit code 127 (not found, or not run)"),
    ],
)
async def test_what_fails_is_tried_again_and_said(tmp_path: Path, script: str, said: str) -> None:
    told = await failure(program("sh", "-c", script), parcel_of(tmp_path, b"x"))
    assert told.passing
    assert said in told.text


async def test_a_program_that_is_not_there_may_come(tmp_path: Path) -> None:
    told = await failure(program("/nowhere/at/all"), parcel_of(tmp_path, b"x"))
    assert told.passing
    assert "no such program" in told.text


async def test_a_secret_that_it_prints_is_not_shown(tmp_path: Path) -> None:
    made = program("sh", "-c", 'echo "wrong: $TOKEN" >&2; exit 1', TOKEN="hushhushhush")
    told = await failure(made, parcel_of(tmp_path, b"x"))
    assert "hush" not in told.text
    assert "***" in told.text


async def test_it_has_nothing_to_read_and_may_print_without_end(tmp_path: Path) -> None:
    async with asyncio.timeout(30):
        await program("cat").deliver(parcel_of(tmp_path, b"x"))
        made = program("sh", "-c", "head -c 30000000 /dev/zero; head -c 3000000 /dev/zero >&2")
        await made.deliver(parcel_of(tmp_path, b"x"))


@pytest.mark.parametrize("more", [{}, {"problem": {"title": "Too late"}, "outcome": "failed"}])
async def test_its_environment_says_what_it_is_about(tmp_path: Path, more: dict[str, Any]) -> None:
    out = tmp_path / "out"
    parcel = parcel_of(tmp_path, b"content", **more)
    await program("sh", "-c", 'env > "$0"', str(out)).deliver(parcel)
    given = dict(line.split("=", 1) for line in out.read_text().splitlines())
    assert given["ROUNDTRIP_ID"] == parcel.id
    assert given["ROUNDTRIP_OUTCOME"] == parcel.outcome
    assert Path(given["ROUNDTRIP_PATH"]).samefile(given["ROUNDTRIP_CONTENT"])


async def test_what_is_cancelled_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = program("sh", "-c", 'sleep 600 & echo $! > "$0.tmp"; mv "$0.tmp" "$0"; wait', str(out))
    task = asyncio.create_task(made.deliver(parcel_of(tmp_path, b"x")))
    while not out.exists():
        await asyncio.sleep(0.01)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5.0
    wait_until(lambda: not lives(out.read_text().strip()), "nothing is left of it")
