"""Whatever a file is called: its result has the same name, byte for byte, and nothing gets out."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from roundtrip.errors import PipelineError
from roundtrip.roles.enrichment import Answer
from tests.intake.hosts import PATIENCE, Hosts, Same, agents, give_back, until

HOSTILE = {
    "not UTF-8": b"caf\xe9 \xff\xfe.csv",
    "only bytes that are not UTF-8": b"\xff\x80\x81",
    "255 bytes": b"x" * 251 + b".csv",
    "255 bytes of UTF-8": "ü".encode() * 125 + b"x.csv",
    "newline": b"two\nlines.csv",
    "spaces": b"  many   spaces .csv ",
    "quotes": b'it\'s "quoted" `x` $(x).csv',
    "right to left": "invoice\u202evsc.exe".encode(),
    "bidi isolates": "a\u2066b\u2069.csv".encode(),
    "leading dash": b"-rf",
    "option": b"--config=x.yaml",
    "terminal escape": b"\x1b[2J\x1b]0;owned\x07.csv",
    "carriage return": b"a\rb.csv",
    "backslash": b"x\\..\\..\\y.csv",
    "percent": b"%2e%2e%2fx.csv",
    "emoji": "😀.csv".encode(),
    "decomposed": "café.csv".encode(),
    "only dots inside": b"a..",
    "globs": b"*?[x].csv",
    "braces": b"{0.__class__}${HOME}.csv",
    "no extension": b"Makefile",
    "long extension": b"x." + b"e" * 253,
    "windows device": b"CON",
    "marker of a marker": b"x.done.csv",
    "tab": b"a\tb",
    "looks like an exchange": b"01M7Y0DY3MW0QAM13YJWWJ9AFZ-x.csv",
    "control character": b"\x01\x02\x7f",
    "nul in unicode": "a\u2400b".encode(),
    "byte order mark": "\ufeffx.csv".encode(),
}


async def test_each_result_has_its_originals_own_name(working: Hosts) -> None:
    for number, name in enumerate(HOSTILE.values()):
        with open(os.fsencode(working.outbox) + b"/" + name, "wb") as file:
            file.write(b"%d" % number)
    inbox = os.fsencode(working.inbox)
    await until(lambda: len(os.listdir(inbox)) == len(HOSTILE), "all results")
    await working.idle()
    assert set(os.listdir(inbox)) == set(HOSTILE.values())
    for number, name in enumerate(HOSTILE.values()):
        with open(inbox + b"/" + name, "rb") as file:
            assert file.read() == b"%d" % number
    for line in working.log.lines:
        assert line.isascii() and line.isprintable()


@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - {"long extension"}))
async def test_a_collision_never_overwrites(kind: str, working: Hosts) -> None:
    name = HOSTILE[kind]
    path, inbox = os.fsencode(working.outbox) + b"/" + name, os.fsencode(working.inbox)
    for number in range(3):
        with open(path, "wb") as file:
            file.write(b"%d" % number)
        await until(lambda number=number: len(os.listdir(inbox)) == number + 1, "the result")
    assert sorted(working.results().values()) == [b"0", b"1", b"2"]


async def fail(hosts: Hosts, names: list[bytes], seconds: float = PATIENCE) -> set[bytes]:
    """Have these refused by B; returns what is in failed/ then."""

    class Refuse(Same):
        async def __call__(self, *_: Any, **__: Any) -> Answer:
            raise PipelineError("not today")

    patch, failed = give_back(Refuse()), os.fsencode(hosts.a.failed)
    try:
        async with agents(hosts):
            for name in names:
                with open(os.fsencode(hosts.outbox) + b"/" + name, "wb") as file:
                    file.write(name)
            await until(
                lambda: len(os.listdir(failed)) >= 2 * len(names), "all in failed/", seconds
            )
            await hosts.idle()
    finally:
        patch.undo()
    assert hosts.log.defects == []
    return set(os.listdir(failed))


LONG = 255 - len(".problem.json")


async def test_originals_that_fail_keep_their_names_too(hosts: Hosts) -> None:
    names = [name for name in HOSTILE.values() if len(name) <= LONG]
    found = await fail(hosts, names)
    assert found == {*names, *(name + b".problem.json" for name in names)}


async def test_a_failed_original_with_a_long_name_has_its_problem_beside_it(hosts: Hosts) -> None:
    names = [name for name in HOSTILE.values() if len(name) > LONG]
    found = await fail(hosts, names, 3)
    assert set(names) <= found
    assert sum(name.endswith(b".problem.json") for name in found) == len(names)


def test_a_long_extension_is_shortened_in_a_collision() -> None:
    # In a process of its own: what never ends here would take the tests along.
    code = (
        "from itertools import islice; from roundtrip.roles.desk import free_names\n"
        "for name in islice(free_names('x.' + 'e' * 253, '01M7Y0DY3MW0QAM13YJWWJ9AFZ-x'), 3):\n"
        "    assert len(name) <= 255, name"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=3)
